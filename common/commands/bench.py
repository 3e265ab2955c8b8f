"""`hybrid bench`: latency and catch-up of a vertical's real-time paths, beside two yardsticks, in one run."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pyspark.sql import SparkSession
from typer.core import TyperGroup

from common.bench.backlog import clean_messages, fill_topic
from common.bench.catchup import CaughtUp, catch_up
from common.bench.latency import measure_latency
from common.bench.results import machine_line, markdown_table, measured_on, text, versions_of
from common.bench.setting import Bench
from common.bench.yardsticks import bare_spark, python_loop
from common.commands.bench_batch import batch
from common.commands.bench_peers import peers
from common.commands.bench_results import Against, keep, report, stored
from common.commands.bench_stages import bench_stages
from common.commands.context import (
    FIRST_DAY,
    Data,
    Seed,
    VerticalName,
    apart,
    console,
    named,
    own_broker,
    population_of,
    read_settings,
    rule_settings,
    session,
    workspace_of,
)
from common.ingestion.topics import ensure_topics
from common.monitoring.summary import plain_table
from common.processing.backfill import backfill
from common.processing.batch import learn, train_model
from common.vertical import Query, Vertical

OF_A_VERTICAL = "vertical"
HISTORY_DAYS = 45
WARM_UP = 30.0  # seconds
PACKAGES = ("pyspark", "confluent-kafka", "deltalake", "scikit-learn")
YARDSTICKS = ("bare Spark", "Spark parsing", "python loop")


class VerticalUnlessNamed(TyperGroup):
    """`bench`, `bench finance_fraud` and `bench --events 10000` are of a vertical; other benchmarks are named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named_here = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named_here else [OF_A_VERTICAL, *args])


def add_to(app: typer.Typer) -> None:
    group = typer.Typer(
        cls=VerticalUnlessNamed, rich_markup_mode=None, help=f"Measure; without a name: {OF_A_VERTICAL}. Each has its own --help."
    )
    group.command(OF_A_VERTICAL)(bench)
    group.command("stages")(bench_stages)
    group.command()(peers)
    group.command()(batch)
    app.add_typer(group, name="bench")


def bench(
    vertical: VerticalName = "finance_fraud",
    events: Annotated[int, typer.Option(min=10_000, help="backlog to catch up with")] = 1_000_000,
    rate: Annotated[float, typer.Option(min=1, help="events per second while latency is measured")] = 1_000,
    seconds: Annotated[float, typer.Option(min=5, help="how long latency is measured, after a warm-up of 30 s")] = 60,
    repeats: Annotated[int, typer.Option(min=1, help="of the catch-up; medians are quoted")] = 3,
    output: Annotated[Path | None, typer.Option(help="JSON of the results [default: in the data folder]")] = None,
    against: Against = None,
    seed: Seed = 1,
    data: Data = None,
) -> None:
    """Measure a vertical's real-time paths: event-to-alert latency, and catch-up beside a bare Spark job and a Python loop."""
    subject, settings = named(vertical), read_settings(data)
    before = stored(against, vertical=subject.name, events=events, rate=rate)
    settings = apart(settings, "bench")
    workspace = workspace_of(subject, settings)
    with own_broker(settings) as connection, session([subject], settings, streaming=True) as spark:
        setting = Bench(subject, workspace, connection, settings, rule_settings(subject))
        ensure_topics(connection, subject, settings.partitions)
        with console.status("history, baselines and model to judge by"):
            backfill(spark, subject, workspace, seed, FIRST_DAY, HISTORY_DAYS, population_of(subject))
            learn(spark, subject, workspace, FIRST_DAY + timedelta(days=HISTORY_DAYS))
            if subject.model:
                train_model(spark, subject, workspace, FIRST_DAY + timedelta(days=HISTORY_DAYS))
        results: dict[str, Any] = {"vertical": subject.name, "events": events, "rate": rate, "repeats": repeats, "seed": seed}
        results |= measured_on(versions_of(PACKAGES))
        results["latency_ms"] = latencies(spark, setting, rate, seconds, seed)
        results["catch_up"] = catch_ups(spark, setting, events, repeats, seed)
    results["ratios"] = ratios(results["catch_up"])
    where = keep(results, markdown, output or settings.data / "bench.json")
    show(results)
    console.print(where, soft_wrap=True)
    report(before, results["ratios"])


def paths(vertical: Vertical) -> dict[str, Query]:
    """The first per-event and the first windowed query."""
    found = {"windowed" if query.stateful else "per event": query for query in reversed(vertical.queries)}
    return dict(sorted(found.items()))


def latencies(spark: SparkSession, bench: Bench, rate: float, seconds: float, seed: int) -> dict[str, Any]:
    measured = {}
    for number, (name, query) in enumerate(paths(bench.vertical).items()):
        with console.status(f"latency, {name}"):
            start = FIRST_DAY + timedelta(days=HISTORY_DAYS + 30 * number)
            messages = clean_messages(bench, seed, start, round((WARM_UP + seconds) * rate), population_of(bench.vertical))
            warm_up, after = measure_latency(spark, bench, query, messages, rate, WARM_UP, seconds)
        measured[name] = {"warm_up": warm_up.__dict__, "after": after.__dict__}
    return measured


def catch_ups(spark: SparkSession, bench: Bench, events: int, repeats: int, seed: int) -> dict[str, Any]:
    with console.status(f"a backlog of {events:,} events"):
        start = FIRST_DAY + timedelta(days=HISTORY_DAYS + 100)
        total = fill_topic(bench, seed, start, events, population_of(bench.vertical))
    rounds: dict[str, list[Any]] = {name: [] for name in (*YARDSTICKS, *paths(bench.vertical))}
    for number in range(repeats):
        with console.status(f"catch-up, round {number + 1} of {repeats}"):
            rounds["bare Spark"].append(bare_spark(spark, bench, total))
            rounds["Spark parsing"].append(bare_spark(spark, bench, total, parsed=True))
            rounds["python loop"].append(python_loop(bench, total))
            for name, query in paths(bench.vertical).items():
                rounds[name].append(_checked(name, catch_up(spark, bench, query, total)))
    return {name: sorted(found)[len(found) // 2] for name, found in rounds.items()} | {"rounds": rounds, "events": total}


def _checked(name: str, caught: CaughtUp) -> float:
    """Events per second; 0 where alerts are missing, as what leaves out work is no measure of it."""
    if caught.alerts == caught.expected:
        return caught.per_second
    missing = f"{caught.expected - caught.alerts:,} of {caught.expected:,} expected alerts did not come"
    console.print(f"[yellow]{name}: {missing}: this round counts as 0[/]")
    return 0.0


def ratios(measured: dict[str, Any]) -> dict[str, float]:
    return {
        f"{ours} / {yardstick}": round(measured[ours] / measured[yardstick], 2)
        for ours in measured
        if ours in ("per event", "windowed")
        for yardstick in YARDSTICKS
    }


def tables_of(results: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """What was measured: titles, columns and rows of text."""
    late, caught = results["latency_ms"], results["catch_up"]
    latency = [
        [name, f"{each['after']['count']:,}", *(text(each["after"][field], 1) for field in ("p50", "p95", "p99"))]
        for name, each in late.items()
    ]
    catch_up = [
        [name, text(caught[name]), *(text(results["ratios"].get(f"{name} / {of}"), 2) for of in YARDSTICKS)]
        for name in (*YARDSTICKS, *late)
    ]
    return [
        (f"Send to alert, milliseconds, at {results['rate']:,.0f} events/s, an alert for every event",
         ["path", "alerts", "p50", "p95", "p99"], latency),
        (f"Catch-up over {caught['events']:,} events, start and warm-up included",
         ["path", "events/s", *("of " + name for name in YARDSTICKS)], catch_up),
    ]  # fmt: skip


def markdown(results: dict[str, Any]) -> str:
    parts = [f"# {results['vertical']}: real-time paths"]
    for title, columns, rows in tables_of(results):
        parts += [f"## {title}", markdown_table(columns, rows)]
    return "\n\n".join([*parts, machine_line(results)]) + "\n"


def show(results: dict[str, Any]) -> None:
    for title, columns, rows in tables_of(results):
        table = plain_table(title, *columns)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(machine_line(results), soft_wrap=True)
