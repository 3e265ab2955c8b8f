"""Replay: a file that nobody here made goes to a vertical's topics, in the order and at the pace of its own event time.

Every row of the file is sent, the bad ones too: the contract quarantines them, with what stood in the file.
Labels are rows of their own, sent when the replay has reached the time from which they may be known.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from common.kafka.producers import Producer
from common.kafka.topics import topic_names
from common.replay.conversion import as_text, converter, iso, milliseconds, to_json
from common.replay.files import Batch, ReplayError, RowFile, open_rows
from common.replay.mapping import Source, require, resolve
from common.replay.ordering import RUN_BYTES, SCHEMA, Records, in_order
from common.replay.pacing import at_speed, send_paced
from common.vertical import Vertical

NO = frozenset({None, "", "0", "false", "f", "no", "n", "none", "null", "nan"})
YES = frozenset({"1", "true", "t", "yes", "y"})


@dataclass(frozen=True)
class LabelColumns:
    """Where a file says which of its rows are anomalous, and how long after the event that becomes known.

    anomalous: yes or no (1/0, true/false, ...). scenario: what kind; alone, anything but empty, 0 or none is anomalous.
    """

    anomalous: str | None
    scenario: str | None
    delay: timedelta

    @property
    def names(self) -> list[str]:
        return [name for name in (self.anomalous, self.scenario) if name]


@dataclass(frozen=True)
class Plan:
    """A replay that can be done. columns: the source in the file of each event field that has one; the other fields are null."""

    vertical: Vertical
    file: RowFile
    columns: dict[str, Source]
    labels: LabelColumns | None


@dataclass
class Counts:
    """How far a replay is. rows: read from the file; of them unreadable: no row at all; untimed: without a readable time.

    events and labels: sent. labels_untimed: anomalous rows that got no label, as their time is unreadable. In the end
    events equals rows.
    """

    rows: int = 0
    unreadable: int = 0
    untimed: int = 0
    labels_untimed: int = 0
    events: int = 0
    labels: int = 0


def plan_replay(
    vertical: Vertical, path: Path, mapping: Mapping[str, str], label: str | None = None, scenario: str | None = None,
    label_delay: timedelta = timedelta(days=7),
) -> Plan:
    """Look at the file and the mapping {event field: column}; raises ReplayError, so that nothing is sent in vain.

    A field that is not mapped takes the column of its own name, if there is one. label, scenario: columns, see LabelColumns.
    """
    file = open_rows(path)
    columns = resolve(vertical, file, mapping)
    labels = LabelColumns(label, scenario, label_delay) if label or scenario else None
    for name in labels.names if labels else []:
        require(name, file.columns, f"{path} has no column")
    return Plan(vertical, file, columns, labels)


def replay(
    plan: Plan, producer: Producer, *, speed: float = math.inf, longest_wait: float = 60.0, stop: threading.Event | None = None,
    progress: Callable[[Counts], None] = lambda counts: None, run_bytes: int = RUN_BYTES,
) -> Counts:
    """Send the file's rows as events, and its labels; returns when all are delivered, or after `stop`.

    speed: times event time; infinite: as fast as it goes. A quiet stretch lasts at most `longest_wait` seconds. The
    whole file is read and sorted before the first record is sent: a file that is broken further down raises
    ReplayError with nothing sent. progress is called now and then. Raises Undelivered.
    """
    counts = Counts()
    topics = topic_names(plan.vertical)

    def send(records: Records, first: int, last: int) -> None:
        turns = np.flatnonzero(np.diff(records.is_label[first:last])) + first + 1
        for begin, end in pairwise([first, *turns.tolist(), last]):
            is_label = bool(records.is_label[begin])
            producer.send_many(topics.labels if is_label else topics.events, records.keys[begin:end], records.values[begin:end])
            counts.labels += (end - begin) * is_label
            counts.events += (end - begin) * (not is_label)
        progress(counts)

    send_paced(at_speed(in_order(_tables(plan, counts, progress), run_bytes), speed, longest_wait), send, stop=stop)
    producer.flush()
    return counts


def _tables(plan: Plan, counts: Counts, progress: Callable[[Counts], None]) -> Iterator[pa.Table]:
    """The file's rows as records with the time each is due, in file order."""
    mapped = [name for source in plan.columns.values() for name in source.columns]
    wanted = list(dict.fromkeys([*mapped, *(plan.labels.names if plan.labels else [])]))
    time = 0
    for batch in plan.file.batches(wanted):
        events = _events(plan, batch)
        times = [milliseconds(event[plan.vertical.event_time]) for event in events] + [None] * len(batch.unreadable)
        counts.rows += len(times)
        counts.unreadable += len(batch.unreadable)
        counts.untimed += times.count(None) - len(batch.unreadable)
        due = _carried(times, time)
        time = due[-1] if due else time
        keys = [_key(event[plan.vertical.entity]) for event in events] + [None] * len(batch.unreadable)
        yield _table(due, False, keys, [to_json(event) for event in events] + batch.unreadable)
        if plan.labels:
            yield _labels(plan, plan.labels, batch, events, counts)
        progress(counts)
    _require_times(plan, counts)


def _events(plan: Plan, batch: Batch) -> list[dict[str, Any]]:
    fields = {field.name: field for field in plan.vertical.event_schema}
    nothing = [None] * batch.rows
    columns = [
        plan.columns[name].values(batch.columns, batch.rows, converter(field.dataType))
        if name in plan.columns
        else nothing
        for name, field in fields.items()
    ]
    return [dict(zip(fields, row, strict=True)) for row in zip(*columns, strict=True)]


def _labels(plan: Plan, labels: LabelColumns, batch: Batch, events: list[dict[str, Any]], counts: Counts) -> pa.Table:
    vertical, delay = plan.vertical, labels.delay // timedelta(milliseconds=1)
    due, keys, values = [], [], []
    for row, event in enumerate(events):
        if not _anomalous(labels, batch, row):
            continue
        time = milliseconds(event[vertical.event_time])
        if time is None:
            counts.labels_untimed += 1
            continue
        scenario = as_text(batch.columns[labels.scenario][row]) if labels.scenario else None
        keys.append(_key(event[vertical.entity]))
        due.append(time + delay)
        values.append(orjson.dumps({
            "event_id": event[vertical.event_id], "entity_id": event[vertical.entity], "scenario": scenario or "unknown",
            "case_id": event[vertical.event_id],
            "event_time": iso(time), "known_time": iso(time + delay),
        }))
    return _table(due, True, keys, values)


def _anomalous(labels: LabelColumns, batch: Batch, row: int) -> bool:
    """Raises ReplayError for a label that is neither yes nor no: silently taken as no, it would falsify every figure."""
    value = as_text(batch.columns[labels.names[0]][row])
    said = value.strip().lower() if isinstance(value, str) else value
    if said in NO or (labels.anomalous and said in YES):
        return said not in NO
    if labels.anomalous:
        raise ReplayError(f"column {labels.anomalous!r} holds {value!r}, which is neither yes (1, true) nor no (0, false)")
    return True


def _carried(times: list[int | None], before: int) -> list[int]:
    """A record without a readable time goes with the one before it; at the very start, with the first that has one."""
    time = before or next((known for known in times if known is not None), 0)
    due = []
    for known in times:
        time = time if known is None else known
        due.append(time)
    return due


def _key(entity: Any) -> bytes | None:
    return entity if entity is None or isinstance(entity, bytes) else str(entity).encode("utf-8", "replace")


def _table(due: list[int], is_label: bool, keys: list[bytes | None], values: list[bytes]) -> pa.Table:
    return pa.table([due, [is_label] * len(due), keys, values], schema=SCHEMA)


def _require_times(plan: Plan, counts: Counts) -> None:
    if counts.rows and counts.untimed + counts.unreadable == counts.rows:
        column = "+".join(plan.columns[plan.vertical.event_time].columns)
        raise ReplayError(
            f"no row of {plan.file.path} has a time in column {column!r} that can be read:"
            " it takes ISO-8601 (2026-04-01T12:00:00, UTC unless it names a zone) or epoch numbers"
        )
