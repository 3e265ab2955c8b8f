"""Replays a file of events from elsewhere: sends its rows to a vertical's topics in order, and at the pace, of their event times.

Every row of the file is sent, bad ones too: the contract quarantines them, as they are in the file. Labels are records of their
own, sent when the replay reaches the time at which they become known.
"""

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from common.kafka.producers import Producer
from common.kafka.topics import topic_names
from common.replay.conversion import as_text, converter_for, epoch_milliseconds, iso_time, to_json
from common.replay.files import ReplayError, RowBatch, RowFile, open_rows
from common.replay.mapping import FieldSource, require_name, resolve_mapping
from common.replay.ordering import RECORD_SCHEMA, RUN_BYTES, Records, sort_by_time
from common.replay.pacing import Pace, schedule_at_speed, send_paced
from common.vertical import Vertical

AT_ONCE: Pace[Records] = partial(schedule_at_speed, speed=math.inf)
NO_WORDS = frozenset({None, "", "0", "false", "f", "no", "n", "none", "null", "nan"})
YES_WORDS = frozenset({"1", "true", "t", "yes", "y"})


@dataclass(frozen=True)
class LabelColumns:
    """The columns of a file that say which rows are anomalous, and how long after the event that becomes known.

    anomalous: yes or no (1/0, true/false, ...). scenario: what kind; if it is the only one, any value but empty, 0 or none is
    anomalous.
    """

    anomalous: str | None
    scenario: str | None
    delay: timedelta

    @property
    def names(self) -> list[str]:
        return [name for name in (self.anomalous, self.scenario) if name]


@dataclass(frozen=True)
class ReplayPlan:
    """A checked replay. columns: by event field, its source in the file; fields without a source are null."""

    vertical: Vertical
    file: RowFile
    columns: dict[str, FieldSource]
    labels: LabelColumns | None


@dataclass
class ReplayCounts:
    """A replay's progress. rows: read from the file; of them unreadable: no rows at all; untimed: without a readable time.

    events, labels: sent. labels_untimed: anomalous rows without a label, as their time is unreadable. In the end events equals
    rows.
    """

    rows: int = 0
    unreadable: int = 0
    untimed: int = 0
    labels_untimed: int = 0
    events: int = 0
    labels: int = 0


def plan_replay(
    vertical: Vertical,
    path: Path,
    mapping: Mapping[str, str],
    label: str | None = None,
    scenario: str | None = None,
    label_delay: timedelta = timedelta(days=7),
) -> ReplayPlan:
    """Check the file and the mapping {event field: column} before anything is sent. Raises ReplayError.

    A field that is not mapped takes the column of its own name, if there is one. label, scenario: columns, see LabelColumns.
    """
    file = open_rows(path)
    columns = resolve_mapping(vertical, file, mapping)
    labels = LabelColumns(label, scenario, label_delay) if label or scenario else None
    for name in labels.names if labels else []:
        require_name(name, file.columns, f"{path} has no column")
    return ReplayPlan(vertical, file, columns, labels)


def replay_file(
    plan: ReplayPlan,
    producer: Producer,
    pace: Pace[Records] = AT_ONCE,
    *,
    stop: threading.Event | None = None,
    progress: Callable[[ReplayCounts], None] = lambda counts: None,
    run_bytes: int = RUN_BYTES,
) -> ReplayCounts:
    """Send the file's rows as events, and its labels; returns when all are delivered, or after `stop`.

    pace: when records are due, as `partial(schedule_at_speed, speed=60)`; as fast as possible if not given. The whole file is
    read and sorted before the first record is sent: a file that is broken further down raises ReplayError with nothing sent.
    progress is called now and then. Raises DeliveryFailed.
    """
    counts = ReplayCounts()
    topics = topic_names(plan.vertical)

    def send(records: Records, first: int, last: int) -> None:
        changes = np.flatnonzero(np.diff(records.is_label[first:last])) + first + 1
        for begin, end in pairwise([first, *changes.tolist(), last]):
            is_label = bool(records.is_label[begin])
            producer.send_many(topics.labels if is_label else topics.events, records.keys[begin:end], records.values[begin:end])
            counts.labels += (end - begin) * is_label
            counts.events += (end - begin) * (not is_label)
        progress(counts)

    send_paced(pace(sort_by_time(_record_tables(plan, counts, progress), run_bytes)), send, stop=stop)
    producer.flush()
    return counts


def _record_tables(plan: ReplayPlan, counts: ReplayCounts, progress: Callable[[ReplayCounts], None]) -> Iterator[pa.Table]:
    """The file's rows as records with the time each is due, in file order."""
    mapped_columns = [name for source in plan.columns.values() for name in source.columns]
    columns = list(dict.fromkeys([*mapped_columns, *(plan.labels.names if plan.labels else [])]))
    last_time = 0
    for batch in plan.file.batches(columns):
        events = _read_events(plan, batch)
        times = [epoch_milliseconds(event[plan.vertical.event_time]) for event in events] + [None] * len(batch.unreadable)
        counts.rows += len(times)
        counts.unreadable += len(batch.unreadable)
        counts.untimed += times.count(None) - len(batch.unreadable)
        due_times = _fill_times(times, last_time)
        last_time = due_times[-1] if due_times else last_time
        keys = [_record_key(event[plan.vertical.entity]) for event in events] + [None] * len(batch.unreadable)
        yield _record_table(due_times, False, keys, [to_json(event) for event in events] + batch.unreadable)
        if plan.labels:
            yield _label_table(plan, plan.labels, batch, events, counts)
        progress(counts)
    _require_times(plan, counts)


def _read_events(plan: ReplayPlan, batch: RowBatch) -> list[dict[str, Any]]:
    fields = {field.name: field for field in plan.vertical.event_schema}
    nulls = [None] * batch.rows
    columns = [
        plan.columns[name].values(batch.columns, batch.rows, converter_for(field.dataType)) if name in plan.columns else nulls
        for name, field in fields.items()
    ]
    return [dict(zip(fields, row, strict=True)) for row in zip(*columns, strict=True)]


def _label_table(
    plan: ReplayPlan, labels: LabelColumns, batch: RowBatch, events: list[dict[str, Any]], counts: ReplayCounts
) -> pa.Table:
    vertical, delay = plan.vertical, labels.delay // timedelta(milliseconds=1)
    due_times, keys, values = [], [], []
    for row, event in enumerate(events):
        if not _is_anomalous(labels, batch, row):
            continue
        time = epoch_milliseconds(event[vertical.event_time])
        if time is None:
            counts.labels_untimed += 1
            continue
        scenario = as_text(batch.columns[labels.scenario][row]) if labels.scenario else None
        keys.append(_record_key(event[vertical.entity]))
        due_times.append(time + delay)
        values.append(
            orjson.dumps(
                {
                    "event_id": event[vertical.event_id],
                    "entity_id": event[vertical.entity],
                    "scenario": scenario or "unknown",
                    "case_id": event[vertical.event_id],
                    "event_time": iso_time(time),
                    "known_time": iso_time(time + delay),
                }
            )
        )
    return _record_table(due_times, True, keys, values)


def _is_anomalous(labels: LabelColumns, batch: RowBatch, row: int) -> bool:
    """Whether a row is anomalous. Raises ReplayError for a label that is neither yes nor no: as no it would falsify figures."""
    value = as_text(batch.columns[labels.names[0]][row])
    word = value.strip().lower() if isinstance(value, str) else value
    if word in NO_WORDS or (labels.anomalous and word in YES_WORDS):
        return word not in NO_WORDS
    if labels.anomalous:
        raise ReplayError(f"column {labels.anomalous!r} holds {value!r}, which is neither yes (1, true) nor no (0, false)")
    return True


def _fill_times(times: list[int | None], earlier_time: int) -> list[int]:
    """A record without a readable time gets that of the record before it; at the start, that of the first with a time."""
    last_time = earlier_time or next((time for time in times if time is not None), 0)
    due_times = []
    for time in times:
        last_time = last_time if time is None else time
        due_times.append(last_time)
    return due_times


def _record_key(entity: Any) -> bytes | None:
    return entity if entity is None or isinstance(entity, bytes) else str(entity).encode("utf-8", "replace")


def _record_table(due_times: list[int], is_label: bool, keys: list[bytes | None], values: list[bytes]) -> pa.Table:
    return pa.table([due_times, [is_label] * len(due_times), keys, values], schema=RECORD_SCHEMA)


def _require_times(plan: ReplayPlan, counts: ReplayCounts) -> None:
    if counts.rows and counts.untimed + counts.unreadable == counts.rows:
        column = "+".join(plan.columns[plan.vertical.event_time].columns)
        raise ReplayError(
            f"no row of {plan.file.path} has a time in column {column!r} that can be read:"
            " it takes ISO-8601 (2026-04-01T12:00:00, UTC unless it names a zone) or epoch numbers"
        )
