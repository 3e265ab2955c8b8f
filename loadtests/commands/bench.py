"""`hybrid bench`: latency, catch-up and recovery of a vertical's real-time paths, beside yardsticks, in one run."""

from contextlib import ExitStack
from dataclasses import asdict, replace
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
from common.monitoring.plain_table import plain_table
from common.runtime import deployment_of, own_broker, read_settings, separate_settings, session
from common.terminal import console
from loadtests.bench.archive_latency import measure_archive_latency
from loadtests.bench.backlog import clean_messages, fill_topic
from loadtests.bench.catchup import QueryCatchUp, expected_alerts, measure_catch_up
from loadtests.bench.latency import measure_latency
from loadtests.bench.output_records import measured_queries
from loadtests.bench.recovery import measure_recoveries
from loadtests.bench.results import format_figure, hardware_line, markdown_table, measurement_context, median_of, versions_of
from loadtests.bench.steady_load import SteadyLoad
from loadtests.bench.yardsticks import bare_spark, python_loop
from loadtests.commands.bench_attacks import gateway_attacks
from loadtests.commands.bench_batch import batch
from loadtests.commands.bench_peers import peers
from loadtests.commands.bench_results import (
    Against,
    Sizes,
    read_earlier_ratios,
    report_changes,
    sized_population,
    write_results,
)
from loadtests.commands.bench_stages import bench_stages
from loadtests.simulation_spec import SimulationSpec

OF_A_VERTICAL = "vertical"
PACKAGES = ("pyspark", "confluent-kafka", "deltalake", "scikit-learn")
YARDSTICKS = ("bare Spark", "Spark parsing", "python loop")
MAX_RATE = 100_000  # events per second
RECOVERIES = {"of an event sent after that": "first", "within a second of its event": "current"}


class VerticalUnlessNamed(TyperGroup):
    """`bench`, `bench finance_fraud` and `bench --events 10000` are of a vertical; other benchmarks are named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if is_named else [OF_A_VERTICAL, *args])


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
    subject, settings, loads = find_vertical(vertical), read_settings(data), parse_loads(rates, warm_up, seconds)
    simulation = SimulationSpec(sized_population(subject, population), seed, FIRST_DAY)
    sizes = simulation.population.model_dump(mode="json")
    options = {"vertical": subject.name, "events": events, "rates": [load.rate for load in loads], "population": sizes}
    earlier_ratios = read_earlier_ratios(against, **options)
    deployment = deployment_of(subject, separate_settings(settings, "bench"))
    settings, later_simulation = deployment.settings, simulation.after(history_days)
    results: dict[str, Any] = options | {"repeats": repeats, "history_days": history_days, "seed": seed}
    results |= measurement_context(versions_of(PACKAGES))
    with ExitStack() as stack:
        deployment = replace(deployment, connection=stack.enter_context(own_broker(settings)))
        partitions = ensure_topics(deployment.kafka, subject, settings.partitions)
        spark = stack.enter_context(session([subject], settings, partitions))
        with console.status("history, baselines and model to judge by"):
            backfill(spark, deployment, seed, FIRST_DAY, history_days, simulation.population)
            learn(spark, deployment, later_simulation.start)
            if subject.model:
                train_model(spark, deployment, later_simulation.start)
        results["latency"], next_simulation = measure_latencies(spark, deployment, loads, later_simulation)
        results["archive_latency"], next_simulation = measure_archive_latencies(spark, deployment, loads, next_simulation)
        results["archive_interval"] = settings.archive_interval
        results["catch_up"] = measure_catch_ups(spark, deployment, events, repeats, next_simulation)
    if kills:
        results["recovery"] = measure_recovery(deployment, later_simulation, loads[0].rate, kills)
    results["ratios"] = catch_up_ratios(results["catch_up"])
    paths = write_results(results, markdown, output or settings.data / "bench.json")
    print_results(results)
    console.print(paths, soft_wrap=True)
    report_changes(earlier_ratios, results["ratios"])


def parse_loads(rates: str, warm_up: float, seconds: float) -> list[SteadyLoad]:
    """A load for each of the rates, events per second, ascending; raises typer.BadParameter."""
    try:
        per_second = sorted({float(rate) for rate in rates.split(",")})
    except ValueError:
        per_second = []
    if not per_second or not 1 <= per_second[0] <= per_second[-1] <= MAX_RATE:
        raise typer.BadParameter(f"{rates!r}: give events per second from 1 to {MAX_RATE:,}, such as 1000,5000")
    return [SteadyLoad(rate, warm_up, seconds) for rate in per_second]


def measure_latencies(
    spark: SparkSession, deployment: Deployment, loads: list[SteadyLoad], simulation: SimulationSpec
) -> tuple[list[dict[str, Any]], SimulationSpec]:
    """Measures each path at each load. Returns the figures, and the simulation after the last message that was sent."""
    latencies = []
    for load in loads:
        for name, query in measured_queries(deployment.vertical).items():
            with console.status(f"latency, {name}, {load.rate:,.0f} events/s"):
                messages = clean_messages(deployment, simulation, round((1 + load.total_seconds) * load.rate))
                latency = measure_latency(spark, deployment, query, messages, load)
            latencies.append({"path": name, "rate": load.rate} | asdict(latency))
            simulation = simulation.after_messages(messages)
    return latencies, simulation


def measure_archive_latencies(
    spark: SparkSession, deployment: Deployment, loads: list[SteadyLoad], simulation: SimulationSpec
) -> tuple[list[dict[str, Any]], SimulationSpec]:
    """Measures the archive at each load. Returns the figures, and the simulation after the last message that was sent."""
    latencies = []
    for load in loads:
        with console.status(f"latency, archive, {load.rate:,.0f} events/s"):
            messages = clean_messages(deployment, simulation, round((1 + load.total_seconds) * load.rate))
            latencies.append({"rate": load.rate} | asdict(measure_archive_latency(spark, deployment, messages, load)))
        simulation = simulation.after_messages(messages)
    return latencies, simulation


def measure_catch_ups(
    spark: SparkSession, deployment: Deployment, events: int, repeats: int, simulation: SimulationSpec
) -> dict[str, Any]:
    """Measures each path's catch-up `repeats` times.

    Returns the rounds, median events per second (paths and yardsticks) and, by path, steady speed, peak memory and the
    checkpoint's files.
    """
    queries = measured_queries(deployment.vertical)
    with console.status(f"a backlog of {events:,} events"):
        total = fill_topic(deployment, simulation, events)
        expected_ids = {name: expected_alerts(spark, deployment, query) for name, query in queries.items()}
    rounds: dict[str, list[float]] = {name: [] for name in (*YARDSTICKS, *queries)}
    catch_ups: dict[str, list[QueryCatchUp]] = {name: [] for name in queries}
    for number in range(repeats):
        with console.status(f"catch-up, round {number + 1} of {repeats}"):
            rounds["bare Spark"].append(bare_spark(spark, deployment, total))
            rounds["Spark parsing"].append(bare_spark(spark, deployment, total, is_parsed=True))
            rounds["python loop"].append(python_loop(deployment, total))
            for name, query in queries.items():
                catch_ups[name].append(measure_catch_up(spark, deployment, query, total, expected_ids[name]))
                rounds[name].append(_valid_speed(name, catch_ups[name][-1]))
    return {
        "events": total,
        "rounds": rounds,
        "per_second": {name: median(speeds) for name, speeds in rounds.items()},
        "steady": {name: median_of([catch_up.speed.steady for catch_up in path]) for name, path in catch_ups.items()},
        "held_mib": {name: max((catch_up.memory_mib for catch_up in path), key=_total) for name, path in catch_ups.items()},
        "files": {name: path[-1].files for name, path in catch_ups.items()},
    }


def measure_recovery(deployment: Deployment, simulation: SimulationSpec, rate: float, kills: int) -> dict[str, Any]:
    """Measures a detector's recoveries, with a broker of its own: its only backlog is what came in while it was away."""
    settings = deployment.settings
    broker_settings = settings.model_copy(update={"data": settings.data / "recovery"})
    with own_broker(broker_settings) as connection, console.status(f"{kills} kills at {rate:,.0f} events/s"):
        ensure_topics(connection, deployment.vertical, settings.partitions)
        recoveries = measure_recoveries(replace(deployment, connection=connection), simulation, rate, kills)
    return {"rate": rate, "kills": [asdict(recovery) for recovery in recoveries]}


def _longest(seconds: list[float | None]) -> float | None:
    return max((value for value in seconds if value is not None), default=None)


def _total(mib_by_kind: dict[str, float]) -> float:
    return sum(mib_by_kind.values())


def _valid_speed(name: str, catch_up: QueryCatchUp) -> float:
    """Events per second; 0 where alerts are missing_text: a query that leaves out work has no speed to compare."""
    if catch_up.alert_count == catch_up.expected_count:
        return catch_up.speed.per_second
    missing_text = (
        f"{catch_up.expected_count - catch_up.alert_count:,} of {catch_up.expected_count:,} expected alerts did not come"
    )
    console.print(f"[yellow]{name}: {missing_text}: this round counts as 0[/]")
    return 0.0


def catch_up_ratios(catch_up: dict[str, Any]) -> dict[str, float]:
    """Of each path, its events per second in multiples of each yardstick's."""
    speeds = catch_up["per_second"]
    return {
        f"{path} / {yardstick}": round(speeds[path] / speeds[yardstick], 2)
        for path in speeds
        if path not in YARDSTICKS
        for yardstick in YARDSTICKS
    }


def _latency_cells(figures: dict[str, Any]) -> list[str]:
    """Rate, count, percentiles and memory of a latency, as text."""
    percentiles = figures["after"]
    return [
        f"{figures['rate']:,.0f}",
        f"{percentiles['count']:,}",
        *(format_figure(percentiles[field], 1) for field in ("p50", "p95", "p99")),
        format_figure(figures["peak_mib"]),
    ]


def result_tables(results: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """The results as tables: titles, columns and rows of text."""
    figures, path_ratios = results["catch_up"], results["ratios"]
    latency = [[path["path"], *_latency_cells(path)] for path in results["latency"]]
    archive_latency = [_latency_cells(load) for load in results["archive_latency"]]
    interval = results["archive_interval"]
    catch_up = [
        [name, format_figure(speed), *(format_figure(path_ratios.get(f"{name} / {yardstick}"), 2) for yardstick in YARDSTICKS),
         *(format_figure(figures[field].get(name)) for field in ("steady", "files"))]
        for name, speed in figures["per_second"].items()
    ]  # fmt: skip
    memory = [
        [name, format_figure(_total(mib_by_kind)), *map(format_figure, mib_by_kind.values())]
        for name, mib_by_kind in figures["held_mib"].items()
    ]
    kinds = next(iter(figures["held_mib"].values()))
    tables = [
        ("Send to alert, milliseconds, an alert for every event that its first rule scores",
         ["path", "events/s", "alerts", "p50", "p95", "p99", "MiB"], latency),
        (f"Send to row in the archive's table, milliseconds, its micro-batches {interval} s or more apart",
         ["events/s", "rows", "p50", "p95", "p99", "MiB"], archive_latency),
        (f"Catch-up over {figures['events']:,} events, start and warm-up included",
         ["path", "events/s", *("of " + name for name in YARDSTICKS), "steady", "files"], catch_up),
        ("The most that all processes held in a catch-up, MiB", ["path", "all", *kinds], memory),
    ]  # fmt: skip
    if recovery := results.get("recovery"):
        title = f"From the end of a detector that was killed, at {recovery['rate']:,.0f} events/s, seconds"
        tables.append((title, ["to the first alert", "kills", "none came", "p50", "max"], _recovery_rows(recovery["kills"])))
    return tables


def _recovery_rows(kills: list[dict[str, float | None]]) -> list[list[str]]:
    seconds = {title: [kill[field] for kill in kills] for title, field in RECOVERIES.items()}
    return [
        [title, f"{len(times)}", f"{times.count(None)}", format_figure(median_of(times), 1), format_figure(_longest(times), 1)]
        for title, times in seconds.items()
    ]


def markdown(results: dict[str, Any]) -> str:
    parts = [f"# {results['vertical']}: real-time paths"]
    for title, columns, rows in result_tables(results):
        parts += [f"## {title}", markdown_table(columns, rows)]
    return "\n\n".join([*parts, hardware_line(results)]) + "\n"


def print_results(results: dict[str, Any]) -> None:
    for title, columns, rows in result_tables(results):
        table = plain_table(title, *columns)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    console.print(hardware_line(results), soft_wrap=True)
