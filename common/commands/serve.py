"""`hybrid serve`: a vertical's streams for good, and its batch jobs on schedule beside them."""

import logging
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer
from pyspark.sql import SparkSession

from common import tables
from common.batch.batch import has_history, study, train_model
from common.batch.schedule import Scheduled, cron, scheduled
from common.command_options import Data, Servers, VerticalOrAll, duration
from common.commands.gateway import Certificate, Key, Open
from common.gateway.address import Address
from common.gateway.child_process import GatewayBeside
from common.gateway.tokens import TokenFile, Tokens
from common.installed import find_verticals
from common.kafka.connection import LONGEST_SILENCE, Connection, check
from common.kafka.lag import Lag
from common.kafka.topics import ensure_topics, topic_names
from common.models.training import TrainingRefused
from common.monitoring.blind_rules import Blindness
from common.monitoring.stage_report import archived_line
from common.published.model_registry import challenger
from common.published.versions import MODEL, in_force
from common.reconciliation.late_alerts import keep_late
from common.reconciliation.reconcile import reconcile
from common.runtime import existing_broker, read_settings, rule_settings, session, streams, workspace_of
from common.settings import Settings
from common.spark.session import cancel_group, use_group
from common.streaming.archiving import Archiving
from common.streaming.detection import Detection
from common.streaming.shadow import compare
from common.tables.upkeep import UpkeepFailed
from common.terminal import console
from common.vertical import Vertical
from common.waiting import every, while_streaming
from common.workspace import Workspace

LOG = logging.getLogger(__name__)

SAY_EVERY = 60.0


@dataclass(frozen=True)
class Served:
    """A vertical whose streams run."""

    vertical: Vertical
    workspace: Workspace
    archived: Archiving
    detecting: Detection
    lag: Lag
    blindness: Blindness

    def behind(self) -> int:
        return self.lag.of(self.archived.progress())

    def put_off_batch(self, lag_limit: int) -> str | None:
        """Why batch should not begin yet."""
        behind = self.behind()
        if behind > lag_limit:
            return f"the streams are {behind:,} records behind"
        return None if has_history(self.workspace) else "no event is archived yet"


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

    Batch is put off while the archive is behind or holds no event yet. A run that was missed, also while this did not run, is
    caught up once. A gateway that ends is started again.
    """
    settings = read_settings(data, servers, batch_schedule=schedule, gateway_open=open_)
    cron(settings.batch_schedule)  # refused before anything is started
    address = Address.read(http, certificate, key) if http else None
    if address:
        address.check(Tokens(TokenFile(settings.data)))
    connection, ending = existing_broker(settings), threading.Event()
    verticals, partitions = find_verticals(vertical), dict[str, int]()
    for subject in verticals:
        partitions |= ensure_topics(connection, subject, settings.partitions, settings.replication)
    with session(verticals, settings, partitions) as spark, ExitStack() as stack:
        running = [_started(stack, spark, each, connection, settings) for each in verticals]
        beside = None
        if address:
            beside = stack.enter_context(GatewayBeside(vertical, address, connection, settings, _say))
            _say(f"a gateway starts at {address.url}; its log is {settings.data / 'gateway.log'}")
        stack.enter_context(scheduled([_job(spark, each, settings, ending) for each in running]))
        console.print(f"serving; batch runs at {settings.batch_schedule} UTC; Ctrl-C ends it")
        is_due = every(SAY_EVERY)
        for _ in while_streaming(duration(for_)):
            for each in running:
                each.archived.raise_failure()
                each.detecting.keep_running()
                each.detecting.follow_model()
            if beside:
                beside.keep_running()
            if is_due():
                check(connection, LONGEST_SILENCE)
                for each in running:
                    _say(_told(each))
                    each.blindness.tell()
                    for line in each.detecting.recorder.behind.news(spark, each.vertical, each.workspace):
                        _say_of(each.vertical, line)


def _say(line: str) -> None:
    console.print(line, soft_wrap=True, markup=False)


def _started(stack: ExitStack, spark: SparkSession, vertical: Vertical, connection: Connection, settings: Settings) -> Served:
    workspace, rules = workspace_of(vertical, settings), rule_settings(vertical)
    archived, detecting = stack.enter_context(streams(spark, vertical, workspace, connection, settings, rules))
    for line in detecting.modes():
        console.print(f"{vertical.name}: {line}")
    blindness = Blindness(vertical, workspace.tables, detecting.recorder.standings, partial(_say_of, vertical))
    return Served(vertical, workspace, archived, detecting, Lag(connection, topic_names(vertical).events), blindness)


def _say_of(vertical: Vertical, line: str) -> None:
    _say(f"{vertical.name}: {line}")


def _job(spark: SparkSession, served: Served, settings: Settings, ending: threading.Event) -> Scheduled:
    group = f"batch of {served.vertical.name}"

    def work() -> str:
        use_group(spark, group)
        try:
            done = _batch(spark, served, settings)
        finally:  # a batch that fails every night is no reason for tables to grow
            kept_up = "" if ending.is_set() else _kept_up(served, settings)
        return done + kept_up

    return Scheduled(
        workspace=served.workspace,
        trigger=cron(settings.batch_schedule),
        work=work,
        cancel=partial(cancel_group, spark, group),
        put_off=partial(served.put_off_batch, settings.batch_lag_limit),
        say=partial(_say_of, served.vertical),
        ending=ending,
    )


def _kept_up(served: Served, settings: Settings) -> str:
    """What is to be said of the tables' upkeep: it fails by itself, not with the run."""
    try:
        tables.maintain_all(served.workspace.tables, settings.vacuum_hours)
    except UpkeepFailed as problem:
        LOG.warning("%s", problem)
        return f"; {problem}"
    return ""


def _told(served: Served) -> str:
    """How its streams do."""
    return f"{served.vertical.name}: {archived_line(served.archived.counts)}; {served.behind():,} records wait in the topic"


def _model(spark: SparkSession, vertical: Vertical, workspace: Workspace) -> str:
    """The first model is trained; after that, how champion and challenger do."""
    champion, waiting = in_force(workspace.tables, MODEL), challenger(workspace.tables)
    if champion is None:
        try:
            return f"model {train_model(spark, vertical, workspace).version} in force"
        except TrainingRefused as why:
            return f"no model: {why}"
    if waiting is None:
        return f"model {champion.version} stays in force"
    compared = compare(spark, vertical, workspace)
    return f"challenger {waiting.version}: {compared.line() if compared else 'no known label yet of what both scored'}"


def _batch(spark: SparkSession, served: Served, settings: Settings) -> str:
    """All that batch does for a vertical; a line of what came of it."""
    vertical, workspace = served.vertical, served.workspace
    studied = study(spark, vertical, workspace, retrain_above=settings.retrain_drift)
    done = [] if studied.suite.success else ["the history breaks its contract: see its data docs"]
    done += [f"baselines {studied.baseline_version} in force", f"{len(studied.trends)} trends"]
    if studied.retrained:
        done.append(studied.retrained)
    if vertical.model:
        done.append(_model(spark, vertical, workspace))
    compared = reconcile(spark, vertical, workspace, served.detecting.rule_settings)
    late = keep_late(spark, vertical, workspace, served.detecting.rule_settings)
    done.append(f"{late.added} alerts added that came too late for the stream")
    done.append("stream and history agree" if compared.agrees else "stream and history differ: see table reconciled")
    return "; ".join(done)
