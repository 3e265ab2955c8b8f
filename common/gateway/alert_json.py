"""One shape of an alert over HTTP, be it a row of the table or a record of the topic."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from pyspark.sql import types as T

from common.alerts import ALERT_SCHEMA, VERSIONS

TIMES = [field.name for field in ALERT_SCHEMA if isinstance(field.dataType, T.TimestampType)]


def shown(alert: Mapping[str, Any], alert_time: datetime | None) -> dict[str, Any]:
    """An alert as it goes over HTTP: every field, times as datetimes, `events` the ids behind it.

    alert_time: when Kafka got it. Raises ValueError for a time that is none.
    """
    fields = {name: alert.get(name) for name in ALERT_SCHEMA.names}
    for name in TIMES:
        time = fields[name]
        fields[name] = datetime.fromisoformat(time) if isinstance(time, str) else time
    versions, event = fields["versions"] or {}, fields.pop("event")
    fields["versions"] = {name: versions.get(name) for name in VERSIONS.names}
    return {**fields, "events": _ids(event), "alert_time": alert_time}


def as_json(value: Any) -> bytes:
    """Times in UTC, as 2026-04-01T12:00:00.123000Z."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def _ids(event: str | None) -> list[str]:
    """The ids of the events behind an alert, which holds one, or a JSON array of several."""
    if event is None:
        return []
    try:
        ids = orjson.loads(event) if event.startswith("[") else None
    except orjson.JSONDecodeError:
        ids = None
    return ids if isinstance(ids, list) else [event]
