"""What a vertical is: one frozen object that the core takes, found through entry points."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel
from pydantic_settings import BaseSettings
from pyspark.sql import Column, DataFrame
from pyspark.sql import types as T

from common.formats import Format
from common.rules import Rule
from common.simulation.generated_events import GeneratedEvents

ALERTS = "alerts"


@dataclass(frozen=True)
class Query:
    """One streaming query: some rules that read the same projection or the same window.

    build(events, settings) -> alerts in the shape of `common.alerts.ALERT_SCHEMA`; pure, and the same for a stream and
    for a table. The core has joined `events` with the baselines named here (each keyed by the event's column of
    that name's entity) and, with `model`, has added the model's features and `model_score`. Thresholds may change while it
    runs: `judge` takes them as they are, and what reads one itself does by `common.thresholds`.
    prepare(events, settings) -> the rows that the model scores, where those are not the events themselves but, say, a
    session so far; it comes after the baselines and before the model. Its rows keep the kafka_partition and kafka_offset
    of the newest event in them, by which reconcile knows what judged them.
    A windowed score may only grow while its window fills: a stream says nothing when a score falls below its threshold
    again, and history would not know the alert.
    output_mode: "append" for what speaks once, when the watermark has passed (a session window, a silence); an alert's
    event_time is then the end of its window, which is how reconcile knows what had not closed yet.
    in_micro_batches: why it is not to be started in real-time mode, for what Spark accepts there and then fails on.
    topic: "alerts", or another topic `<vertical>.<topic>` for rows that are no alerts: one JSON record each, keyed by entity_id.
    """

    name: str
    rules: tuple[Rule, ...]
    build: Callable[[DataFrame, Any], DataFrame]
    baselines: tuple[str, ...] = ()
    model: bool = False
    stateful: bool = False
    output_mode: str = "update"
    topic: str = ALERTS
    prepare: Callable[[DataFrame, Any], DataFrame] | None = None
    in_micro_batches: str = ""

    @property
    def micro_batch_reason(self) -> str:
        """Why it is started in micro-batches; empty: it is started in real-time mode, unless Spark refuses that."""
        return self.in_micro_batches or ("it speaks when its windows close" if self.output_mode == "append" else "")

    @property
    def raises_alerts(self) -> bool:
        return self.topic == ALERTS


@dataclass(frozen=True)
class Baseline:
    """What batch learns of each entity: its rows' key (a column of the event) and their columns without the key."""

    key: str
    columns: T.StructType

    @property
    def schema(self) -> T.StructType:
        return T.StructType([T.StructField(self.key, T.StringType()), *self.columns])


@dataclass(frozen=True)
class ModelSpec:
    """What a model scores and how it is fitted.

    with_features(rows) adds the columns `features` to events joined with all baselines, on a stream as on a table.
    exact_windows(events, labels) -> events with the baselines' columns as known at each event, for batch scoring.
    fit: see `common.models.training`. tolerance: what its export may differ from predict_proba.
    so_far(history) -> a row per event with the columns that the query's `prepare` gives at that event, for training.
    labelled(events, labels) -> event_id and label (0 or 1), where a label is not simply "an event that labels name"; an
    event that it leaves out is not learnt from.
    """

    features: tuple[str, ...]
    with_features: Callable[[DataFrame], DataFrame]
    exact_windows: Callable[[DataFrame, DataFrame], DataFrame] | None = None
    fit: Callable[..., Any] | None = None
    tolerance: float = 1e-9
    so_far: Callable[[DataFrame], DataFrame] | None = None
    labelled: Callable[[DataFrame, DataFrame], DataFrame] | None = None


@dataclass(frozen=True)
class Scenario:
    """A kind of anomaly that the generator puts in.

    rules: those meant to catch it. plain() -> what a plain threshold on one raw event would look at, to be printed beside.
    """

    name: str
    rules: tuple[str, ...]
    plain: Callable[[], Column]


@dataclass(frozen=True)
class Vertical:
    """Everything the core needs to know of a domain.

    learn(events, labels, days) -> {baseline name: one row per entity and `as_of` day, known at that day's start}
    trends(events, labels, alerts, model) -> {name: what batch reports to people}; plots draws them as PNG
    generate(seed, start, days, population, dirt) -> chunks of events as messages and, apart from them, labels;
    generate_day(seed, day, population) -> a day's valid events and labels, without messages
    pseudonymised: fields whose text is replaced by a keyed hash wherever it would be kept or shown.
    small: fields of the population that make a world small enough to test with.
    formats: other formats by name in which events may come, at the gateway and through `hybrid intake`; never on the topic.
    """

    name: str
    title: str
    event_schema: T.StructType
    contract: tuple[dict[str, Any], ...]
    event_id: str
    entity: str
    settings: type[BaseSettings]
    queries: tuple[Query, ...]
    population: type[BaseModel]
    generate: Callable[..., Iterator[GeneratedEvents]]
    generate_day: Callable[..., GeneratedEvents]
    baselines: Mapping[str, Baseline]
    learn: Callable[[DataFrame, DataFrame, list[date]], dict[str, DataFrame]]
    trends: Callable[..., dict[str, DataFrame]]
    plots: Callable[[dict[str, pd.DataFrame], Path], list[Path]]
    model: ModelSpec | None = None
    scenarios: tuple[Scenario, ...] = ()
    event_time: str = "event_time"
    label_delay: timedelta = timedelta(days=7)
    pseudonymised: tuple[str, ...] = ()
    formats: Mapping[str, Format] = field(default_factory=dict)
    small: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(rule for query in self.queries for rule in query.rules)

    @property
    def live_thresholds(self) -> tuple[str, ...]:
        """The settings' fields that can be changed while streams run."""
        fixed = {rule.threshold for rule in self.rules if not rule.live}
        return tuple(dict.fromkeys(rule.threshold for rule in self.rules if rule.threshold not in fixed))
