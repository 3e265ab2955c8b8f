"""What a query finds, as the records that it sends: which one it is, and which event it speaks of.

Alerts have ids; of what else a query finds, a record names the event that it is about.
"""

from typing import Any

import orjson

from common.vertical import Query, Vertical

ALWAYS = 1e-9  # a threshold that every score reaches
IDS = slice(13, 45)  # an alert's id stands first in its JSON; parsing all of it would slow the measured down


def paths(vertical: Vertical) -> dict[str, Query]:
    """The first query per event, and the first over a window that raises alerts; not every vertical has both."""
    found: dict[str, Query] = {}
    for query in vertical.queries:
        if query.raises_alerts or not query.stateful:
            found.setdefault("windowed" if query.stateful else "per event", query)
    return dict(sorted(found.items()))


def eager(settings: Any, query: Query) -> Any:
    """The settings of a vertical under which the query's first rule speaks of every event that it scores."""
    return settings.model_copy(update={query.rules[0].threshold: ALWAYS}) if query.rules else settings


def id_column(vertical: Vertical, query: Query) -> str:
    return "alert_id" if query.raises_alerts else vertical.event_id


def id_of(vertical: Vertical, query: Query, value: bytes) -> str:
    """Of a record's value, what `id_column` holds."""
    return value[IDS].decode() if query.raises_alerts else str(orjson.loads(value)[vertical.event_id])


def newest_event(vertical: Vertical, query: Query, value: bytes) -> str:
    """The id of the event that a record speaks of; of several, of the newest."""
    found = orjson.loads(value)
    if not query.raises_alerts:
        return str(found[vertical.event_id])
    event: str = found["event"]
    return str(orjson.loads(event)[-1]) if event.startswith("[") else event
