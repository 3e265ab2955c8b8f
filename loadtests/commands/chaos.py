"""`hybrid chaos`: kills at random moments of a run whose every event is known, and whether every one is where it belongs."""

import statistics
from collections import Counter
from datetime import timedelta
from functools import partial
from itertools import pairwise
from typing import Annotated

import typer
from pyspark.sql import SparkSession
from rich.table import Table
from rich.text import Text

from common import tables
from common.archive.archive_tables import ensure_tables
from common.batch.backfill import backfill
from common.batch.batch import learn
from common.command_options import FIRST_DAY, Data, Seed, VerticalName
from common.embedded.kafka import EmbeddedKafka
from common.embedded.ports import free_port
from common.installed import find_vertical
from common.kafka.connection import Connection
from common.kafka.topics import ensure_topics, records_sent, topic_names
from common.monitoring.summary import plain_table
from common.runtime import apart, population_of, read_settings, rule_settings, session, workspace_of
from common.terminal import console
from common.vertical import Vertical
from common.workspace import Workspace
from loadtests.chaos.expected import Known, digest, known
from loadtests.chaos.fault_injection import Disturbed, Run, archive_all, disturb
from loadtests.chaos.kill_plan import BROKER, DRIVERS, PARTITIONS, planned
from loadtests.chaos.topic_faults import TOMBSTONES
from loadtests.chaos.topic_made_anew import make_anew
from loadtests.chaos.verification import Count, alerts_kept, baselines_kept, records_kept

DAYS = 3650


def add_to(app: typer.Typer) -> None:
    app.command()(chaos)


def chaos(
    vertical: VerticalName,
    events: Annotated[int, typer.Option(min=1_000, help="known records to send; some are late, repeated or broken")] = 60_000,
    rate: Annotated[float, typer.Option(min=1, help="records per second")] = 500,
    driver_kills: Annotated[int, typer.Option(min=0, help="SIGKILLs of archive and detection, of their Python or JVM")] = 4,
    broker_kills: Annotated[int, typer.Option(min=0, help="SIGKILLs of the broker")] = 2,
    broker_away: Annotated[float, typer.Option(min=0, help="seconds that a killed broker stays away")] = 0,
    fuzz: Annotated[int, typer.Option(min=0, help="fuzzed records that are sent among the others")] = 0,
    history_days: Annotated[int, typer.Option(min=0, help="simulated days that baselines are learnt from before the run")] = 30,
    topic_anew: Annotated[bool, typer.Option(help="in the end delete the topic of events and make it anew")] = True,
    seed: Seed = 1,
    data: Data = None,
) -> None:
    """Kill drivers and broker at random moments, then count: every event, alert and baseline. Exits with 1 if one is not right.

    Among the events are a transaction that is rolled back and tombstones, and half-way the topic gets a partition more.

    Works in a new folder below the data folder, with a broker of its own. Ends by itself, some minutes after the last record.
    """
    subject, settings = find_vertical(vertical), read_settings(data)
    settings = apart(settings, "chaos run")  # with a blank, as folders of people's have
    workspace, start = workspace_of(subject, settings), FIRST_DAY + timedelta(days=history_days)
    with console.status(f"counting what {events:,} records are to become"):
        expected = known(subject, seed, start, DAYS, population_of(subject), events, fuzz)
    expected.rejected[digest(None)] += TOMBSTONES
    kills = planned(seed, events / rate, driver_kills, broker_kills)
    # What is counted afterwards must be there still, however far behind the drivers fall.
    kept = {"log.retention.bytes": "-1"}
    # The port is asked for, so that a broker that comes back does so where its clients look for it.
    broker = EmbeddedKafka(settings.data / "kafka", free_port(), partitions=settings.partitions, properties=kept)
    with broker:
        connection = Connection(broker.bootstrap_servers)
        ensure_topics(connection, subject, settings.partitions)
        with session([subject], settings) as spark:
            prepare(spark, subject, workspace, seed, history_days)
        labels_before = tables.row_count(workspace.table("labels"))
        run = Run(subject, workspace, connection, events / rate, rate, events, seed, start, expected.fuzz, broker_away)
        console.print(f"{events:,} records at {rate:,.0f}/s, {len(kills)} kills; logs in {workspace.folder}")
        with console.status("killing"):
            disturbed = disturb(run, broker, kills)
        ends = records_sent(connection, topic_names(subject).events)
        expected.labels += labels_before
        with session([subject], settings) as spark, console.status("counting"):
            counts = counted(spark, subject, workspace, expected, disturbed, ends)
        if topic_anew:
            with console.status("making the topic anew"):
                counts += make_anew(connection, subject, workspace, expected.values, partial(archive_all, run))
    console.print(recovery_table(disturbed))
    console.print(memory_table(disturbed))
    console.print(counts_table(counts))
    if not all(count.holds for count in counts):
        raise typer.Exit(1)


def prepare(spark: SparkSession, vertical: Vertical, workspace: Workspace, seed: int, days: int) -> None:
    """History and the baselines that the stream judges by."""
    ensure_tables(vertical, workspace)
    if days:
        with console.status(f"backfilling {days} days, and learning from them"):
            backfill(spark, vertical, workspace, seed, FIRST_DAY, days, population_of(vertical))
            learn(spark, vertical, workspace, FIRST_DAY + timedelta(days=days))


def counted(
    spark: SparkSession, vertical: Vertical, workspace: Workspace, expected: Known, disturbed: Disturbed, ends: int
) -> list[Count]:
    """All that is to be right, and what is only told."""
    assert expected.simulated is not None
    as_of = expected.simulated.astype("datetime64[D]").item() + timedelta(days=1)
    return [
        *records_kept(spark, vertical, workspace, expected, disturbed, ends),
        *alerts_kept(spark, vertical, workspace, rule_settings(vertical), disturbed),
        *baselines_kept(spark, vertical, workspace, expected, as_of),
        Count("processes that outlived their killed driver", disturbed.outlived, 0),
    ]


def recovery_table(disturbed: Disturbed) -> Table:
    table = plain_table(
        "From a kill (of the broker: its return; a partition more) to the next archived row (archive) or alert (the others)",
        *("killed", "kills", "came back", "p50 s", "max s", "ended by itself, exit codes"),
    )
    for victim in (*DRIVERS, BROKER, PARTITIONS):
        own = [kill for kill in disturbed.kills if kill.victim == victim]
        back = sorted(kill.back for kill in own if kill.back is not None)
        times = [f"{statistics.median(back):.1f}", f"{back[-1]:.1f}"] if back else ["-", "-"]
        ended = Counter(disturbed.ended.get(victim, []))
        codes = ", ".join(f"{count} times {code}" for code, count in sorted(ended.items()))
        table.add_row(victim, f"{len(own)}", f"{len(back)}", *times, codes or "-")
    return table


def memory_table(disturbed: Disturbed) -> Table:
    table = plain_table("Memory held, MiB: medians of the quarters of the run", "driver", "1st", "2nd", "3rd", "4th", "most")
    for driver, held in disturbed.memory.items():
        borders = [len(held) * quarter // 4 for quarter in range(5)]
        quarters = [statistics.median(held[first:last]) if first < last else 0 for first, last in pairwise(borders)]
        table.add_row(driver, *(f"{mib:,.0f}" for mib in (*quarters, max(held, default=0))))
    return table


def counts_table(counts: list[Count]) -> Table:
    table = plain_table("What was counted", "", "found", "wanted", "")
    for count in counts:
        verdict = "" if count.wanted is None else Text("right", "green") if count.holds else Text("WRONG", "red")
        table.add_row(count.what, f"{count.found:,}", "-" if count.wanted is None else f"{count.wanted:,}", verdict)
    return table
