"""What a generator yields: events, labels apart from them, and the messages that carry the events."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.errors import UserError
from common.simulation.dirt import DirtyFields
from common.simulation.messages import Messages, as_objects, encode, in_order, joined, on_the_way, plain_columns
from common.simulation.randomness import random_for

PART_ROWS = 200_000  # events whose messages are in memory at once, some 3 KB each: a day of a large world has millions
UTC_TIME = pa.timestamp("us", tz="UTC")
LABELS = pa.schema(
    [
        ("event_id", pa.string()), ("entity_id", pa.string()), ("scenario", pa.string()), ("case_id", pa.string()),
        ("event_time", UTC_TIME), ("known_time", UTC_TIME),
    ]
)  # fmt: skip


class NotAnEvent(UserError):
    """A vertical's generator made a column that no event can hold; the message names the field."""


@dataclass(frozen=True)
class Identity:
    """The columns that every event has under some name, and how long after an event its label becomes known."""

    event_id: str
    entity: str
    event_time: str
    label_delay: timedelta


@dataclass(frozen=True)
class Generated:
    """A chunk of a simulated stream.

    events: valid events, each once, in order of event time; arrival_time: datetime64[ms] of each, late ones included;
    labels: one row per anomalous event (LABELS); messages: what is sent, in order of arrival, None where only columns
    were asked for. A large day is sent in parts, which begin when the ones before end: `until`, of the last the day's end.
    """

    day: date
    events: pa.Table
    arrival_time: NDArray[np.datetime64]
    labels: pa.Table
    messages: Messages | None = None
    part: int = 0
    until: np.datetime64 | None = None

    @property
    def end(self) -> np.datetime64:
        return np.datetime64(self.day + timedelta(days=1)) if self.until is None else self.until

    @classmethod
    def of(
        cls, day: date, columns: Mapping[str, NDArray], scenario: NDArray[np.object_], arrival_time: NDArray[np.datetime64],
        identity: Identity, case: NDArray[np.object_] | None = None,
    ) -> "Generated":
        """From columns in order of event time, the `scenario` of each row ("" for an ordinary one) and its arrival.

        Raises NotAnEvent for a column that is neither text nor numbers nor times.

        case: which injected anomaly an event belongs to, one text per anomaly; without it each event is a case of its own.
        """
        events = pa.table({name: _arrow(name, values) for name, values in columns.items()})
        anomalous = np.flatnonzero(scenario != "")
        marked = events.take(pa.array(anomalous))
        event_time = marked[identity.event_time]
        known_time = pc.add(event_time, pa.scalar(identity.label_delay, pa.duration("us")))
        scenarios = pa.array(scenario[anomalous], pa.string())
        cases = marked[identity.event_id] if case is None else pa.array(case[anomalous], pa.string())
        labels = [marked[identity.event_id], marked[identity.entity], scenarios, cases, event_time, known_time]
        return cls(day, events, arrival_time, pa.Table.from_arrays(labels, schema=LABELS))


def as_sent(seed: int, days: Iterable[Generated], identity: Identity, dirt: DirtyFields | None) -> Iterator[Generated]:
    """The days with the messages of their events, in parts, each with what arrives until it ends; a last one has what is left.

    Without `dirt` each event is sent exactly once, and arrives as late as ever.
    """
    return in_arrival_order(with_messages(seed, part, identity, dirt) for day in days for part in in_parts(day, identity))


def in_parts(day: Generated, identity: Identity, rows: int = PART_ROWS) -> Iterator[Generated]:
    """The day in parts of about `rows` events; events of one moment stay together, and labels with their events."""
    event_time, label_time = day.events[identity.event_time].to_numpy(), day.labels["event_time"].to_numpy()
    begins = np.unique([0, *np.searchsorted(event_time, event_time[rows::rows])])
    labelled = 0
    for number, (first, last) in enumerate(zip(begins, [*begins[1:], len(event_time)], strict=True)):
        until = event_time[last] if last < len(event_time) else None
        labels, labelled = labelled, len(label_time) if until is None else int(np.searchsorted(label_time, until))
        yield replace(
            day, events=day.events.slice(first, last - first), arrival_time=day.arrival_time[first:last],
            labels=day.labels.slice(labels, labelled - labels), part=number, until=until,
        )  # fmt: skip


def with_messages(seed: int, chunk: Generated, identity: Identity, dirt: DirtyFields | None) -> Generated:
    """The chunk with its messages; without `dirt` each event is sent exactly once, and arrives as late as ever."""
    keys = as_objects([entity.encode() for entity in chunk.events[identity.entity].to_pylist()])
    values = encode(plain_columns(chunk.events))
    rng = random_for(seed, chunk.day, f"messages {chunk.part}" if chunk.part else "messages")
    return replace(chunk, messages=on_the_way(rng, chunk.arrival_time, keys, values, dirt))


def in_arrival_order(chunks: Iterable[Generated]) -> Iterator[Generated]:
    """The same chunks, each with the messages that arrive before its end; one more, without events, holds what is left.

    Without it a message two days late would be sent at the end of its own day, and so hardly late at all.
    """
    held: Messages | None = None
    last: Generated | None = None
    for last in chunks:
        assert last.messages is not None
        waiting = in_order(joined([held, last.messages])) if held else last.messages
        due = waiting.arrival_time < last.end
        held = waiting.take(~due)
        yield replace(last, messages=waiting.take(due))
    if last and held:
        nothing = last.events.slice(0, 0), last.arrival_time[:0], last.labels.slice(0, 0)
        yield Generated(last.day + timedelta(days=1), *nothing, held)


def _arrow(name: str, values: NDArray) -> pa.Array:
    """Text (object), numbers (NaN is null) and datetime64 (UTC) as Arrow, in the types that Spark takes. Raises NotAnEvent."""
    if values.dtype.kind == "M":
        return pa.array(values.astype("datetime64[us]"), UTC_TIME)
    try:
        return pa.array(values, pa.string() if values.dtype.kind == "O" else None, from_pandas=True)
    except pa.ArrowException as problem:
        raise NotAnEvent(
            f"field {name}: the generator gives what no event can hold ({problem}); give text, numbers or datetime64"
        ) from None
