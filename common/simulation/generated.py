"""What a generator yields: events, labels apart from them, and the messages that carry the events."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from common.simulation.dirt import DirtyFields
from common.simulation.messages import Messages, as_objects, encode, in_order, joined, on_the_way, plain_columns
from common.simulation.randomness import random_for

UTC_TIME = pa.timestamp("us", tz="UTC")
LABELS = pa.schema(
    [
        ("event_id", pa.string()), ("entity_id", pa.string()), ("scenario", pa.string()), ("case_id", pa.string()),
        ("event_time", UTC_TIME), ("known_time", UTC_TIME),
    ]
)  # fmt: skip


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
    were asked for.
    """

    day: date
    events: pa.Table
    arrival_time: NDArray[np.datetime64]
    labels: pa.Table
    messages: Messages | None = None

    @classmethod
    def of(
        cls, day: date, columns: Mapping[str, NDArray], scenario: NDArray[np.object_], arrival_time: NDArray[np.datetime64],
        identity: Identity, case: NDArray[np.object_] | None = None,
    ) -> "Generated":
        """From columns in order of event time, the `scenario` of each row ("" for an ordinary one) and its arrival.

        case: which injected anomaly an event belongs to, one text per anomaly; without it each event is a case of its own.
        """
        events = pa.table({name: _arrow(values) for name, values in columns.items()})
        anomalous = np.flatnonzero(scenario != "")
        marked = events.take(pa.array(anomalous))
        event_time = marked[identity.event_time]
        known_time = pc.add(event_time, pa.scalar(identity.label_delay, pa.duration("us")))
        scenarios = pa.array(scenario[anomalous], pa.string())
        cases = marked[identity.event_id] if case is None else pa.array(case[anomalous], pa.string())
        labels = [marked[identity.event_id], marked[identity.entity], scenarios, cases, event_time, known_time]
        return cls(day, events, arrival_time, pa.Table.from_arrays(labels, schema=LABELS))


def with_messages(seed: int, chunk: Generated, identity: Identity, dirt: DirtyFields | None) -> Generated:
    """The chunk with its messages; without `dirt` each event is sent exactly once, and arrives as late as ever."""
    keys = as_objects([entity.encode() for entity in chunk.events[identity.entity].to_pylist()])
    values = encode(plain_columns(chunk.events))
    return replace(chunk, messages=on_the_way(random_for(seed, chunk.day, "messages"), chunk.arrival_time, keys, values, dirt))


def in_arrival_order(chunks: Iterable[Generated]) -> Iterator[Generated]:
    """The same chunks, each with the messages that arrive on its day; one more, without events, holds what is left.

    Without it a message two days late would be sent at the end of its own day, and so hardly late at all.
    """
    held: Messages | None = None
    last: Generated | None = None
    for last in chunks:
        assert last.messages is not None
        waiting = in_order(joined([held, last.messages])) if held else last.messages
        due = waiting.arrival_time < np.datetime64(last.day + timedelta(days=1))
        held = waiting.take(~due)
        yield replace(last, messages=waiting.take(due))
    if last and held:
        nothing = last.events.slice(0, 0), last.arrival_time[:0], last.labels.slice(0, 0)
        yield Generated(last.day + timedelta(days=1), *nothing, held)


def _arrow(values: NDArray) -> pa.Array:
    """Text (object), numbers (NaN is null) and datetime64 (UTC) as Arrow, in the types that Spark takes."""
    if values.dtype.kind == "M":
        return pa.array(values.astype("datetime64[us]"), UTC_TIME)
    return pa.array(values, pa.string() if values.dtype.kind == "O" else None, from_pandas=True)
