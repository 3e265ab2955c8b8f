"""What a vertical is: one frozen object with everything that the core needs to know of a domain.

A vertical is data and pure functions. The core reads, writes, starts, stops and measures; a vertical never does.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Generic, Protocol

from pydantic import BaseModel
from pyspark.sql import Column, DataFrame
from pyspark.sql import types as T

from common.charts import Chart
from common.formats import Format
from common.rules import Rule, SettingsT
from common.simulation.dirt import DirtyFields
from common.simulation.generated_events import EventColumns, GeneratedEvents, message_stream

ALERTS = "alerts"


@dataclass(frozen=True)
class Query(Generic[SettingsT]):
    """One streaming query: some rules that read the same projection or the same window.

    A windowed score must never decrease as events are added to its window. In update mode an alert cannot be retracted, so a
    decreasing score would leave alerts on the topic that the batch recomputation does not produce.
    """

    name: str
    """Names its checkpoint, its Spark query and its lineage: once it has run, another name means another query."""

    rules: tuple[Rule[SettingsT], ...]
    """The rules whose alerts it raises."""

    build: Callable[[DataFrame, SettingsT], DataFrame]
    """build(events, settings) gives its alerts, as `judge` or `alert_rows` makes them: pure, the same for a stream and a table.

    `events` are joined with the baselines named below and, with `model`, have the model's features and `model_score`.
    Thresholds may change while it runs: `judge` takes them as they are; what reads one itself does so by `common.thresholds`.
    """

    baselines: tuple[str, ...] = ()
    """Names in `Vertical.baselines`, each joined by its key; of an entity without one its columns are null."""

    model: bool = False
    """Whether its rows are scored by the model in force."""

    stateful: bool = False
    """Whether it keeps windows or other state: it then holds task slots for its shuffle, and knows late events."""

    output_mode: str = "update"
    """"append" for what is told once, when the watermark has passed (a session window, a silence). An alert's event_time is then
    the end of its window, by which reconcile knows what had not closed yet.
    """

    topic: str = ALERTS
    """"alerts", or another topic `<vertical>.<topic>` for rows that are no alerts: one JSON record each, keyed by entity_id."""

    prepare: Callable[[DataFrame, SettingsT], DataFrame] | None = None
    """prepare(events, settings) gives the rows that the model scores, where those are not the events but, say, sessions so far.

    It comes after the baselines and before the model. Its rows keep kafka_partition and kafka_offset of the newest event in them,
    by which reconcile knows what judged them.
    """

    in_micro_batches: str = ""
    """Why it is not to be started in real-time mode, for what Spark accepts there and then fails on."""

    @property
    def micro_batch_reason(self) -> str:
        """Why it is started in micro-batches; empty: it is started in real-time mode, unless Spark refuses that."""
        return self.in_micro_batches or ("it speaks when its windows close" if self.output_mode == "append" else "")

    @property
    def raises_alerts(self) -> bool:
        return self.topic == ALERTS


@dataclass(frozen=True)
class Baseline:
    """What batch learns of each entity."""

    key: str
    """The event's column that names the entity."""

    columns: T.StructType
    """The learnt columns, without key and version; prefix them, as they stand beside the event's own in one row."""

    @property
    def schema(self) -> T.StructType:
        return T.StructType([T.StructField(self.key, T.StringType()), *self.columns])


@dataclass(frozen=True)
class ModelSpec:
    """What a model scores and how it is fitted."""

    features: tuple[str, ...]
    """Names of its columns, doubles, in the order in which it takes them."""

    with_features: Callable[[DataFrame], DataFrame]
    """with_features(rows) adds them to events joined with all baselines, on a stream as on a table."""

    exact_windows: Callable[[DataFrame, DataFrame], DataFrame] | None = None
    """exact_windows(events, labels) gives events with the baselines' columns as known at each event, for batch scoring."""

    fit: Callable[..., Any] | None = None
    """fit(features, labels) gives a fitted scikit-learn classifier; None: logistic regression (`common.models.training`)."""

    tolerance: float = 1e-9
    """What its SQL may differ from scikit-learn's predict_proba; beyond it training is refused."""

    so_far: Callable[[DataFrame], DataFrame] | None = None
    """so_far(history) gives a row per event with the columns that the query's `prepare` gives at that event, for training."""

    labelled: Callable[[DataFrame, DataFrame], DataFrame] | None = None
    """labelled(events, labels) gives event_id and label (0 or 1), where a label is not simply "an event that labels name".

    An event that it leaves out is not learnt from.
    """


@dataclass(frozen=True)
class Scenario:
    """A kind of anomaly that the generator puts in."""

    name: str
    """As labels name it."""

    rules: tuple[str, ...]
    """The rules meant to catch it: its recall, precision and time to detect are theirs."""

    plain: Callable[[], Column]
    """plain() gives what a plain threshold on one raw event would look at: what it could reach at best is printed beside."""


class Learn(Protocol):
    """Baselines of an entity as of the start of each day of `days`, from the whole UTC days before it.

    {name in `Vertical.baselines`: one row per entity and `as_of` day}. Uses only labels known at that day's start.
    """

    def __call__(self, history: DataFrame, labels: DataFrame, days: list[date], /) -> dict[str, DataFrame]: ...


class Trends(Protocol):
    """What batch reports to people: {name: rows}, each kept as table `trend_<name>`. model: a TrainedModel, None without one."""

    def __call__(
        self, history: DataFrame, labels: DataFrame, alerts: DataFrame, model: Any = None, /
    ) -> dict[str, DataFrame]: ...


class GenerateDay(Protocol):
    """The valid events of one UTC day in order of event time, and the labels of the anomalous ones; no messages yet.

    It depends on (seed, day, population) alone, so that days can be made in any order and on any machine.
    """

    def __call__(self, seed: int, day: date, population: Any, /) -> GeneratedEvents: ...


@dataclass(frozen=True)
class Vertical(Generic[SettingsT]):
    """A domain."""

    name: str
    """Its package, its command-line name, and the prefix of its topics and folders."""

    title: str
    """For people, as in "card fraud"."""

    event_schema: T.StructType
    """The event's fields: flat, of texts, numbers, flags and times; not null what must be there."""

    contract: tuple[dict[str, Any], ...]
    """What a valid event is: great-expectations' configuration dictionaries (`common.contract`)."""

    event_id: str
    """The field that names an event; unique within the UTC day of its event time."""

    entity: str
    """The field that names what an event is about; records are keyed by it."""

    settings: type[SettingsT]
    """Thresholds and windows of its rules, each to be set from the environment."""

    queries: tuple[Query[SettingsT], ...]
    """Its streaming queries. Few: each reads and checks the whole topic."""

    population: type[BaseModel]
    """The size of the simulated world."""

    generate_day: GenerateDay
    """Makes a day of the simulated world."""

    dirty_fields: DirtyFields
    """Which fields broken messages of the simulation break."""

    baselines: Mapping[str, Baseline]
    """What batch learns, by name."""

    learn: Learn
    """Learns the baselines."""

    trends: Trends
    """Reports to people."""

    charts: tuple[tuple[str, Chart], ...] = ()
    """(name of a trend, how it is drawn as PNG)."""

    model: ModelSpec | None = None
    """Its model, if it has one."""

    scenarios: tuple[Scenario, ...] = ()
    """The anomalies that its generator puts in, in the order in which results list them."""

    event_time: str = "event_time"
    """The field with the event's time."""

    label_delay: timedelta = timedelta(days=7)
    """How long after an event its label is known at the latest."""

    pseudonymised: tuple[str, ...] = ()
    """Fields whose text is replaced by a keyed hash wherever it would be kept or shown."""

    formats: Mapping[str, Format] = field(default_factory=dict)
    """Other formats, by name, in which events may come: at the gateway and through `hybrid intake`, never on the topic."""

    small: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the population that make a world small enough to test with."""

    @property
    def rules(self) -> tuple[Rule[SettingsT], ...]:
        return tuple(rule for query in self.queries for rule in query.rules)

    @property
    def live_thresholds(self) -> tuple[str, ...]:
        """The settings' fields that can be changed while streams run."""
        fixed = {rule.threshold for rule in self.rules if not rule.live}
        return tuple(dict.fromkeys(rule.threshold for rule in self.rules if rule.threshold not in fixed))

    def generate(self, seed: int, start: date, days: int, population: Any, dirt: bool = True) -> Iterator[GeneratedEvents]:
        """Chunks of each simulated day from `start`, with the messages that arrive until their end; a last one holds stragglers.

        dirt: with broken, repeated and odd messages, as producers with bugs make them.
        """
        event_columns = EventColumns(self.event_id, self.entity, self.event_time, self.label_delay)
        valid_days = (self.generate_day(seed, start + timedelta(days=number), population) for number in range(days))
        return message_stream(seed, valid_days, event_columns, self.dirty_fields if dirt else None)
