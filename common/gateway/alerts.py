"""Alerts that are in the table, a page at a time. Every page of a walk reads the version that its first page read."""

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import DeltaError

from common import tables
from common.alerts import ALERT_SCHEMA

ORDER = [("event_time", "ascending"), ("alert_id", "ascending")]
COLUMNS = [*ALERT_SCHEMA.names, "alert_time"]


class BadCursor(ValueError):
    """A text that is no cursor of ours."""


class CursorGone(Exception):
    """The version of the table that a walk reads is not there any more."""


@dataclass(frozen=True)
class Wanted:
    """Which alerts; None does not matter. since: the earliest event time."""

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
            read = cls(int(version), datetime.fromisoformat(event_time), str(alert_id))
        except (binascii.Error, ValueError, TypeError):
            raise BadCursor from None
        if not 0 <= read.version < 2**63 or read.event_time.tzinfo is None:
            raise BadCursor
        return read


def read_page(path: str, wanted: Wanted, limit: int, cursor: Cursor | None) -> dict[str, Any]:
    """{alerts: at most `limit`, by event time; next: the cursor of the next page, None at the end}. Raises CursorGone."""
    if not tables.table_exists(path):
        return {"alerts": [], "next": None}
    try:
        table = tables.open_table(path, cursor.version if cursor else None)
        dataset = table.to_pyarrow_dataset()
        found = dataset.to_table(columns=COLUMNS, filter=_filter(wanted, cursor)).sort_by(ORDER)
    except (OSError, DeltaError):
        if cursor is None:
            raise
        raise CursorGone from None
    rows = found.slice(0, limit).to_pylist()
    more = found.num_rows > limit
    return {"alerts": rows, "next": str(Cursor(table.version(), rows[-1]["event_time"], rows[-1]["alert_id"])) if more else None}


def _filter(wanted: Wanted, cursor: Cursor | None) -> pc.Expression | None:
    conditions = [
        pc.field(column) == value
        for column, value in (("entity_id", wanted.entity), ("rule", wanted.rule), ("severity", wanted.severity))
        if value is not None
    ]
    since = max((each for each in (wanted.since, cursor and cursor.event_time) if each), default=None)
    if since:
        # The day as well: it is the partition, by which files are left out.
        conditions += [pc.field("event_day") >= since.astimezone(UTC).date(), pc.field("event_time") >= _time(since)]
    if cursor:
        after = pc.field("alert_id") > cursor.alert_id
        conditions.append((pc.field("event_time") > _time(cursor.event_time)) | after)
    joined = None
    for condition in conditions:
        joined = condition if joined is None else joined & condition
    return joined


def _time(time: datetime) -> pa.Scalar:
    return pa.scalar(time, pa.timestamp("us", tz="UTC"))
