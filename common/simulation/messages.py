"""Makes the messages that carry events: JSON bytes in order of arrival, some twice, some broken."""

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

    arrival_time: datetime64[ms], simulated, UTC; keys, values: bytes; flaw: "" (the first message of a valid event),
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


def split_messages(chunks: list[Messages], count: int) -> tuple[list[Messages], list[Messages]]:
    """The first `count` messages of all chunks together, and those after them."""
    first_chunks, later_chunks = list[Messages](), list[Messages]()
    for chunk in chunks:
        first_chunks.append(chunk.take(slice(0, count)))
        later_chunks.append(chunk.take(slice(count, None)))
        count -= len(first_chunks[-1])
    return first_chunks, later_chunks


def encode_rows(columns: Mapping[str, list]) -> NDArray[np.object_]:
    """One JSON object per row, as UTF-8 bytes; NaN becomes null, times must be text."""
    names = tuple(columns)
    rows = zip(*columns.values(), strict=True)
    return object_array([orjson.dumps(dict(zip(names, row, strict=True))) for row in rows])


def json_columns(table: pa.Table) -> dict[str, list]:
    """The columns as `encode_rows` takes them: times as text, and a null number as NaN."""
    return {name: _json_values(table[name]) for name in table.column_names}


def _json_values(column: pa.ChunkedArray) -> list:
    if pa.types.is_timestamp(column.type):
        return iso_times(column.to_numpy())
    values: list = column.to_numpy().tolist()
    return values


def iso_times(times: NDArray[np.datetime64]) -> list[str]:
    """`2026-04-01T12:00:00.123Z` for each time."""
    return [text + "Z" for text in np.datetime_as_string(times, unit="ms").tolist()]


def object_array(values: list) -> NDArray[np.object_]:
    """The values as an array of Python objects, of one dimension whatever they are."""
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects


def make_messages(
    rng: np.random.Generator,
    arrival_time: NDArray[np.datetime64],
    keys: NDArray[np.object_],
    values: NDArray[np.object_],
    fields: DirtyFields | None,
) -> Messages:
    """The messages of some events, sorted by arrival; without `fields` each exactly once.

    About 1% are sent a second time, the same bytes shortly after. About 0.5% are preceded by a broken attempt at the same
    event, so that dirt does not change which valid events exist.
    """
    clean = Messages(arrival_time, keys, values, object_array([""] * len(values)))
    if fields is None:
        return sort_by_arrival(clean)
    copied_rows = np.flatnonzero(rng.random(len(values)) < DUPLICATE_SHARE)
    copy_arrival = arrival_time[copied_rows] + rng.integers(*DUPLICATE_AFTER_MS, len(copied_rows)).astype("timedelta64[ms]")
    flaws = object_array(["duplicate"] * len(copied_rows))
    copies = Messages(copy_arrival, keys[copied_rows], values[copied_rows], flaws)
    dirty_rows = np.flatnonzero(rng.random(len(values)) < DIRTY_SHARE)
    broken_values, flaw = spoil(rng, values[dirty_rows], fields)
    broken_messages = Messages(arrival_time[dirty_rows], keys[dirty_rows], broken_values, flaw)
    return sort_by_arrival(concatenate([broken_messages, clean, copies]))


def label_messages(labels: pa.Table) -> Messages:
    """Messages of labels, keyed by entity; each is due at the time of its event, and they are in that order."""
    labels = labels.sort_by("event_time")
    keys = object_array([entity.encode() for entity in labels["entity_id"].to_pylist()])
    due_time = labels["event_time"].to_numpy().astype("datetime64[ms]")
    return Messages(due_time, keys, encode_rows(json_columns(labels)), object_array([""] * len(keys)))


def concatenate(parts: list[Messages]) -> Messages:
    """The messages of all parts, in the order of the parts."""
    return Messages(*(np.concatenate([getattr(part, name) for part in parts]) for name in Messages.__dataclass_fields__))


def sort_by_arrival(messages: Messages) -> Messages:
    return messages.take(np.argsort(messages.arrival_time, kind="stable"))
