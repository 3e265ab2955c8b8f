"""`hybrid bench`: latency, catch-up and recovery of a vertical's real-time paths, beside yardsticks, in one run."""

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer
from pyspark.sql import SparkSession
from typer.core import TyperGroup

from common.batch.backfill import backfill
from common.batch.batch import learn, train_model
from common.command_options import FIRST_DAY, Data, Seed, VerticalName
from common.deployment import Deployment
from common.installed import find_vertical
from common.kafka.topics import ensure_topics
from common.monitoring.summary import plain_table
from common.runtime import apart, own_broker, read_settings, rule_settings, session, workspace_of
from common.settings import Settings
from common.terminal import console
from common.vertical import Vertical
from common.workspace import Workspace
from loadtests.bench.archive_latency import measure_archive
from loadtests.bench.backlog import World, clean_messages, fill_topic
from loadtests.bench.catchup import CaughtUp, catch_up, expected_alerts
from loadtests.bench.latency import measure_latency
from loadtests.bench.output_records import paths
from loadtests.bench.recovery import recoveries
from loadtests.bench.results import machine_line, markdown_table, measured_on, middle, text, versions_of
from loadtests.bench.yardsticks import bare_spark, python_loop
from loadtests.commands.bench_attacks import gateway_attacks
from loadtests.commands.bench_batch import batch
from loadtests.commands.bench_peers import peers
from loadtests.commands.bench_results import Against, Sizes, keep, report, sized, stored
from loadtests.commands.bench_stages import bench_stages

OF_A_VERTICAL = "vertical"
PACKAGES = ("pyspark", "confluent-kafka", "deltalake", "scikit-learn")
YARDSTICKS = ("bare Spark", "Spark parsing", "python loop")
MOST_PER_SECOND = 100_000
RECOVERIES = {"of an event sent after that": "first", "within a second of its event": "current"}


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
    group.command()(gateway_attacks)
    app.add_typer(group, name="bench")


def bench(
    vertical: VerticalName = "finance_fraud",
    events: Annotated[int, typer.Option(min=10_000, help="backlog to catch up with; a million take 0.3 GB")] = 2_000_000,
    rates: Annotated[str, typer.Option(help="events per second at which latency is measured, separated by commas")] = "1000,5000",
    seconds: Annotated[float, typer.Option(min=5, help="how long latency is measured")] = 60,
    warm_up: Annotated[float, typer.Option(min=0, help="seconds at that rate before, which are left out")] = 30,
    repeats: Annotated[int, typer.Option(min=1, help="of the catch-up; medians are quoted")] = 3,
    kills: Annotated[int, typer.Option(min=0, help="SIGKILLs of a detector at the first of the rates, to see it recover")] = 4,
    history_days: Annotated[int, typer.Option(min=1, help="simulated days that baselines and model are learnt from")] = 45,
    population: Sizes = None,
    output: Annotated[Path | None, typer.Option(help="JSON of the results [default: in the data folder]")] = None,
    against: Against = None,
    seed: Seed = 1,
    data: Data = None,
) -> None:
    """Measure a vertical: latency to alerts and archive, catch-up beside bare Spark and a Python loop, recovery."""
    subject, settings, at = find_vertical(vertical), read_settings(data), rates_of(rates)
    world = World(sized(subject, population), seed, FIRST_DAY)
    sizes = world.population.model_dump(mode="json")
    asked = {"vertical": subject.name, "events": events, "rates": at, "population": sizes}
    before = stored(against, **asked)
    settings = apart(settings, "bench")
    workspace, later = workspace_of(subject, settings), world.after(history_days)
    results: dict[str, Any] = asked | {"repeats": repeats, "history_days": history_days, "seed": seed}
    results |= measured_on(versions_of(PACKAGES))
    with ExitStack() as stack:
        connection = stack.enter_context(own_broker(settings))
        partitions = ensure_topics(connection, subject, settings.partitions)
        spark = stack.enter_context(session([subject], settings, partitions))
        deployment = Deployment(subject, workspace, settings, rule_settings(subject), connection)
        with console.status("history, baselines and model to judge by"):
            backfill(spark, subject, workspace, seed, FIRST_DAY, history_days, world.population)
            learn(spark, subject, workspace, later.start)
            if subject.model:
                train_model(spark, subject, workspace, later.start)
        results["latency"], following = latencies(spark, deployment, at, warm_up, seconds, later)
        results["archive_latency"], following = archive_latencies(spark, deployment, at, warm_up, seconds, following)
        results["archive_interval"] = settings.archive_interval
        results["catch_up"] = catch_ups(spark, deployment, events, repeats, following)
    if kills:
        results["recovery"] = recovery(subject, workspace, settings, later, at[0], kills)
    results["ratios"] = ratios(results["catch_up"])
    where = keep(results, markdown, output or settings.data / "bench.json")
    show(results)
    console.print(where, soft_wrap=True)
    report(before, results["ratios"])


def rates_of(text: str) -> list[float]:
    """Events per second, ascending; raises typer.BadParameter."""
    try:
        found = sorted({float(each) for each in text.split(",")})
    except ValueError:
        found = []
    if not found or not 1 <= found[0] <= found[-1] <= MOST_PER_SECOND:
        raise typer.BadParameter(f"{text!r}: give events per second from 1 to {MOST_PER_SECOND:,}, such as 1000,5000")
    return found


def latencies(
    spark: SparkSession, deployment: Deployment, rates: list[float], warm_up: float, seconds: float, world: World
) -> tuple[list[dict[str, Any]], World]:
    """Of each path at each rate; and the world after all that was sent."""
    measured = []
    for rate in rates:
        for name, query in paths(deployment.vertical).items():
            with console.status(f"latency, {name}, {rate:,.0f} events/s"):
                messages = clean_messages(deployment, world, round((1 + warm_up + seconds) * rate))
                found = measure_latency(spark, deployment, query, messages, rate, warm_up, seconds)
            measured.append({"path": name, "rate": rate} | asdict(found))
            world = world.after_messages(messages)
    return measured, world


def archive_latencies(
    spark: SparkSession, deployment: Deployment, rates: list[float], warm_up: float, seconds: float, world: World
) -> tuple[list[dict[str, Any]], World]:
    """At each rate; and the world after all that was sent."""
    measured = []
    for rate in rates:
        with console.status(f"latency, archive, {rate:,.0f} events/s"):
            messages = clean_messages(deployment, world, round((1 + warm_up + seconds) * rate))
            measured.append({"rate": rate} | asdict(measure_archive(spark, deployment, messages, rate, warm_up, seconds)))
        world = world.after_messages(messages)
    return measured, world


def catch_ups(spark: SparkSession, deployment: Deployment, events: int, repeats: int, world: World) -> dict[str, Any]:
    """Events per second, medians by path and of the yardsticks; by path the steady ones, MiB at most, files of the checkpoint."""
    with console.status(f"a backlog of {events:,} events"):
        total = fill_topic(deployment, world, events)
        expected = {name: expected_alerts(spark, deployment, query) for name, query in paths(deployment.vertical).items()}
    rounds: dict[str, list[float]] = {name: [] for name in (*YARDSTICKS, *paths(deployment.vertical))}
    caught: dict[str, list[CaughtUp]] = {name: [] for name in paths(deployment.vertical)}
    for number in range(repeats):
        with console.status(f"catch-up, round {number + 1} of {repeats}"):
            rounds["bare Spark"].append(bare_spark(spark, deployment, total))
            rounds["Spark parsing"].append(bare_spark(spark, deployment, total, parsed=True))
            rounds["python loop"].append(python_loop(deployment, total))
            for name, query in paths(deployment.vertical).items():
                caught[name].append(catch_up(spark, deployment, query, total, expected[name]))
                rounds[name].append(_checked(name, caught[name][-1]))
    return {
        "events": total,
        "rounds": rounds,
        "per_second": {name: median(found) for name, found in rounds.items()},
        "steady": {name: middle([each.steady for each in found]) for name, found in caught.items()},
        "held_mib": {name: max((each.held_mib for each in found), key=_total) for name, found in caught.items()},
        "files": {name: found[-1].files for name, found in caught.items()},
    }


def recovery(
    vertical: Vertical, workspace: Workspace, settings: Settings, world: World, rate: float, kills: int
) -> dict[str, Any]:
    """Of a detector with a broker of its own, so that it finds no backlog but what came in while it was away."""
    aside = settings.model_copy(update={"data": settings.data / "recovery"})
    with own_broker(aside) as connection, console.status(f"{kills} kills at {rate:,.0f} events/s"):
        ensure_topics(connection, vertical, settings.partitions)
        deployment = Deployment(vertical, workspace, settings, rule_settings(vertical), connection)
        found = recoveries(deployment, world, rate, kills)
    return {"rate": rate, "kills": [asdict(each) for each in found]}


def _longest(seconds: list[float | None]) -> float | None:
    return max((each for each in seconds if each is not None), default=None)


def _total(held: dict[str, float]) -> float:
    return sum(held.values())


def _checked(name: str, caught: CaughtUp) -> float:
    """Events per second; 0 where alerts are missing, as what leaves out work is no measure of it."""
    if caught.alerts == caught.expected:
        return caught.per_second
    missing = f"{caught.expected - caught.alerts:,} of {caught.expected:,} expected alerts did not come"
    console.print(f"[yellow]{name}: {missing}: this round counts as 0[/]")
    return 0.0


def ratios(measured: dict[str, Any]) -> dict[str, float]:
    speed = measured["per_second"]
    return {
        f"{ours} / {yardstick}": round(speed[ours] / speed[yardstick], 2)
        for ours in speed
        if ours not in YARDSTICKS
        for yardstick in YARDSTICKS
    }


def _cells_of(measured: dict[str, Any]) -> list[str]:
    """Rate, count, percentiles and memory of a latency, as text."""
    after = measured["after"]
    return [
        f"{measured['rate']:,.0f}", f"{after['count']:,}", *(text(after[field], 1) for field in ("p50", "p95", "p99")),
        text(measured["peak_mib"]),
    ]  # fmt: skip


def tables_of(results: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """What was measured: titles, columns and rows of text."""
    caught = results["catch_up"]
    latency = [[each["path"], *_cells_of(each)] for each in results["latency"]]
    archived = [_cells_of(each) for each in results["archive_latency"]]
    interval = results["archive_interval"]
    catch_up = [
        [name, text(speed), *(text(results["ratios"].get(f"{name} / {of}"), 2) for of in YARDSTICKS),
         *(text(caught[what].get(name)) for what in ("steady", "files"))]
        for name, speed in caught["per_second"].items()
    ]  # fmt: skip
    held = [[name, text(_total(kinds)), *map(text, kinds.values())] for name, kinds in caught["held_mib"].items()]
    kinds = next(iter(caught["held_mib"].values()))
    tables = [
        ("Send to alert, milliseconds, an alert for every event that its first rule scores",
         ["path", "events/s", "alerts", "p50", "p95", "p99", "MiB"], latency),
        (f"Send to row in the archive's table, milliseconds, its micro-batches {interval} s or more apart",
         ["events/s", "rows", "p50", "p95", "p99", "MiB"], archived),
        (f"Catch-up over {caught['events']:,} events, start and warm-up included",
         ["path", "events/s", *("of " + name for name in YARDSTICKS), "steady", "files"], catch_up),
        ("The most that all processes held in a catch-up, MiB", ["path", "all", *kinds], held),
    ]  # fmt: skip
    if recovered := results.get("recovery"):
        times = {title: [each[field] for each in recovered["kills"]] for title, field in RECOVERIES.items()}
        rows = [
            [title, f"{len(found)}", f"{found.count(None)}", text(middle(found), 1), text(_longest(found), 1)]
            for title, found in times.items()
        ]
        title = f"From the end of a detector that was killed, at {recovered['rate']:,.0f} events/s, seconds"
        tables.append((title, ["to the first alert", "kills", "none came", "p50", "max"], rows))
    return tables


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
