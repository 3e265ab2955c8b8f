"""Reads stored alerts page by page. All pages that follow one another read the version of the table that the first one read."""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import reduce
from operator import and_
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from common import tables
from common.alerts import ALERT_SCHEMA
from common.failures import describe_failure
from common.gateway.alert_json import alert_object

SORT_ORDER = [("event_time", "ascending"), ("alert_id", "ascending")]
FIRST_ROWS, MAX_PAGE_BYTES = 100, 4_000_000  # of a page: rows that are read first, and text that all may hold
ALERT_COLUMNS = [*ALERT_SCHEMA.names, "alert_time"]
KEY_SCHEMA = pa.schema([("event_time", pa.timestamp("us", tz="UTC")), ("alert_id", pa.string()), ("file", pa.int32())])
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
BATCH_ROWS = 16_384  # that are read from a file at a time


class InvalidCursor(ValueError):
    """A text that is no cursor of ours."""


class CursorExpired(Exception):
    """The version of the table that a cursor names does not exist any more."""


class NoAlertsTable(Exception):
    """There is no table of alerts."""


class AlertsUnreadable(Exception):
    """The table is there and cannot be read, as a file of it is damaged, or gone; the message says why."""


@dataclass(frozen=True)
class AlertFilter:
    """Which alerts are asked for; None matches any. since: the earliest event time, in UTC."""

    since: datetime | None = None
    entity: str | None = None
    rule: str | None = None
    severity: str | None = None


class Cursor(NamedTuple):
    """Where the next page begins: after this alert, in this version of the table."""

    version: int
    event_time: datetime
    alert_id: str

    def __str__(self) -> str:
        return base64.urlsafe_b64encode(orjson.dumps(list(self))).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Reads `str(cursor)`; raises InvalidCursor."""
        try:
            version, event_time, alert_id = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
            time = datetime.fromisoformat(event_time)
            cursor = cls(int(version), time.astimezone(UTC), str(alert_id))
        except (binascii.Error, ValueError, TypeError, OverflowError):
            raise InvalidCursor from None
        if not 0 <= cursor.version < 2**63 or time.tzinfo is None:
            raise InvalidCursor
        return cursor


def read_page(path: str, alert_filter: AlertFilter, limit: int, cursor: Cursor | None) -> dict[str, Any]:
    """{alerts: at most `limit`, by event time; next: the cursor of the next page, None at the end}.

    Where the alerts are large a page has fewer than `limit` of them, and a `next`: it holds about MAX_PAGE_BYTES at most, or
    one alert. Reads what the page holds, and the key columns of the files that its first alerts may be in. Raises
    NoAlertsTable, CursorExpired or AlertsUnreadable.
    """
    try:
        table = _open_table(path, cursor)
        files = _files_with_matches(table, _condition(alert_filter, cursor))
        keys = _first_keys(files, limit + 1)
        page = _rows_of_page(files, keys.slice(0, limit))
    except (OSError, DeltaError, ValueError, pa.ArrowException) as problem:  # ValueError: Arrow's, of a file that is cut short
        if cursor is None and isinstance(problem, FileNotFoundError) and not tables.table_exists(path):
            raise NoAlertsTable from None
        if cursor is not None and isinstance(problem, FileNotFoundError | DeltaError):  # its version was vacuumed
            raise CursorExpired from None
        raise AlertsUnreadable(describe_failure(problem)) from problem
    rows = page.to_pylist()
    has_more = keys.num_rows > len(rows)
    return {
        "alerts": [alert_object(row, row["alert_time"]) for row in rows],
        "next": str(Cursor(table.version(), rows[-1]["event_time"], rows[-1]["alert_id"])) if has_more else None,
    }


def _open_table(path: str, cursor: Cursor | None) -> DeltaTable:
    """The table in the cursor's version; raises what delta-rs does, and CursorExpired."""
    table = tables.open_table(path)
    if cursor and cursor.version > table.version():  # delta-rs would look for every version up to it
        raise CursorExpired
    if cursor and cursor.version < table.version():
        table.load_as_version(cursor.version)
    return table


@dataclass(frozen=True)
class AlertFile:
    """A data file, the condition on its rows, and a time before which it has none."""

    fragment: ds.Fragment
    schema: pa.Schema
    condition: pc.Expression | None
    earliest: datetime

    def batches(self, columns: list[str], further_condition: pc.Expression | None = None) -> Iterator[pa.RecordBatch]:
        """The rows that meet both conditions, BATCH_ROWS at a time."""
        condition = _all_of([condition for condition in (self.condition, further_condition) if condition is not None])
        scanner = self.fragment.scanner(
            schema=self.schema, columns=columns, filter=condition, batch_size=BATCH_ROWS, batch_readahead=1, fragment_readahead=1,
            use_threads=False)  # fmt: skip
        yield from scanner.to_batches()


def _files_with_matches(table: DeltaTable, condition: pc.Expression | None) -> list[AlertFile]:
    """The files that may hold rows of the condition, by the earliest time that they may hold."""
    actions = table.get_add_actions(flatten=True)
    has_statistics = "min.event_time" in actions.schema.names
    earliest = dict(zip(
        actions.column("path").to_pylist(),
        actions.column("min.event_time").to_pylist() if has_statistics else [],
        strict=False))  # fmt: skip
    dataset = table.to_pyarrow_dataset()
    files = [
        AlertFile(fragment, dataset.schema, condition, earliest.get(fragment.path.lstrip("/")) or EARLIEST)
        for fragment in dataset.get_fragments(filter=condition)
    ]
    return sorted(files, key=lambda file: file.earliest)


def _first_keys(files: list[AlertFile], limit: int) -> pa.Table:
    """Keys of the first `limit` rows of all files, in order, each with its file's number; few more are in memory at once."""
    first_keys = pa.table({"event_time": [], "alert_id": [], "file": []}, schema=KEY_SCHEMA)
    for number, file in enumerate(files):
        if first_keys.num_rows == limit and file.earliest > first_keys["event_time"][-1].as_py():
            break
        for batch in file.batches(["event_time", "alert_id"]):
            batch_keys = batch.append_column("file", pa.repeat(pa.scalar(number, pa.int32()), batch.num_rows))
            all_keys = pa.concat_tables([first_keys, pa.Table.from_batches([batch_keys]).cast(KEY_SCHEMA)])
            first_keys = all_keys.take(pc.select_k_unstable(all_keys, k=limit, sort_keys=SORT_ORDER))
    return first_keys


def _rows_of_page(files: list[AlertFile], keys: pa.Table) -> pa.Table:
    """`_rows` of as many of the first keys as MAX_PAGE_BYTES have room for, and of one at least."""
    rows = _rows(files, keys.slice(0, FIRST_ROWS))
    if keys.num_rows > FIRST_ROWS and (room := MAX_PAGE_BYTES - rows.nbytes) > 0:  # the others are about as large as the first
        further_rows = _rows(files, keys.slice(FIRST_ROWS, room * rows.num_rows // rows.nbytes))
        rows = pa.concat_tables([rows, further_rows]) if further_rows.num_rows else rows
    texts = [rows[name] for name in ALERT_COLUMNS if pa.types.is_string(rows.schema.field(name).type)]
    sizes = sum(pc.fill_null(pc.binary_length(column), 0).to_numpy().astype(np.int64) for column in texts)
    return rows.slice(0, max(1, int(np.searchsorted(np.cumsum(sizes), MAX_PAGE_BYTES, side="right"))))


def _rows(files: list[AlertFile], keys: pa.Table) -> pa.Table:
    """The whole rows of these keys, in order."""
    parts = []
    for number in pc.unique(keys["file"]).to_pylist():
        file_keys = keys.filter(pc.equal(keys["file"], number))
        times = pc.min_max(file_keys["event_time"])
        condition = ((pc.field("event_time") >= times["min"]) & (pc.field("event_time") <= times["max"])
                     & pc.field("alert_id").isin(file_keys["alert_id"].combine_chunks()))  # fmt: skip
        parts += [pa.Table.from_batches([batch]) for batch in files[number].batches(ALERT_COLUMNS, condition)]
    return pa.concat_tables(parts).sort_by(SORT_ORDER) if parts else pa.table({name: [] for name in ALERT_COLUMNS})


def _condition(alert_filter: AlertFilter, cursor: Cursor | None) -> pc.Expression | None:
    """The condition on an alert that matches the filter and comes after the cursor."""
    values = (("entity_id", alert_filter.entity), ("rule", alert_filter.rule), ("severity", alert_filter.severity))
    conditions = [pc.field(column) == value for column, value in values if value is not None]
    since = max((time for time in (alert_filter.since, cursor and cursor.event_time) if time), default=None)
    if since:
        # The day as well: it is the partition, by which whole files are left out.
        conditions += [pc.field("event_day") >= since.date(), pc.field("event_time") >= _timestamp(since)]
    if cursor:
        has_later_id = pc.field("alert_id") > cursor.alert_id
        conditions.append((pc.field("event_time") > _timestamp(cursor.event_time)) | has_later_id)
    return _all_of(conditions)


def _all_of(conditions: list[pc.Expression]) -> pc.Expression | None:
    return reduce(and_, conditions) if conditions else None


def _timestamp(time: datetime) -> pa.Scalar:
    return pa.scalar(time, pa.timestamp("us", tz="UTC"))


def to_utc(time: datetime) -> datetime:
    """The moment in UTC, which a time without a zone is in; beyond the edges of the calendar the nearest moment in it."""
    try:
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        return EARLIEST if time.year == 1 else LATEST
