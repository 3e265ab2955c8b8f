"""Builds an alert's JSON, which is the same for a row of the table and for a record of the topic."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from pyspark.sql import types as T

from common.alerts import ALERT_SCHEMA, VERSIONS

TIME_FIELDS = [field.name for field in ALERT_SCHEMA if isinstance(field.dataType, T.TimestampType)]


def alert_object(alert: Mapping[str, Any], alert_time: datetime | None) -> dict[str, Any]:
    """An alert as it goes over HTTP: every field, times as datetimes, `events` the ids of the events behind it.

    alert_time: when Kafka took the alert. Raises ValueError for a text that is no time.
    """
    fields = {name: alert.get(name) for name in ALERT_SCHEMA.names}
    for name in TIME_FIELDS:
        time = fields[name]
        fields[name] = datetime.fromisoformat(time) if isinstance(time, str) else time
    versions, event = fields["versions"] or {}, fields.pop("event")
    fields["versions"] = {name: versions.get(name) for name in VERSIONS.names}
    return {**fields, "events": _event_ids(event), "alert_time": alert_time}


def to_json(value: Any) -> bytes:
    """Writes JSON, times in UTC as 2026-04-01T12:00:00.123000Z."""
    return orjson.dumps(value, option=orjson.OPT_UTC_Z)


def _event_ids(event: str | None) -> list[str]:
    """The ids in an alert's `event`, which is one id, or a JSON array of several."""
    if event is None:
        return []
    try:
        ids = orjson.loads(event) if event.startswith("[") else None
    except orjson.JSONDecodeError:
        ids = None
    return ids if isinstance(ids, list) else [event]
