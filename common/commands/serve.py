"""Runs `hybrid serve`: a vertical's streams until stopped, and beside them its batch job on schedule."""

import logging
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from common import tables
from common.archive.history import has_history
from common.batch.batch import run_batch, train_model
from common.batch.model_comparison import compare_models
from common.batch.schedule import BatchJob, cron, run_schedule
from common.command_options import Data, Servers, VerticalOrAll, duration
from common.commands.gateway import Certificate, Key, Open
from common.deployment import Deployment
from common.gateway.address import Address
from common.gateway.child_process import GatewayProcess
from common.gateway.tokens import TokenFile, Tokens
from common.installed import find_verticals
from common.kafka.connection import MAX_SILENCE_SECONDS, check_connection
from common.kafka.lag import LagMeter
from common.kafka.topics import ensure_topics, topic_names
from common.models.training import TrainingRefused
from common.monitoring.blind_rules import BlindRuleReport
from common.monitoring.stage_report import archived_line
from common.published.model_registry import challenger
from common.published.versions import MODEL, in_force
from common.reconciliation.late_alerts import add_late_alerts
from common.reconciliation.reconcile import reconcile
from common.runtime import deployment_of, existing_broker, read_settings, session, streams
from common.spark.session import cancel_group, use_group
from common.streaming.archiving import Archiving
from common.streaming.detection import Detection
from common.tables.upkeep import UpkeepFailed
from common.terminal import console
from common.vertical import Vertical
from common.waiting import due_every, while_streaming

LOG = logging.getLogger(__name__)

STATUS_INTERVAL_SECONDS = 60.0


@dataclass(frozen=True)
class ServedVertical:
    """A vertical whose streams run."""

    deployment: Deployment
    archiving: Archiving
    detection: Detection
    lag: LagMeter
    blind_rules: BlindRuleReport

    @property
    def vertical(self) -> Vertical:
        return self.deployment.vertical

    def records_behind(self) -> int:
        """Records of the events topic that the archive has not taken yet."""
        return self.lag.measure(self.archiving.progress())

    def put_off_batch(self, lag_limit: int) -> str | None:
        """The reason why batch should not begin yet; None if there is none."""
        records_behind = self.records_behind()
        if records_behind > lag_limit:
            return f"the streams are {records_behind:,} records behind"
        return None if has_history(self.deployment.workspace) else "no event is archived yet"


def add_to(app: typer.Typer) -> None:
    app.command()(serve)


def serve(
    vertical: VerticalOrAll,
    schedule: Annotated[
        str | None, typer.Option(help="when batch runs: five cron fields, UTC [default: 0 3 * * *, or HYBRID_BATCH_SCHEDULE]")
    ] = None,
    http: Annotated[
        str | None,
        typer.Option(help="take events and give alerts over HTTP at HOST:PORT too, in a process of its own", show_default=False),
    ] = None,
    certificate: Certificate = None,
    key: Key = None,
    open_: Open = None,
    for_: Annotated[str | None, typer.Option("--for", help="how long [default: until stopped]")] = None,
    data: Data = None,
    servers: Servers = None,
) -> None:
    """Archive and judge what comes, and on schedule: contract suite, baselines, trends, drift of the model, reconcile.

    Batch is put off while the archive is behind or holds no event yet. A run that was missed, also while `hybrid serve` was not
    running, is done once when it is started again. A gateway that ends is started again.
    """
    settings = read_settings(data, servers, batch_schedule=schedule, gateway_open=open_)
    cron(settings.batch_schedule)  # refused before anything is started
    address = Address.parse(http, certificate, key) if http else None
    if address:
        address.check(Tokens(TokenFile(settings.data)))
    connection, ending = existing_broker(settings), threading.Event()
    verticals, partitions = find_verticals(vertical), dict[str, int]()
    for declared_vertical in verticals:
        partitions |= ensure_topics(connection, declared_vertical, settings.partitions, settings.replication)
    with session(verticals, settings, partitions) as spark, ExitStack() as stack:
        deployments = [deployment_of(declared_vertical, settings, connection) for declared_vertical in verticals]
        served_verticals = [_start(stack, spark, deployment) for deployment in deployments]
        gateway = None
        if address:
            gateway = stack.enter_context(GatewayProcess(vertical, address, connection, settings, _say))
            _say(f"a gateway starts at {address.url}; its log is {settings.data / 'gateway.log'}")
        stack.enter_context(run_schedule([_batch_job(spark, served_vertical, ending) for served_vertical in served_verticals]))
        console.print(f"serving; batch runs at {settings.batch_schedule} UTC; Ctrl-C ends it")
        is_due = due_every(STATUS_INTERVAL_SECONDS)
        for _ in while_streaming(duration(for_)):
            for served_vertical in served_verticals:
                served_vertical.archiving.raise_failure()
                served_vertical.detection.keep_running()
                served_vertical.detection.follow_model()
            if gateway:
                gateway.keep_running()
            if is_due():
                check_connection(connection, MAX_SILENCE_SECONDS)
                for served_vertical in served_verticals:
                    _say_status(spark, served_vertical)


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)


def _start(stack: ExitStack, spark: SparkSession, deployment: Deployment) -> ServedVertical:
    vertical = deployment.vertical
    archiving, detection = stack.enter_context(streams(spark, deployment))
    for line in detection.modes():
        console.print(f"{vertical.name}: {line}")
    blind_rules = BlindRuleReport(vertical, deployment.tables, detection.log.progress, partial(_say_of, vertical))
    return ServedVertical(deployment, archiving, detection, LagMeter(deployment.kafka, topic_names(vertical).events), blind_rules)


def _say_of(vertical: Vertical, line: str) -> None:
    _say(f"{vertical.name}: {line}")


def _batch_job(spark: SparkSession, served_vertical: ServedVertical, ending: threading.Event) -> BatchJob:
    settings = served_vertical.deployment.settings
    group = f"batch of {served_vertical.vertical.name}"

    def work() -> str:
        use_group(spark, group)
        try:
            result_line = _run_batch(spark, served_vertical)
        finally:  # a batch that fails every night is no reason for tables to grow
            upkeep_problem = "" if ending.is_set() else _maintain(served_vertical)
        return result_line + upkeep_problem

    return BatchJob(
        workspace=served_vertical.deployment.workspace,
        trigger=cron(settings.batch_schedule),
        work=work,
        cancel=partial(cancel_group, spark, group),
        put_off=partial(served_vertical.put_off_batch, settings.batch_lag_limit),
        say=partial(_say_of, served_vertical.vertical),
        ending=ending,
    )


def _maintain(served_vertical: ServedVertical) -> str:
    """Maintain the tables; what went wrong, as text to append: it does not fail the run."""
    try:
        tables.maintain_all(served_vertical.deployment.tables, served_vertical.deployment.settings.vacuum_hours)
    except UpkeepFailed as problem:
        LOG.warning("%s", problem)
        return f"; {problem}"
    return ""


def _say_status(spark: SparkSession, served_vertical: ServedVertical) -> None:
    """Print the archive's tables and lag, and what is new of blind rules and of queries behind their watermark."""
    _say(_status_line(served_vertical))
    served_vertical.blind_rules.say_changes()
    for line in served_vertical.detection.log.watermarks.new_lines(spark, served_vertical.deployment):
        _say_of(served_vertical.vertical, line)


def _status_line(served_vertical: ServedVertical) -> str:
    tables_text = archived_line(served_vertical.archiving.counts)
    return f"{served_vertical.vertical.name}: {tables_text}; {served_vertical.records_behind():,} records wait in the topic"


def _train_or_compare(spark: SparkSession, deployment: Deployment) -> str:
    """Train the first model; once there is one, say how champion and challenger do."""
    champion, candidate = in_force(deployment.tables, MODEL), challenger(deployment.tables)
    if champion is None:
        try:
            return f"model {train_model(spark, deployment).version} in force"
        except TrainingRefused as problem:
            return f"no model: {problem}"
    if candidate is None:
        return f"model {champion.version} stays in force"
    comparison = compare_models(spark, deployment)
    return f"challenger {candidate.version}: {comparison.describe() if comparison else 'no known label yet of what both scored'}"


def _run_batch(spark: SparkSession, served_vertical: ServedVertical) -> str:
    """Do all that batch does for a vertical; a line of its results."""
    deployment = served_vertical.deployment
    report = run_batch(spark, deployment, retrain_above=deployment.settings.retrain_drift)
    lines = [] if report.suite.success else ["the history breaks its contract: see its data docs"]
    lines += [f"baselines {report.baseline_version} in force", f"{len(report.trends)} trends"]
    if report.retrained:
        lines.append(report.retrained)
    if deployment.vertical.model:
        lines.append(_train_or_compare(spark, deployment))
    reconciliation = reconcile(spark, deployment)
    late_alerts = add_late_alerts(spark, deployment)
    lines.append(f"{late_alerts.added} alerts added that came too late for the stream")
    lines.append("stream and history agree" if reconciliation.agrees else "stream and history differ: see table reconciled")
    return "; ".join(lines)
