"""Events as they are sent: JSON bytes in order of arrival, some twice, some broken."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import orjson
import pyarrow as pa
from numpy.typing import NDArray

from common.simulation.dirt import DirtyFields, spoil

DUPLICATE_SHARE = 0.01
DUPLICATE_AFTER_MS = (20, 20_000)
DIRTY_SHARE = 0.005


@dataclass(frozen=True)
class Messages:
    """What a producer sends, sorted by arrival; four arrays of one length.

    arrival_time: datetime64[ms], simulated, UTC; keys, values: bytes; flaw: "" (first sight of a valid event),
    "duplicate", or one of `dirt.FLAWS`.
    """

    arrival_time: NDArray[np.datetime64]
    keys: NDArray[np.object_]
    values: NDArray[np.object_]
    flaw: NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: NDArray | slice) -> "Messages":
        """The messages at `rows` (positions, a mask or a slice)."""
        return Messages(self.arrival_time[rows], self.keys[rows], self.values[rows], self.flaw[rows])


def split(chunks: list[Messages], at: int) -> tuple[list[Messages], list[Messages]]:
    """The first `at` messages of all chunks together, and those after them."""
    first, following = list[Messages](), list[Messages]()
    for chunk in chunks:
        first.append(chunk.take(slice(0, at)))
        following.append(chunk.take(slice(at, None)))
        at -= len(first[-1])
    return first, following


def encode(columns: Mapping[str, list]) -> NDArray[np.object_]:
    """One JSON object per row, as UTF-8 bytes; NaN becomes null, times must be text already."""
    names = tuple(columns)
    rows = zip(*columns.values(), strict=True)
    return as_objects([orjson.dumps(dict(zip(names, row, strict=True))) for row in rows])


def plain_columns(table: pa.Table) -> dict[str, list]:
    """The columns as `encode` takes them: times as text, and a null number as NaN."""
    return {name: _plain(table[name]) for name in table.column_names}


def _plain(column: pa.ChunkedArray) -> list:
    if pa.types.is_timestamp(column.type):
        return iso_times(column.to_numpy())
    plain: list = column.to_numpy().tolist()
    return plain


def iso_times(times: NDArray[np.datetime64]) -> list[str]:
    """`2026-04-01T12:00:00.123Z` for each time."""
    return [text + "Z" for text in np.datetime_as_string(times, unit="ms").tolist()]


def as_objects(values: list) -> NDArray[np.object_]:
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects


def on_the_way(
    rng: np.random.Generator, arrival_time: NDArray[np.datetime64], keys: NDArray[np.object_], values: NDArray[np.object_],
    fields: DirtyFields | None,
) -> Messages:
    """The messages of some events, sorted by arrival; without `fields` each exactly once.

    About 1% are sent a second time, the same bytes shortly after. About 0.5% are preceded by a broken attempt of
    the same event, so that dirt changes nothing about which valid events there are.
    """
    clean = Messages(arrival_time, keys, values, as_objects([""] * len(values)))
    if fields is None:
        return in_order(clean)
    twice = np.flatnonzero(rng.random(len(values)) < DUPLICATE_SHARE)
    later = arrival_time[twice] + rng.integers(*DUPLICATE_AFTER_MS, len(twice)).astype("timedelta64[ms]")
    copies = Messages(later, keys[twice], values[twice], as_objects(["duplicate"] * len(twice)))
    broken = np.flatnonzero(rng.random(len(values)) < DIRTY_SHARE)
    spoilt, flaw = spoil(rng, values[broken], fields)
    attempts = Messages(arrival_time[broken], keys[broken], spoilt, flaw)
    return in_order(joined([attempts, clean, copies]))


def label_messages(labels: pa.Table) -> Messages:
    """Labels as they are sent, keyed by entity; each is due at the time of its event, in whose order they are."""
    labels = labels.sort_by("event_time")
    keys = as_objects([entity.encode() for entity in labels["entity_id"].to_pylist()])
    due = labels["event_time"].to_numpy().astype("datetime64[ms]")
    return Messages(due, keys, encode(plain_columns(labels)), as_objects([""] * len(keys)))


def joined(parts: list[Messages]) -> Messages:
    return Messages(*(np.concatenate([getattr(part, name) for part in parts]) for name in Messages.__dataclass_fields__))


def in_order(messages: Messages) -> Messages:
    return messages.take(np.argsort(messages.arrival_time, kind="stable"))
