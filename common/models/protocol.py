"""Training and judging a model as time allows it: what is learnt on a day uses only what was known on that day.

Train on `train_days` days that end `delay_days` before the test, as younger labels are not known yet; test on the next
`test_days` days without the entities that were already known to be anomalous on each of them: they are blocked by then.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.models.metrics import ranking_metrics
from common.models.scoring import with_score
from common.models.training import Fit, TrainedModel, train

Rows = Callable[[DataFrame, DataFrame, list[date]], DataFrame]


@dataclass(frozen=True)
class ModelSpec:
    """What a vertical says of its model.

    with_features(rows) adds `features` to events joined with their baselines, the same for a stream and for a table.
    served(events, labels, days) -> the events of those days with `features` as serving has them, from the baselines in
    force on the day. exact(events, labels, days) -> the same from what was known at each event, for batch scoring.
    fit, tolerance: see `common.models.training.train`.
    """

    features: tuple[str, ...]
    with_features: Callable[[DataFrame], DataFrame]
    served: Rows
    exact: Rows
    event_id: str
    entity: str
    event_time: str = "event_time"
    fit: Fit | None = None
    tolerance: float = 1e-9


@dataclass(frozen=True)
class Protocol:
    """Periods of a train and test; all bounds are midnights UTC. k: entities that are looked at each day."""

    test_from: date
    train_days: int = 7
    delay_days: int = 7
    test_days: int = 7
    k: int = 100

    @property
    def train_from(self) -> date:
        return self.test_from - timedelta(days=self.delay_days + self.train_days)

    def training(self) -> list[date]:
        return _days(self.train_from, self.train_days)

    def testing(self) -> list[date]:
        return _days(self.test_from, self.test_days)


def evaluate_protocol(spec: ModelSpec, events: DataFrame, labels: DataFrame, protocol: Protocol) -> dict[str, dict[str, Any]]:
    """{"exact": metrics with features known at each event, "served": with the baselines in force, "protocol": periods}.

    Each is trained and tested on features of its own kind, and scored by the SQL that serving runs.
    """
    kinds = {"exact": spec.exact, "served": spec.served}
    measured = {kind: evaluate_rows(spec, rows, events, labels, protocol)[1] for kind, rows in kinds.items()}
    periods = {"train": _span(protocol.training()), "test": _span(protocol.testing()), "delay_days": protocol.delay_days}
    return measured | {"protocol": periods}


def train_served(
    spec: ModelSpec, events: DataFrame, labels: DataFrame, as_of: date, /, *,
    train_days: int = 7, delay_days: int = 7, **details: Any,
) -> TrainedModel:
    """The model to serve from `as_of` on, with the metrics of the same training done one period earlier.

    Its own metrics are not knowable yet: the labels that would tell come later. `details["metrics_of"]` names the days
    that were tested; without enough history for that rehearsal there are no metrics. Raises TrainingRefused.
    """
    protocol = Protocol(as_of, train_days, delay_days)
    rehearsal = Protocol(protocol.train_from, train_days, delay_days, test_days=train_days)
    begins = events.agg(F.to_date(F.min(spec.event_time))).first()
    if begins is None or begins[0] is None or begins[0] > rehearsal.train_from:
        return _train_on(spec, _rows(spec, spec.served, events, labels, protocol.training()), labels, protocol, **details)
    rows = _rows(spec, spec.served, events, labels, [*rehearsal.training(), *rehearsal.testing()]).persist()
    try:
        metrics = _test_on(_train_on(spec, rows, labels, rehearsal), spec, rows, labels, rehearsal)
        model = _train_on(spec, rows, labels, protocol, **details, metrics_of=_span(rehearsal.testing()))
    finally:
        rows.unpersist()
    return replace(model, metrics=metrics)


def evaluate_rows(
    spec: ModelSpec, rows: Rows, events: DataFrame, labels: DataFrame, protocol: Protocol
) -> tuple[TrainedModel, dict[str, Any]]:
    """The model that one kind of rows (spec.served or spec.exact) gives, and its metrics. Raises TrainingRefused."""
    of_days = _rows(spec, rows, events, labels, [*protocol.training(), *protocol.testing()]).persist()
    try:
        model = _train_on(spec, of_days, labels, protocol)
        return model, _test_on(model, spec, of_days, labels, protocol) | {"model_version": model.version}
    finally:
        of_days.unpersist()


def _rows(spec: ModelSpec, rows: Rows, events: DataFrame, labels: DataFrame, days: list[date]) -> DataFrame:
    day = F.to_date(spec.event_time).alias("day")
    return rows(events, labels, days).select(spec.event_id, F.col(spec.entity).alias("entity"), day, *spec.features)


def _train_on(spec: ModelSpec, rows: DataFrame, labels: DataFrame, protocol: Protocol, **details: Any) -> TrainedModel:
    """A model of the training days, learnt from the labels known when the test (or serving) begins."""
    days = protocol.training()
    known = labels.where(F.col("known_time") <= F.lit(protocol.test_from).cast("timestamp"))
    learnt = with_labels(spec, rows.where(F.col("day").isin(days)), known)
    return train(learnt, spec.features, spec.fit, tolerance=spec.tolerance, trained_on=_span(days), **details)


def _test_on(
    model: TrainedModel, spec: ModelSpec, rows: DataFrame, labels: DataFrame, protocol: Protocol
) -> dict[str, Any]:
    tested = with_score(with_labels(spec, rows.where(F.col("day").isin(protocol.testing())), labels), model)
    scored = tested.select("day", "entity", "label", F.col("model_score").alias("score")).toPandas()
    return ranking_metrics(_without_known(scored, _first_known(labels, protocol)), protocol.k)


def with_labels(spec: ModelSpec, rows: DataFrame, labels: DataFrame) -> DataFrame:
    """Adds `label`: 1 for an event that `labels` names, else 0."""
    named = labels.select(F.col("event_id").alias(spec.event_id), F.lit(1).alias("label")).distinct()
    return rows.join(named, spec.event_id, "left").fillna(0, ["label"])


def report(measured: dict[str, dict[str, Any]]) -> str:
    """What was measured, as text of a line for each kind of features."""
    periods = measured["protocol"]
    lines = [f"trained {periods['train']}, tested {periods['test']}, labels known {periods['delay_days']} days later"]
    return "\n".join(lines + [_line(kind, metrics) for kind, metrics in measured.items() if kind != "protocol"])


def _line(kind: str, metrics: dict[str, Any]) -> str:
    meaning = {"exact": "exact windows (batch scoring)", "served": "daily baselines (as served)"}[kind]
    precision = next(name for name in metrics if name.startswith("entity_precision_at_"))
    return (
        f"{meaning:<30} AUC ROC {metrics['auc_roc']:.3f}  average precision {metrics['average_precision']:.3f}  "
        f"precision@{precision.rpartition('_')[2]} {metrics[precision]:.3f} of at most {metrics[precision + '_ceiling']:.3f}  "
        f"({metrics['events']:,} events, {metrics['anomalous_events']:,} anomalous)"
    )


def _first_known(labels: DataFrame, protocol: Protocol) -> pd.DataFrame:
    """entity and known_time: when each was first known to be anomalous, by anomalies since training began."""
    recent = labels.where(F.col("event_time") >= F.lit(protocol.train_from).cast("timestamp"))
    return recent.groupBy(F.col("entity_id").alias("entity")).agg(F.min("known_time").alias("known_time")).toPandas()


def _without_known(scored: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    blocked_from = scored["entity"].map(known.set_index("entity")["known_time"])
    return scored[~(blocked_from <= pd.to_datetime(scored["day"]))]


def _days(first: date, number: int) -> list[date]:
    return [first + timedelta(days=day) for day in range(number)]


def _span(days: list[date]) -> str:
    return f"{days[0]} to {days[-1]}" if len(days) > 1 else str(days[0])
