"""Reads the records that a query sends: a record's id, and the event that it is about.

Alerts have ids. A record of a query that raises no alerts names the event that it is about.
"""

from typing import Any

import orjson

from common.vertical import Query, Vertical

LOWEST_THRESHOLD = 1e-9  # that every score reaches
ALERT_ID_BYTES = slice(13, 45)  # an alert's id stands first in its JSON; parsing all of it would slow down what is measured


def measured_queries(vertical: Vertical) -> dict[str, Query]:
    """The first query per event, and the first over a window that raises alerts; not every vertical has both."""
    queries: dict[str, Query] = {}
    for query in vertical.queries:
        if query.raises_alerts or not query.stateful:
            queries.setdefault("windowed" if query.stateful else "per event", query)
    return dict(sorted(queries.items()))


def with_lowest_threshold(settings: Any, query: Query) -> Any:
    """The vertical's settings, under which the query's first rule raises an alert for every event that it scores."""
    return settings.model_copy(update={query.rules[0].threshold: LOWEST_THRESHOLD}) if query.rules else settings


def id_column(vertical: Vertical, query: Query) -> str:
    return "alert_id" if query.raises_alerts else vertical.event_id


def read_id(vertical: Vertical, query: Query, value: bytes) -> str:
    """What `id_column` holds, from a record's value."""
    return value[ALERT_ID_BYTES].decode() if query.raises_alerts else str(orjson.loads(value)[vertical.event_id])


def read_newest_event(vertical: Vertical, query: Query, value: bytes) -> str:
    """The id of the event that a record is about; where these are several, of the newest."""
    row = orjson.loads(value)
    if not query.raises_alerts:
        return str(row[vertical.event_id])
    event: str = row["event"]
    return str(orjson.loads(event)[-1]) if event.startswith("[") else event
