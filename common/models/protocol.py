"""Training and judging a model as time allows it: what is learnt on a day uses only what was known on that day.

Train on `train_days` days that end `delay_days` before the test, as younger labels are not known yet; test on the next
`test_days` days without the entities that were already known to be anomalous on each of them: they are blocked by then.
"""

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import pandas as pd
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.models.metrics import ranking_metrics
from common.models.scoring import with_score
from common.models.training import TrainedModel, train
from common.vertical import ModelSpec, Vertical


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
        return _consecutive_days(self.train_from, self.train_days)

    def testing(self) -> list[date]:
        return _consecutive_days(self.test_from, self.test_days)


def evaluate_protocol(
    vertical: Vertical, events: DataFrame, labels: DataFrame, protocol: Protocol
) -> dict[str, dict[str, Any]]:
    """{"exact": metrics, "served": metrics, "protocol": periods}: two models of one kind, each judged on its own features.

    served: features from the baselines in force on each day. exact: from the model's `exact_windows` (batch scoring), left
    out where it has none. Both score through the SQL that serving runs.
    """
    spec = _spec(vertical)
    rows = {"served": served_rows(vertical, events, labels, [*protocol.training(), *protocol.testing()])}
    if spec.exact_windows is not None:
        known = _events_until_end(vertical, events, protocol)
        rows = {"exact": spec.with_features(spec.exact_windows(known, labels))} | rows
    measured = {kind: evaluate_rows(vertical, events, of_kind, labels, protocol)[1] for kind, of_kind in rows.items()}
    periods = {"train": _period_text(protocol.training()), "test": _period_text(protocol.testing()), "delay_days": protocol.delay_days}
    return measured | {"protocol": periods}


def evaluate_rows(
    vertical: Vertical, events: DataFrame, rows: DataFrame, labels: DataFrame, protocol: Protocol
) -> tuple[TrainedModel, dict[str, Any]]:
    """A model trained and tested on `rows` of features of `events` (on the protocol's days), and its metrics.

    It learns from the labels known when the test begins. Raises common.models.training.TrainingRefused.
    """
    kept = _rows_of_periods(vertical, rows, protocol).persist()
    try:
        model = _train_on(vertical, events, kept, labels, protocol)
        tested = with_labels(vertical, events, kept.where(F.col("day").isin(protocol.testing())), labels)
        scored = with_score(tested, model).select("day", "entity", "label", F.col("model_score").alias("score")).toPandas()
    finally:
        kept.unpersist()
    unblocked = _without_blocked(scored, _first_known_times(labels, protocol))
    return model, ranking_metrics(unblocked, protocol.k) | {"model_version": model.version}


def served_rows(vertical: Vertical, events: DataFrame, labels: DataFrame, days: list[date]) -> DataFrame:
    """The events of `days` with the model's features from the baselines in force on each day, as serving has them."""
    so_far = _spec(vertical).so_far
    rows = so_far(events) if so_far else events
    rows = rows.withColumn("as_of", F.to_date(vertical.event_time)).where(F.col("as_of").isin(days))
    used = {name for query in vertical.queries if query.model for name in query.baselines} or set(vertical.baselines)
    for name, learnt in vertical.learn(events, labels, days).items():
        if name in used:
            rows = rows.join(learnt, [vertical.baselines[name].key, "as_of"], "left")
    return _spec(vertical).with_features(rows)


def with_labels(vertical: Vertical, events: DataFrame, rows: DataFrame, labels: DataFrame) -> DataFrame:
    """Adds `label` to rows of features of `events`: 1 for an event that `labels` names, else 0.

    Where the model has labels of its own (`ModelSpec.labelled`), those; what they leave out is left out.
    """
    own = _spec(vertical).labelled
    if own:
        return rows.join(own(events, labels).select(F.col("event_id").alias(vertical.event_id), "label"), vertical.event_id)
    named = labels.select(F.col("event_id").alias(vertical.event_id), F.lit(1).alias("label")).distinct()
    return rows.join(named, vertical.event_id, "left").fillna(0, ["label"])


def _spec(vertical: Vertical) -> ModelSpec:
    if vertical.model is None:
        raise ValueError(f"{vertical.name} has no model")
    return vertical.model


def _rows_of_periods(vertical: Vertical, rows: DataFrame, protocol: Protocol) -> DataFrame:
    day = F.to_date(vertical.event_time).alias("day")
    kept = rows.select(vertical.event_id, F.col(vertical.entity).alias("entity"), day, *_spec(vertical).features)
    return kept.where(F.col("day").isin([*protocol.training(), *protocol.testing()]))


def _train_on(
    vertical: Vertical, events: DataFrame, kept: DataFrame, labels: DataFrame, protocol: Protocol
) -> TrainedModel:
    spec, days = _spec(vertical), protocol.training()
    known = labels.where(F.col("known_time") <= F.lit(protocol.test_from).cast("timestamp"))
    # Whatever labels say, events that had not happened when the test began cannot have told them.
    past = events.where(F.col(vertical.event_time) < F.lit(protocol.test_from).cast("timestamp"))
    learnt = with_labels(vertical, past, kept.where(F.col("day").isin(days)), known)
    return train(learnt, spec.features, spec.fit, tolerance=spec.tolerance, trained_on=_period_text(days))


def _events_until_end(vertical: Vertical, events: DataFrame, protocol: Protocol) -> DataFrame:
    end = protocol.test_from + timedelta(days=protocol.test_days)
    return events.where(F.col(vertical.event_time) < F.lit(end).cast("timestamp"))


def describe_evaluation(measured: dict[str, dict[str, Any]]) -> str:
    """What was measured, as text of a line for each kind of features."""
    periods = measured["protocol"]
    lines = [f"trained {periods['train']}, tested {periods['test']}, labels known {periods['delay_days']} days later"]
    return "\n".join(lines + [_describe_metrics(kind, metrics) for kind, metrics in measured.items() if kind != "protocol"])


def _describe_metrics(kind: str, metrics: dict[str, Any]) -> str:
    meaning = {"exact": "exact windows (batch scoring)", "served": "daily baselines (as served)"}[kind]
    precision = next(name for name in metrics if name.startswith("entity_precision_at_"))
    return (
        f"{meaning:<30} AUC ROC {metrics['auc_roc']:.3f}  average precision {metrics['average_precision']:.3f}  "
        f"precision@{precision.rpartition('_')[2]} {metrics[precision]:.3f} of at most {metrics[precision + '_ceiling']:.3f}  "
        f"({metrics['events']:,} events, {metrics['anomalous_events']:,} anomalous)"
    )


def _first_known_times(labels: DataFrame, protocol: Protocol) -> pd.DataFrame:
    """entity and known_time: when each was first known to be anomalous, by anomalies since training began."""
    recent = labels.where(F.col("event_time") >= F.lit(protocol.train_from).cast("timestamp"))
    return recent.groupBy(F.col("entity_id").alias("entity")).agg(F.min("known_time").alias("known_time")).toPandas()


def _without_blocked(scored: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    blocked_from = scored["entity"].map(known.set_index("entity")["known_time"])
    return scored[~(blocked_from <= pd.to_datetime(scored["day"]))]


def _consecutive_days(first: date, number: int) -> list[date]:
    return [first + timedelta(days=day) for day in range(number)]


def _period_text(days: list[date]) -> str:
    return f"{days[0]} to {days[-1]}" if len(days) > 1 else str(days[0])
