"""What a vertical is: one frozen object that the core takes, found through entry points."""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from importlib.metadata import entry_points
from typing import Any

from pydantic_settings import BaseSettings
from pyspark.sql import DataFrame
from pyspark.sql import types as T

from common.alerts import Rule

ENTRY_POINTS = "hybrid.verticals"

Frames = Mapping[str, DataFrame]


class UnknownVertical(Exception):
    """No installed package offers a vertical of that name."""


@dataclass(frozen=True)
class Query:
    """One streaming query: some rules that read the same projection or the same window.

    build(events, learnt, settings) -> alerts, in the shape of `common.alerts.ALERT_SCHEMA`; pure, and the same
    for a stream and for a table. `learnt` holds the newest baselines and model by name.
    """

    name: str
    rules: tuple[Rule, ...]
    build: Callable[[DataFrame, Frames, Any], DataFrame]
    stateful: bool = False
    learnt: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vertical:
    """Everything the core needs to know of a domain.

    baselines(events, labels, days) -> {name: one row per entity and `as_of` day, known at that day's start}
    trends(events, labels, alerts) -> {name: what batch reports to people}
    generate(...) -> chunks of `common.simulation` events and labels
    """

    name: str
    title: str
    event_schema: T.StructType
    contract: tuple[dict[str, Any], ...]
    event_id: str
    entity: str
    settings: type[BaseSettings]
    queries: tuple[Query, ...]
    population: type
    generate: Callable[..., Any]
    baselines: Callable[[DataFrame, DataFrame, list[date]], dict[str, DataFrame]]
    trends: Callable[[DataFrame, DataFrame, DataFrame], dict[str, DataFrame]]
    plots: Callable[..., Any] | None = None
    model: Any = None
    scenarios: tuple[str, ...] = ()
    event_time: str = "event_time"
    label_delay_days: int = 7

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(rule for query in self.queries for rule in query.rules)


def verticals() -> list[str]:
    """Names of all installed verticals."""
    return sorted(point.name for point in entry_points(group=ENTRY_POINTS))


def find_vertical(name: str) -> Vertical:
    """The installed vertical `name`; raises UnknownVertical listing what there is."""
    for point in entry_points(group=ENTRY_POINTS):
        if point.name == name:
            loaded: Vertical = point.load()
            return loaded
    close = difflib.get_close_matches(name, verticals(), n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    raise UnknownVertical(f"no vertical named {name!r}: {hint}installed are {', '.join(verticals()) or 'none'}")
