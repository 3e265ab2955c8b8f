"""Alerts that are in the table, a page at a time. Every page of a walk reads the version that its first page read."""

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
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
from common.gateway.alert_json import shown

ORDER = [("event_time", "ascending"), ("alert_id", "ascending")]
FIRST_ROWS, PAGE_BYTES = 100, 4_000_000  # of a page: rows that are read first, and text that all may hold
COLUMNS = [*ALERT_SCHEMA.names, "alert_time"]
KEYS = pa.schema([("event_time", pa.timestamp("us", tz="UTC")), ("alert_id", pa.string()), ("file", pa.int32())])
EARLIEST, LATEST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
BATCH_ROWS = 16_384


class BadCursor(ValueError):
    """A text that is no cursor of ours."""


class CursorGone(Exception):
    """The version of the table that a walk reads is not there any more."""


class NoAlerts(Exception):
    """There is no table of alerts."""


@dataclass(frozen=True)
class Wanted:
    """Which alerts; None does not matter. since: the earliest event time, in UTC."""

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
    def read(cls, text: str) -> "Cursor":
        try:
            version, event_time, alert_id = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
            time = datetime.fromisoformat(event_time)
            read = cls(int(version), time.astimezone(UTC), str(alert_id))
        except (binascii.Error, ValueError, TypeError, OverflowError):
            raise BadCursor from None
        if not 0 <= read.version < 2**63 or time.tzinfo is None:
            raise BadCursor
        return read


def read_page(path: str, wanted: Wanted, limit: int, cursor: Cursor | None) -> dict[str, Any]:
    """{alerts: at most `limit`, by event time; next: the cursor of the next page, None at the end}. Raises NoAlerts, CursorGone.

    Fewer than `limit`, and a `next`, where the alerts are large: a page is about PAGE_BYTES at most, or one alert.

    Costs what the page holds, and the key columns of the files that its first alerts may be in.
    """
    try:
        table = _opened(path, cursor)
        files = _files(table, _filter(wanted, cursor))
        chosen = _first(files, limit + 1)
        found = _rows_within(files, chosen.slice(0, limit))
    except FileNotFoundError:
        if cursor is None and not tables.table_exists(path):
            raise NoAlerts from None
        raise CursorGone from None
    except (OSError, DeltaError):
        if cursor is None:
            raise
        raise CursorGone from None
    rows = found.to_pylist()
    more = chosen.num_rows > len(rows)
    return {
        "alerts": [shown(row, row["alert_time"]) for row in rows],
        "next": str(Cursor(table.version(), rows[-1]["event_time"], rows[-1]["alert_id"])) if more else None,
    }


def _opened(path: str, cursor: Cursor | None) -> DeltaTable:
    """The table in the version of the walk; raises what delta-rs does, and CursorGone."""
    table = tables.open_table(path)
    if cursor and cursor.version > table.version():  # to reach it delta-rs would look for each version up to it
        raise CursorGone
    if cursor and cursor.version < table.version():
        table.load_as_version(cursor.version)
    return table


@dataclass(frozen=True)
class File:
    """A data file, which of its rows are wanted, and a time before which it has none."""

    fragment: ds.Fragment
    schema: pa.Schema
    wanted: pc.Expression | None
    earliest: datetime

    def batches(self, columns: list[str], only: pc.Expression | None = None) -> Iterator[pa.RecordBatch]:
        """Its wanted rows, little by little."""
        condition = self.wanted if only is None else only if self.wanted is None else self.wanted & only
        scanner = self.fragment.scanner(
            schema=self.schema, columns=columns, filter=condition, batch_size=BATCH_ROWS, batch_readahead=1, fragment_readahead=1,
            use_threads=False)  # fmt: skip
        yield from scanner.to_batches()


def _files(table: DeltaTable, wanted: pc.Expression | None) -> list[File]:
    """Those that may hold wanted rows, by the earliest time they may hold."""
    actions = table.get_add_actions(flatten=True)
    known = actions.schema.names
    earliest = dict(zip(
        actions.column("path").to_pylist(),
        actions.column("min.event_time").to_pylist() if "min.event_time" in known else [],
        strict=False))  # fmt: skip
    dataset = table.to_pyarrow_dataset()
    files = [
        File(each, dataset.schema, wanted, earliest.get(each.path.lstrip("/")) or EARLIEST)
        for each in dataset.get_fragments(filter=wanted)
    ]
    return sorted(files, key=lambda each: each.earliest)


def _first(files: list[File], most: int) -> pa.Table:
    """Keys of the first `most` wanted rows of all files, in order, with the number of each one's file; few more in memory."""
    first = pa.table({"event_time": [], "alert_id": [], "file": []}, schema=KEYS)
    for number, file in enumerate(files):
        if first.num_rows == most and file.earliest > first["event_time"][-1].as_py():
            break
        for batch in file.batches(["event_time", "alert_id"]):
            keys = batch.append_column("file", pa.repeat(pa.scalar(number, pa.int32()), batch.num_rows))
            both = pa.concat_tables([first, pa.Table.from_batches([keys]).cast(KEYS)])
            first = both.take(pc.select_k_unstable(both, k=most, sort_keys=ORDER))
    return first


def _rows_within(files: list[File], keys: pa.Table) -> pa.Table:
    """`_rows` of as many of the first keys as PAGE_BYTES have room for, and of one at least."""
    rows = _rows(files, keys.slice(0, FIRST_ROWS))
    if keys.num_rows > FIRST_ROWS and (room := PAGE_BYTES - rows.nbytes) > 0:  # how large the others are is told by the first
        others = _rows(files, keys.slice(FIRST_ROWS, room * rows.num_rows // rows.nbytes))
        rows = pa.concat_tables([rows, others]) if others.num_rows else rows
    texts = [rows[name] for name in COLUMNS if pa.types.is_string(rows.schema.field(name).type)]
    sizes = sum(pc.fill_null(pc.binary_length(column), 0).to_numpy().astype(np.int64) for column in texts)
    return rows.slice(0, max(1, int(np.searchsorted(np.cumsum(sizes), PAGE_BYTES, side="right"))))


def _rows(files: list[File], keys: pa.Table) -> pa.Table:
    """The whole rows of these keys, in order."""
    parts = []
    for number in pc.unique(keys["file"]).to_pylist():
        of_file = keys.filter(pc.equal(keys["file"], number))
        times = pc.min_max(of_file["event_time"])
        only = ((pc.field("event_time") >= times["min"]) & (pc.field("event_time") <= times["max"])
                & pc.field("alert_id").isin(of_file["alert_id"].combine_chunks()))  # fmt: skip
        parts += [pa.Table.from_batches([batch]) for batch in files[number].batches(COLUMNS, only)]
    return pa.concat_tables(parts).sort_by(ORDER) if parts else pa.table({name: [] for name in COLUMNS})


def _filter(wanted: Wanted, cursor: Cursor | None) -> pc.Expression | None:
    conditions = [
        pc.field(column) == value
        for column, value in (("entity_id", wanted.entity), ("rule", wanted.rule), ("severity", wanted.severity))
        if value is not None
    ]
    since = max((each for each in (wanted.since, cursor and cursor.event_time) if each), default=None)
    if since:
        # The day as well: it is the partition, by which files are left out.
        conditions += [pc.field("event_day") >= since.date(), pc.field("event_time") >= _time(since)]
    if cursor:
        after = pc.field("alert_id") > cursor.alert_id
        conditions.append((pc.field("event_time") > _time(cursor.event_time)) | after)
    joined = None
    for condition in conditions:
        joined = condition if joined is None else joined & condition
    return joined


def _time(time: datetime) -> pa.Scalar:
    return pa.scalar(time, pa.timestamp("us", tz="UTC"))


def in_utc(time: datetime) -> datetime:
    """The moment, without a zone UTC's; at the edges of the calendar the nearest that there is."""
    try:
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        return EARLIEST if time.year == 1 else LATEST
