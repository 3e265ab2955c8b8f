"""The batch side: check the history against the contract, learn baselines and a model from it, report its trends."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from common import contract, tables
from common.batch.as_of_day import NoHistory, until_today, whole_until
from common.batch.future_events import far_ahead
from common.errors import UserError
from common.models.drift import stability
from common.models.protocol import Protocol, evaluate_rows, served_rows, with_labels
from common.models.storage import save
from common.models.training import TrainedModel, TrainingRefused, train
from common.published.model_registry import challenger, publish_model
from common.published.reference_data import model_of, publish_baselines
from common.published.versions import MODEL, Version, in_force
from common.spark.session import use_pool
from common.vertical import Vertical
from common.workspace import Workspace

LOG = logging.getLogger(__name__)


class NoModel(UserError):
    """The vertical trains no model."""


@dataclass(frozen=True)
class Studied:
    """What a batch run did."""

    as_of: date
    events: int
    suite: Any
    baseline_version: str
    trends: dict[str, int] = field(default_factory=dict)
    plots: list[Path] = field(default_factory=list)
    retrained: str = ""


def has_history(workspace: Workspace) -> bool:
    """Whether there is an event to study."""
    path = workspace.table("events")
    return tables.table_exists(path) and tables.row_count(path) > 0


def history(spark: SparkSession, workspace: Workspace) -> tuple[DataFrame, DataFrame, DataFrame]:
    """Events, labels and alerts as their tables hold them now; raises NoHistory when there are no events."""
    path = workspace.table("events")
    if not has_history(workspace):
        raise NoHistory(f"no events in {path} yet: run backfill, or archive what a topic holds, first")
    return tables.read(spark, path), tables.read(spark, workspace.table("labels")), tables.read(spark, workspace.table("alerts"))


def came_live(spark: SparkSession, workspace: Workspace) -> tuple[DataFrame, DataFrame, DataFrame]:
    """`history` less the events that were backfilled, never judged live, and the alerts that batch added for late events."""
    events, labels, alerts = history(spark, workspace)
    return events.where("kafka_partition >= 0"), labels, alerts.where("kafka_offset >= 0")


def learn(spark: SparkSession, vertical: Vertical, workspace: Workspace, as_of: date) -> str:
    """Publish the baselines as of the start of `as_of`; returns their version."""
    use_pool(spark, "batch")
    events, labels, _ = history(spark, workspace)
    return publish_baselines(vertical.learn(events, labels, [as_of]), vertical, workspace.tables, as_of.isoformat()).version


def train_model(spark: SparkSession, vertical: Vertical, workspace: Workspace, as_of: date | None = None) -> TrainedModel:
    """Train the vertical's model on days whose labels are all known by `as_of`, store it as files, publish it.

    as_of: by default `whole_until`. The first one is put in force, a later one becomes the challenger.

    Raises NoModel, NoHistory, or TrainingRefused when those days hold no anomalies.
    """
    use_pool(spark, "batch")
    if vertical.model is None:
        raise NoModel(f"{vertical.name} has no model to train")
    events, labels, _ = history(spark, workspace)
    as_of = as_of or whole_until(events)
    known = labels.where(F.col("known_time") <= F.lit(as_of).cast("timestamp"))
    protocol = Protocol(as_of, delay_days=vertical.label_delay.days)
    rows = with_labels(vertical, events, served_rows(vertical, events, known, protocol.training()), known)
    trained = train(
        rows,
        vertical.model.features,
        vertical.model.fit,
        tolerance=vertical.model.tolerance,
        as_of=as_of.isoformat(),
        trained_on=f"{protocol.train_from} and {protocol.train_days} days on",
        events_table_version=tables.open_table(workspace.table("events")).version(),
    )
    trained = replace(trained, metrics=rehearsed(vertical, events, known, as_of))
    save(trained, workspace.models)
    publish_model(trained, as_of.isoformat(), workspace.tables)
    return trained


def rehearsed(vertical: Vertical, events: DataFrame, labels: DataFrame, as_of: date) -> dict[str, float]:
    """Metrics of the same training done earlier, the last time whose outcome is known by now; {} if history is too short."""
    delay = vertical.label_delay
    rehearsal = Protocol(as_of - delay - timedelta(days=7), delay_days=delay.days)
    oldest = events.agg(F.min("event_day")).first()
    if oldest is None or oldest[0] > rehearsal.train_from:
        return {}
    rows = served_rows(vertical, events, labels, [*rehearsal.training(), *rehearsal.testing()])
    measured = evaluate_rows(vertical, events, rows, labels, rehearsal)[1]
    return {name: value for name, value in measured.items() if isinstance(value, int | float)}


def drift_since_training(vertical: Vertical, events: DataFrame, labels: DataFrame, model: Version, as_of: date) -> Row | None:
    """The feature, and its psi, that moved most from the days that `model` learnt from to the week before `as_of`.

    None when these are not apart yet.
    """
    learnt_from = Protocol(date.fromisoformat(model.as_of), delay_days=vertical.label_delay.days).training()
    week = [as_of - timedelta(days=back) for back in range(1, 8)]
    if set(week) & set(learnt_from) or vertical.model is None:
        return None
    rows = served_rows(vertical, events, labels, [*learnt_from, *week])
    rows = rows.withColumn("is_current", F.to_date(vertical.event_time).isin(week))
    return stability(rows, vertical.model.features).orderBy(F.desc_nulls_last("psi")).first()


def retrain_if_moved(spark: SparkSession, vertical: Vertical, workspace: Workspace, as_of: date, limit: float) -> str:
    """Train a challenger if a feature of the champion moved by a psi above `limit`; what was done, for people.

    One that waits already is left to its proof: labels come days later, and a new one would begin anew.
    """
    champion = in_force(workspace.tables, MODEL)
    if vertical.model is None or champion is None or challenger(workspace.tables):
        return ""
    events, labels, _ = history(spark, workspace)
    moved = drift_since_training(vertical, events, labels, champion, as_of)
    if moved is None or moved.psi is None or moved.psi <= limit:
        return ""
    said = f"{moved.feature} moved since model {champion.version} was trained (psi {moved.psi:.2f}, limit {limit:g})"
    try:
        return f"{said}: challenger {train_model(spark, vertical, workspace, as_of).version} trained"
    except TrainingRefused as refused:
        return f"{said}; no challenger: {refused}"


def report_trends(spark: SparkSession, vertical: Vertical, workspace: Workspace) -> dict[str, int]:
    """Write each trend to its table `trend_<name>`; returns their numbers of rows."""
    use_pool(spark, "batch")
    written = {}
    model = in_force(workspace.tables, MODEL)
    events, labels, alerts = history(spark, workspace)
    trends = vertical.trends(until_today(events), labels, alerts, model_of(model.details, vertical) if model else None)
    for name, rows in trends.items():
        path = workspace.table(f"trend_{name}")
        tables.ensure_table(path, rows.schema, is_made_anew=True)
        written[name] = tables.overwrite(rows, path)
    return written


def plot_trends(vertical: Vertical, workspace: Workspace, names: Iterable[str]) -> list[Path]:
    """Draw the trend tables as PNG; returns the files."""
    workspace.plots.mkdir(parents=True, exist_ok=True)
    return vertical.plots(
        {name: tables.read_arrow(workspace.table(f"trend_{name}")).to_pandas() for name in names}, workspace.plots
    )


def study(
    spark: SparkSession,
    vertical: Vertical,
    workspace: Workspace,
    as_of: date | None = None,
    progress: Callable[[str], None] = LOG.info,
    retrain_above: float | None = None,
) -> Studied:
    """One batch run: contract suite, baselines, trends. A history that breaks its contract is told, in `suite`, not refused.

    as_of: by default `whole_until`. retrain_above: train a challenger when a feature of the model moved by a psi above it.
    """
    use_pool(spark, "batch")
    events, _, _ = history(spark, workspace)
    as_of = as_of or whole_until(events)
    if few := far_ahead(events, vertical):
        LOG.warning("%s: %s", vertical.name, few.line())
    progress("checking the history against the contract")
    suite = contract.run_suite(events, vertical, workspace.docs)
    progress(f"learning baselines as of {as_of}")
    version = learn(spark, vertical, workspace, as_of)
    progress("reporting trends")
    written = report_trends(spark, vertical, workspace)
    plots = plot_trends(vertical, workspace, written)
    progress("comparing what the model reads with what it learnt from")
    retrained = retrain_if_moved(spark, vertical, workspace, as_of, retrain_above) if retrain_above else ""
    return Studied(as_of, tables.row_count(workspace.table("events")), suite, version, written, plots, retrained)
