"""One batch run: checks the history against the contract, learns baselines and a model from it, reports its trends."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from common import contract, tables
from common.archive.history import first_incomplete_day, read_history, until_today
from common.batch.future_events import find_future_events
from common.charts import draw_all
from common.deployment import Deployment
from common.errors import UserError
from common.models.drift import stability
from common.models.protocol import Protocol, evaluate_rows, point_in_time_features, with_labels
from common.models.storage import save
from common.models.training import TrainedModel, TrainingRefused, train
from common.published.model_registry import challenger, publish_model
from common.published.reference_data import model_of, publish_baselines
from common.published.versions import MODEL, Version, in_force
from common.spark.session import use_pool
from common.vertical import Vertical

LOG = logging.getLogger(__name__)


class NoModel(UserError):
    """The vertical trains no model."""


@dataclass(frozen=True)
class BatchReport:
    """What a batch run did.

    events: rows of the history. suite: great-expectations' result of the contract. trends: rows by trend. plots: PNG files.
    retrained: a sentence about a challenger that was trained, or could not be; "" where none was due.
    """

    as_of: date
    events: int
    suite: Any
    baseline_version: str
    trends: dict[str, int] = field(default_factory=dict)
    plots: list[Path] = field(default_factory=list)
    retrained: str = ""


def learn(spark: SparkSession, deployment: Deployment, as_of: date) -> str:
    """Publish the baselines as of the start of `as_of`; returns their version."""
    use_pool(spark, "batch")
    vertical = deployment.vertical
    events, labels, _ = read_history(spark, deployment.workspace)
    return publish_baselines(vertical.learn(events, labels, [as_of]), vertical, deployment.tables, as_of.isoformat()).version


def train_model(spark: SparkSession, deployment: Deployment, as_of: date | None = None) -> TrainedModel:
    """Train the vertical's model on days whose labels are all known by `as_of`, store it as files, publish it.

    as_of: by default `first_incomplete_day`. The first model is put in force, a later one becomes the challenger.

    Raises NoModel, NoHistory, or TrainingRefused when those days hold no anomalies.
    """
    use_pool(spark, "batch")
    vertical, workspace = deployment.vertical, deployment.workspace
    if vertical.model is None:
        raise NoModel(f"{vertical.name} has no model to train")
    events, labels, _ = read_history(spark, workspace)
    as_of = as_of or first_incomplete_day(events)
    known_labels = labels.where(F.col("known_time") <= F.lit(as_of).cast("timestamp"))
    protocol = Protocol(as_of, delay_days=vertical.label_delay.days)
    features = point_in_time_features(vertical, events, known_labels, protocol.training_dates())
    rows = with_labels(vertical, events, features, known_labels)
    model = train(
        rows,
        vertical.model.features,
        vertical.model.fit,
        tolerance=vertical.model.tolerance,
        as_of=as_of.isoformat(),
        trained_on=f"{protocol.train_from} and {protocol.train_days} days on",
        events_table_version=tables.open_table(workspace.table("events")).version(),
    )
    model = replace(model, metrics=earlier_metrics(vertical, events, known_labels, as_of))
    save(model, workspace.models)
    publish_model(model, as_of.isoformat(), workspace.tables)
    return model


def earlier_metrics(vertical: Vertical, events: DataFrame, labels: DataFrame, as_of: date) -> dict[str, float]:
    """Metrics of the same training done earlier, at the last time whose outcome is known by now; {} if history is too short."""
    delay = vertical.label_delay
    protocol = Protocol(as_of - delay - timedelta(days=7), delay_days=delay.days)
    oldest = events.agg(F.min("event_day")).first()
    if oldest is None or oldest[0] > protocol.train_from:
        return {}
    rows = point_in_time_features(vertical, events, labels, [*protocol.training_dates(), *protocol.test_dates()])
    try:
        metrics = evaluate_rows(vertical, events, rows, labels, protocol)[1]
    except TrainingRefused:  # those days hold no anomalies that were known by then
        return {}
    return {name: value for name, value in metrics.items() if isinstance(value, int | float)}


def drift_since_training(vertical: Vertical, events: DataFrame, labels: DataFrame, model: Version, as_of: date) -> Row | None:
    """The feature, and its psi, that moved most from the days that `model` learnt from to the week before `as_of`.

    None when these days and that week overlap.
    """
    training_days = Protocol(date.fromisoformat(model.as_of), delay_days=vertical.label_delay.days).training_dates()
    week = [as_of - timedelta(days=back) for back in range(1, 8)]
    if set(week) & set(training_days) or vertical.model is None:
        return None
    rows = point_in_time_features(vertical, events, labels, [*training_days, *week])
    rows = rows.withColumn("is_current", F.to_date(vertical.event_time).isin(week))
    return stability(rows, vertical.model.features).orderBy(F.desc_nulls_last("psi")).first()


def retrain_if_moved(spark: SparkSession, deployment: Deployment, as_of: date, limit: float) -> str:
    """Train a challenger if a feature of the champion moved by a psi above `limit`; what was done, for people.

    While a challenger waits for its proof none is trained: labels come days later, and a new one would begin anew.
    """
    vertical = deployment.vertical
    champion = in_force(deployment.tables, MODEL)
    if vertical.model is None or champion is None or challenger(deployment.tables):
        return ""
    events, labels, _ = read_history(spark, deployment.workspace)
    drift = drift_since_training(vertical, events, labels, champion, as_of)
    if drift is None or drift.psi is None or drift.psi <= limit:
        return ""
    reason = f"{drift.feature} moved since model {champion.version} was trained (psi {drift.psi:.2f}, limit {limit:g})"
    try:
        return f"{reason}: challenger {train_model(spark, deployment, as_of).version} trained"
    except TrainingRefused as problem:
        return f"{reason}; no challenger: {problem}"


def report_trends(spark: SparkSession, deployment: Deployment) -> dict[str, int]:
    """Write each trend to its table `trend_<name>`; returns their numbers of rows."""
    use_pool(spark, "batch")
    vertical, workspace = deployment.vertical, deployment.workspace
    champion = in_force(workspace.tables, MODEL)
    events, labels, alerts = read_history(spark, workspace)
    model = model_of(champion.details, vertical) if champion else None
    row_counts = {}
    for name, rows in vertical.trends(until_today(events), labels, alerts, model).items():
        path = workspace.table(f"trend_{name}")
        tables.ensure_table(path, rows.schema, is_overwritten=True)
        row_counts[name] = tables.overwrite(rows, path)
    return row_counts


def plot_trends(deployment: Deployment, names: Iterable[str]) -> list[Path]:
    """Draw the trend tables of these names as PNG; returns the files."""
    workspace = deployment.workspace
    workspace.plots.mkdir(parents=True, exist_ok=True)
    frames = {name: tables.read_arrow(workspace.table(f"trend_{name}")).to_pandas() for name in names}
    return draw_all(frames, deployment.vertical.charts, workspace.plots)


def run_batch(
    spark: SparkSession,
    deployment: Deployment,
    as_of: date | None = None,
    progress: Callable[[str], None] = LOG.info,
    retrain_above: float | None = None,
) -> BatchReport:
    """One batch run: contract suite, baselines, trends. A history that breaks its contract is told, in `suite`, not refused.

    as_of: by default `first_incomplete_day`. retrain_above: psi of a feature above which a challenger is trained.
    """
    use_pool(spark, "batch")
    vertical, workspace = deployment.vertical, deployment.workspace
    events, _, _ = read_history(spark, workspace)
    as_of = as_of or first_incomplete_day(events)
    if future_events := find_future_events(events, vertical):
        LOG.warning("%s: %s", vertical.name, future_events.describe())
    progress("checking the history against the contract")
    suite = contract.run_suite(events, vertical, workspace.docs)
    progress(f"learning baselines as of {as_of}")
    version = learn(spark, deployment, as_of)
    progress("reporting trends")
    row_counts = report_trends(spark, deployment)
    plots = plot_trends(deployment, row_counts)
    progress("comparing what the model reads with what it learnt from")
    retrained = retrain_if_moved(spark, deployment, as_of, retrain_above) if retrain_above else ""
    return BatchReport(as_of, tables.row_count(workspace.table("events")), suite, version, row_counts, plots, retrained)
