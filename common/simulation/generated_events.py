"""Chunks of simulated events, with their labels and the messages that carry them, and how they are put in order of arrival."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.errors import UserError
from common.simulation.dirt import DirtyFields
from common.simulation.messages import (
    Messages,
    concatenate,
    encode_rows,
    json_columns,
    make_messages,
    object_array,
    sort_by_arrival,
)
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
class EventColumns:
    """The names of the columns that every event has, and how long after an event its label becomes known."""

    event_id: str
    entity: str
    event_time: str
    label_delay: timedelta


@dataclass(frozen=True)
class GeneratedEvents:
    """A chunk of a simulated stream.

    events: valid events, each once, in order of event time; arrival_time: datetime64[ms] of each, late ones included;
    labels: one row per anomalous event (LABELS); messages: what is sent, in order of arrival, or None where only columns are
    needed. A large day is sent in parts: a part ends at `until`, where the next begins; the last (None) at the day's end.
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
    def from_columns(
        cls,
        day: date,
        columns: Mapping[str, NDArray],
        scenario: NDArray[np.object_],
        arrival_time: NDArray[np.datetime64],
        event_columns: EventColumns,
        case: NDArray[np.object_] | None = None,
    ) -> "GeneratedEvents":
        """Make a chunk of columns in order of event time, each row's `scenario` ("" for an ordinary event) and arrival time.

        case: which injected anomaly an event belongs to, one text per anomaly; without it each event is a case of its own.
        Raises NotAnEvent for a column that is neither text nor numbers nor times.
        """
        events = pa.table({name: _arrow(name, values) for name, values in columns.items()})
        anomalous_rows = np.flatnonzero(scenario != "")
        anomalous_events = events.take(pa.array(anomalous_rows))
        event_time = anomalous_events[event_columns.event_time]
        known_time = pc.add(event_time, pa.scalar(event_columns.label_delay, pa.duration("us")))
        scenarios = pa.array(scenario[anomalous_rows], pa.string())
        case_ids = anomalous_events[event_columns.event_id] if case is None else pa.array(case[anomalous_rows], pa.string())
        event_ids, entities = anomalous_events[event_columns.event_id], anomalous_events[event_columns.entity]
        labels = pa.Table.from_arrays([event_ids, entities, scenarios, case_ids, event_time, known_time], schema=LABELS)
        return cls(day, events, arrival_time, labels)


def message_stream(
    seed: int, days: Iterable[GeneratedEvents], event_columns: EventColumns, dirt: DirtyFields | None
) -> Iterator[GeneratedEvents]:
    """The days in parts, each with the messages that arrive until it ends; one more chunk has the messages after the last end.

    Without `dirt` each event is sent exactly once; late events are late all the same.
    """
    return reorder_by_arrival(
        with_messages(seed, part, event_columns, dirt) for day in days for part in split_day(day, event_columns)
    )


def split_day(day: GeneratedEvents, event_columns: EventColumns, rows: int = PART_ROWS) -> Iterator[GeneratedEvents]:
    """The day in parts of about `rows` events; events of one moment stay together, and labels with their events."""
    event_time, label_time = day.events[event_columns.event_time].to_numpy(), day.labels["event_time"].to_numpy()
    begins = np.unique([0, *np.searchsorted(event_time, event_time[rows::rows])])
    next_label = 0
    for number, (start, end) in enumerate(zip(begins, [*begins[1:], len(event_time)], strict=True)):
        until = event_time[end] if end < len(event_time) else None
        first_label, next_label = next_label, len(label_time) if until is None else int(np.searchsorted(label_time, until))
        yield replace(
            day, events=day.events.slice(start, end - start), arrival_time=day.arrival_time[start:end],
            labels=day.labels.slice(first_label, next_label - first_label), part=number, until=until,
        )  # fmt: skip


def with_messages(seed: int, chunk: GeneratedEvents, event_columns: EventColumns, dirt: DirtyFields | None) -> GeneratedEvents:
    """The chunk with its messages; without `dirt` each event is sent exactly once, late events late all the same."""
    keys = object_array([entity.encode() for entity in chunk.events[event_columns.entity].to_pylist()])
    values = encode_rows(json_columns(chunk.events))
    rng = random_for(seed, chunk.day, f"messages {chunk.part}" if chunk.part else "messages")
    return replace(chunk, messages=make_messages(rng, chunk.arrival_time, keys, values, dirt))


def reorder_by_arrival(chunks: Iterable[GeneratedEvents]) -> Iterator[GeneratedEvents]:
    """The same chunks, each with the messages that arrive before its end; one more, without events, has the messages after that.

    Otherwise a message two days late would be sent at the end of its own day, and hardly be late.
    """
    pending: Messages | None = None
    chunk: GeneratedEvents | None = None
    for chunk in chunks:
        assert chunk.messages is not None
        arriving = sort_by_arrival(concatenate([pending, chunk.messages])) if pending else chunk.messages
        is_due = arriving.arrival_time < chunk.end
        pending = arriving.take(~is_due)
        yield replace(chunk, messages=arriving.take(is_due))
    if chunk and pending:
        no_events = chunk.events.slice(0, 0), chunk.arrival_time[:0], chunk.labels.slice(0, 0)
        yield GeneratedEvents(chunk.day + timedelta(days=1), *no_events, pending)


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
