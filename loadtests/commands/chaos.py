"""`hybrid chaos`: kills drivers and broker at random moments while known events come in, and counts afterwards what is right."""

import statistics
from collections import Counter
from dataclasses import replace
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
from common.deployment import Deployment
from common.embedded.kafka import EmbeddedKafka
from common.embedded.ports import find_free_port
from common.installed import find_vertical
from common.kafka.connection import Connection
from common.kafka.topics import ensure_topics, records_sent, topic_names
from common.monitoring.plain_table import plain_table
from common.runtime import deployment_of, population_of, read_settings, separate_settings, session
from common.terminal import console
from loadtests.chaos.expected import ExpectedRecords, digest, expect_records
from loadtests.chaos.fault_injection import ChaosRun, FaultReport, archive_all, run_with_faults
from loadtests.chaos.kill_plan import BROKER, DRIVERS, PARTITIONS, draw_kills
from loadtests.chaos.topic_faults import TOMBSTONES
from loadtests.chaos.topic_recreation import recreate_topic
from loadtests.chaos.verification import Count, count_alerts, count_baselines, count_records
from loadtests.simulation_spec import SimulationSpec


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

    Among the events are a transaction that is rolled back and tombstones, and half-way the topic gets one more partition.

    Works in a new folder below the data folder, with a broker of its own. Ends by itself, some minutes after the last record.
    """
    subject, settings = find_vertical(vertical), read_settings(data)
    settings = separate_settings(settings, "chaos run")  # with a blank, as users' folders may have
    deployment = deployment_of(subject, settings)
    simulation = SimulationSpec(population_of(subject), seed, FIRST_DAY)
    run_simulation = simulation.after(history_days)
    with console.status(f"counting what {events:,} records are to become"):
        expected_records = expect_records(subject, run_simulation, events, fuzz)
    expected_records.rejected[digest(None)] += TOMBSTONES
    kills = draw_kills(seed, events / rate, driver_kills, broker_kills)
    # Records that are counted afterwards must still be on the topic, however far behind the drivers fall.
    properties = {"log.retention.bytes": "-1"}
    # A port that is chosen here, so that a broker that comes back does so where its clients look for it.
    broker = EmbeddedKafka(settings.data / "kafka", find_free_port(), partitions=settings.partitions, properties=properties)
    with broker:
        deployment = replace(deployment, connection=Connection(broker.bootstrap_servers))
        ensure_topics(deployment.kafka, subject, settings.partitions)
        with session([subject], settings) as spark:
            prepare_history(spark, deployment, simulation, history_days)
        labels_before = tables.row_count(deployment.workspace.table("labels"))
        run = ChaosRun(deployment, run_simulation, events, rate, expected_records.fuzz, broker_away)
        console.print(f"{events:,} records at {rate:,.0f}/s, {len(kills)} kills; logs in {deployment.workspace.folder}")
        with console.status("killing"):
            faults = run_with_faults(run, broker, kills)
        offsets = records_sent(deployment.kafka, topic_names(subject).events)
        expected_records.labels += labels_before
        with session([subject], settings) as spark, console.status("counting"):
            counts = count_all(spark, deployment, expected_records, faults, offsets)
        if topic_anew:
            with console.status("making the topic anew"):
                counts += recreate_topic(deployment, expected_records.values, partial(archive_all, run))
    console.print(recovery_table(faults))
    console.print(memory_table(faults))
    console.print(counts_table(counts))
    if not all(count.is_right for count in counts):
        raise typer.Exit(1)


def prepare_history(spark: SparkSession, deployment: Deployment, simulation: SimulationSpec, days: int) -> None:
    """Backfills history, and learns the baselines that the stream judges by."""
    ensure_tables(deployment.vertical, deployment.workspace)
    if days:
        with console.status(f"backfilling {days} days, and learning from them"):
            backfill(spark, deployment, simulation.seed, simulation.start, days, simulation.population)
            learn(spark, deployment, simulation.after(days).start)


def count_all(
    spark: SparkSession, deployment: Deployment, expected_records: ExpectedRecords, faults: FaultReport, offsets: int
) -> list[Count]:
    """Every count that has to be right, and those that are only shown. offsets: how many the topic has given out."""
    assert expected_records.last_arrival is not None
    as_of = expected_records.last_arrival.astype("datetime64[D]").item() + timedelta(days=1)
    return [
        *count_records(spark, deployment, expected_records, faults, offsets),
        *count_alerts(spark, deployment, faults),
        *count_baselines(spark, deployment, expected_records, as_of),
        Count("processes that outlived their killed driver", faults.survivors, 0),
    ]


def recovery_table(faults: FaultReport) -> Table:
    table = plain_table(
        "From a kill (of the broker: its return; a partition more) to the next archived row (archive) or alert (the others)",
        *("killed", "kills", "came back", "p50 s", "max s", "ended by itself, exit codes"),
    )
    for victim in (*DRIVERS, BROKER, PARTITIONS):
        kills = [kill for kill in faults.kills if kill.victim == victim]
        seconds = sorted(kill.recovery_seconds for kill in kills if kill.recovery_seconds is not None)
        times = [f"{statistics.median(seconds):.1f}", f"{seconds[-1]:.1f}"] if seconds else ["-", "-"]
        exits = Counter(faults.spontaneous_exits.get(victim, []))
        codes = ", ".join(f"{count} times {code}" for code, count in sorted(exits.items()))
        table.add_row(victim, f"{len(kills)}", f"{len(seconds)}", *times, codes or "-")
    return table


def memory_table(faults: FaultReport) -> Table:
    table = plain_table("Memory held, MiB: medians of the quarters of the run", "driver", "1st", "2nd", "3rd", "4th", "most")
    for driver, samples in faults.memory_mib.items():
        borders = [len(samples) * quarter // 4 for quarter in range(5)]
        quarters = [statistics.median(samples[first:last]) if first < last else 0 for first, last in pairwise(borders)]
        table.add_row(driver, *(f"{mib:,.0f}" for mib in (*quarters, max(samples, default=0))))
    return table


def counts_table(counts: list[Count]) -> Table:
    table = plain_table("What was counted", "", "counted", "expected", "")
    for count in counts:
        result_text = "" if count.expected is None else Text("right", "green") if count.is_right else Text("WRONG", "red")
        table.add_row(count.name, f"{count.count:,}", "-" if count.expected is None else f"{count.expected:,}", result_text)
    return table
