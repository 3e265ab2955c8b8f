"""Trains and tests a model without looking ahead: a model of some day uses only events and labels known on that day.

Train on `train_days` days that end `delay_days` before the test, as younger labels are not known yet; test on the next
`test_days` days, each without the entities known to be anomalous by then, as they are blocked.
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
    """Periods of a training and its test; all bounds are midnights UTC. k: entities that investigators look at each day."""

    test_from: date
    train_days: int = 7
    delay_days: int = 7
    test_days: int = 7
    k: int = 100

    @property
    def train_from(self) -> date:
        return self.test_from - timedelta(days=self.delay_days + self.train_days)

    def training_dates(self) -> list[date]:
        return _consecutive_days(self.train_from, self.train_days)

    def test_dates(self) -> list[date]:
        return _consecutive_days(self.test_from, self.test_days)


def evaluate_protocol(vertical: Vertical, events: DataFrame, labels: DataFrame, protocol: Protocol) -> dict[str, dict[str, Any]]:
    """{"exact": metrics, "served": metrics, "protocol": periods}: two models of one kind, each tested on its own features.

    served: features from the baselines in force on each day. exact: from the model's `exact_windows` (batch scoring); left out
    where it has none. Both score through the SQL that serving runs.
    """
    spec = _spec(vertical)
    rows = {"served": point_in_time_features(vertical, events, labels, [*protocol.training_dates(), *protocol.test_dates()])}
    if spec.exact_windows is not None:
        past_events = _events_until_end(vertical, events, protocol)
        rows = {"exact": spec.with_features(spec.exact_windows(past_events, labels))} | rows
    metrics = {
        feature_kind: evaluate_rows(vertical, events, feature_rows, labels, protocol)[1]
        for feature_kind, feature_rows in rows.items()
    }
    train, test = _period_text(protocol.training_dates()), _period_text(protocol.test_dates())
    periods = {"train": train, "test": test, "delay_days": protocol.delay_days}
    return metrics | {"protocol": periods}


def evaluate_rows(
    vertical: Vertical, events: DataFrame, rows: DataFrame, labels: DataFrame, protocol: Protocol
) -> tuple[TrainedModel, dict[str, Any]]:
    """Train and test a model on `rows` of features of `events`, on the protocol's days: the model and its metrics.

    It learns from the labels that are known when the test begins. Raises common.models.training.TrainingRefused.
    """
    period_rows = _rows_of_periods(vertical, rows, protocol).persist()
    try:
        model = _train_on(vertical, events, period_rows, labels, protocol)
        test_rows = with_labels(vertical, events, period_rows.where(F.col("day").isin(protocol.test_dates())), labels)
        scores = with_score(test_rows, model).select("day", "entity", "label", F.col("model_score").alias("score")).toPandas()
    finally:
        period_rows.unpersist()
    judged_scores = _without_blocked(scores, _first_known_times(labels, protocol))
    return model, ranking_metrics(judged_scores, protocol.k) | {"model_version": model.version}


def point_in_time_features(vertical: Vertical, events: DataFrame, labels: DataFrame, days: list[date]) -> DataFrame:
    """The events of `days` with the model's features from the baselines in force on each day, as serving has them."""
    with_earlier_events = _spec(vertical).so_far
    rows = with_earlier_events(events) if with_earlier_events else events
    rows = rows.withColumn("as_of", F.to_date(vertical.event_time)).where(F.col("as_of").isin(days))
    baseline_names = {name for query in vertical.queries if query.model for name in query.baselines} or set(vertical.baselines)
    for name, baselines in vertical.learn(events, labels, days).items():
        if name in baseline_names:
            rows = rows.join(baselines, [vertical.baselines[name].key, "as_of"], "left")
    return _spec(vertical).with_features(rows)


def with_labels(vertical: Vertical, events: DataFrame, rows: DataFrame, labels: DataFrame) -> DataFrame:
    """Rows of features of `events`, with `label`: 1 for an event in `labels`, else 0.

    A model with labels of its own (`ModelSpec.labelled`) gets those, and only the rows that they name.
    """
    labelled = _spec(vertical).labelled
    if labelled:
        return rows.join(labelled(events, labels).select(F.col("event_id").alias(vertical.event_id), "label"), vertical.event_id)
    labelled_ids = labels.select(F.col("event_id").alias(vertical.event_id), F.lit(1).alias("label")).distinct()
    return rows.join(labelled_ids, vertical.event_id, "left").fillna(0, ["label"])


def _spec(vertical: Vertical) -> ModelSpec:
    if vertical.model is None:
        raise ValueError(f"{vertical.name} has no model")
    return vertical.model


def _rows_of_periods(vertical: Vertical, rows: DataFrame, protocol: Protocol) -> DataFrame:
    day = F.to_date(vertical.event_time).alias("day")
    period_rows = rows.select(vertical.event_id, F.col(vertical.entity).alias("entity"), day, *_spec(vertical).features)
    return period_rows.where(F.col("day").isin([*protocol.training_dates(), *protocol.test_dates()]))


def _train_on(
    vertical: Vertical, events: DataFrame, period_rows: DataFrame, labels: DataFrame, protocol: Protocol
) -> TrainedModel:
    spec, days = _spec(vertical), protocol.training_dates()
    known_labels = labels.where(F.col("known_time") <= F.lit(protocol.test_from).cast("timestamp"))
    # Events after the test's begin are left out whatever the labels say: nobody could have known of them.
    past_events = events.where(F.col(vertical.event_time) < F.lit(protocol.test_from).cast("timestamp"))
    training_rows = with_labels(vertical, past_events, period_rows.where(F.col("day").isin(days)), known_labels)
    return train(training_rows, spec.features, spec.fit, tolerance=spec.tolerance, trained_on=_period_text(days))


def _events_until_end(vertical: Vertical, events: DataFrame, protocol: Protocol) -> DataFrame:
    end = protocol.test_from + timedelta(days=protocol.test_days)
    return events.where(F.col(vertical.event_time) < F.lit(end).cast("timestamp"))


def describe_evaluation(evaluation: dict[str, dict[str, Any]]) -> str:
    """The evaluation as text, a line for each kind of features."""
    periods = evaluation["protocol"]
    lines = [f"trained {periods['train']}, tested {periods['test']}, labels known {periods['delay_days']} days later"]
    return "\n".join(
        lines
        + [_describe_metrics(feature_kind, metrics) for feature_kind, metrics in evaluation.items() if feature_kind != "protocol"]
    )


def _describe_metrics(feature_kind: str, metrics: dict[str, Any]) -> str:
    title = {"exact": "exact windows (batch scoring)", "served": "daily baselines (as served)"}[feature_kind]
    precision = next(name for name in metrics if name.startswith("entity_precision_at_"))
    return (
        f"{title:<30} AUC ROC {metrics['auc_roc']:.3f}  average precision {metrics['average_precision']:.3f}  "
        f"precision@{precision.rpartition('_')[2]} {metrics[precision]:.3f} of at most {metrics[precision + '_ceiling']:.3f}  "
        f"({metrics['events']:,} events, {metrics['anomalous_events']:,} anomalous)"
    )


def _first_known_times(labels: DataFrame, protocol: Protocol) -> pd.DataFrame:
    """entity and known_time: when each entity was first known to be anomalous, by anomalies since training began."""
    recent = labels.where(F.col("event_time") >= F.lit(protocol.train_from).cast("timestamp"))
    return recent.groupBy(F.col("entity_id").alias("entity")).agg(F.min("known_time").alias("known_time")).toPandas()


def _without_blocked(scores: pd.DataFrame, known_times: pd.DataFrame) -> pd.DataFrame:
    blocked_from = scores["entity"].map(known_times.set_index("entity")["known_time"])
    return scores[~(blocked_from <= pd.to_datetime(scores["day"]))]


def _consecutive_days(first_day: date, number: int) -> list[date]:
    return [first_day + timedelta(days=day) for day in range(number)]


def _period_text(days: list[date]) -> str:
    return f"{days[0]} to {days[-1]}" if len(days) > 1 else str(days[0])
