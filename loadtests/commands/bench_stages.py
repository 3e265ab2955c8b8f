"""`hybrid bench stages`: events a second, memory and files of every stage of a vertical that is not real time."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from common.command_options import FIRST_DAY, Data, Seed, VerticalName
from common.installed import find_vertical
from common.kafka.topics import ensure_topics
from common.monitoring.plain_table import plain_table
from common.runtime import deployment_of, own_broker, read_settings, separate_settings, session
from common.terminal import console
from loadtests.bench.results import format_figure, hardware_line, markdown_table, measurement_context, versions_of
from loadtests.bench.stages import Stage, StageInput, stages
from loadtests.commands.bench_results import (
    Against,
    Sizes,
    read_earlier_ratios,
    report_changes,
    sized_population,
    write_results,
)
from loadtests.simulation_spec import SimulationSpec

PACKAGES = ("pyspark", "confluent-kafka", "deltalake", "uvicorn")
COLUMNS = ["stage", "events", "events/s", "ratio", "p50 ms", "p99 ms", "MiB", "files"]
# A stage that reads the topic is compared with reading alone, the gateway with a server that does nothing.
YARDSTICK = {"archive": "consume alone", "python loop": "consume alone", "bare Spark": "consume alone"}


def bench_stages(
    vertical: VerticalName = "finance_fraud",
    events: Annotated[int, typer.Option(min=10_000, help="to send, read and archive; a fifth of them by HTTP")] = 500_000,
    history_days: Annotated[int, typer.Option(min=1, help="simulated days of history for backfill and batch")] = 30,
    population: Sizes = None,
    output: Annotated[Path | None, typer.Option(help="JSON of the results [default: in the data folder]")] = None,
    against: Against = None,
    seed: Seed = 1,
    data: Data = None,
) -> None:
    """Measure generator, backfill, batch, producer, archive and gateway of a vertical, beside reading alone and an HTTP echo."""
    subject, settings = find_vertical(vertical), read_settings(data)
    simulation = SimulationSpec(sized_population(subject, population), seed, FIRST_DAY)
    sizes = simulation.population.model_dump(mode="json")
    earlier_ratios = read_earlier_ratios(against, vertical=subject.name, events=events, population=sizes)
    settings = separate_settings(settings, "stages")
    results: dict[str, Any] = {"vertical": subject.name, "events": events, "seed": seed}
    results |= {"population": sizes, "history_days": history_days, "stages": {}}
    results |= measurement_context(versions_of(PACKAGES))
    with own_broker(settings) as connection, session([subject], settings) as spark:
        deployment = deployment_of(subject, settings, connection)
        ensure_topics(connection, subject, settings.partitions)
        with console.status("") as status:
            for name, measure in stages(spark, deployment, StageInput(simulation, history_days, events)):
                status.update(name)
                results["stages"][name] = stage_figures(measure())
    results["ratios"] = stage_ratios(results["stages"])
    paths = write_results(results, markdown, output or settings.data / "stages.json")
    console.print(results_table(results))
    console.print(hardware_line(results), soft_wrap=True)
    console.print(paths, soft_wrap=True)
    report_changes(earlier_ratios, results["ratios"])


def stage_figures(stage: Stage) -> dict[str, Any]:
    return stage.__dict__ | {"per_second": stage.per_second}


def yardstick_of(stage: str) -> str | None:
    return stage.replace("gateway", "echo") if stage.startswith("gateway") else YARDSTICK.get(stage)


def stage_ratios(figures: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Of each stage that has a yardstick, its events per second in multiples of the yardstick's."""
    yardsticks = {name: yardstick_of(name) or "" for name in figures}
    speeds = {name: stage["per_second"] for name, stage in figures.items()}
    return {
        f"{name} / {yardstick}": round(speeds[name] / speeds[yardstick], 3)
        for name, yardstick in yardsticks.items()
        if yardstick in speeds
    }


def stage_rows(results: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, figures in results["stages"].items():
        ratio = results["ratios"].get(f"{name} / {yardstick_of(name)}")
        rows.append([
            name, f"{figures['events']:,}", format_figure(figures["per_second"]), "" if ratio is None else f"{ratio:.2f}",
            *("" if figures[field] is None else format_figure(figures[field], 1) for field in ("p50", "p99")),
            format_figure(figures["peak_mib"]), "" if figures["files"] is None else f"{figures['files']:,}",
        ])  # fmt: skip
    return rows


def results_table(results: dict[str, Any]) -> Table:
    """As a table for a terminal: with one blank between columns, millions of events fit into 80 characters."""
    table = plain_table(f"{results['vertical']}, {results['history_days']} days of history", *COLUMNS)
    table.padding = (0, 1, 0, 0)
    for row in stage_rows(results):
        table.add_row(*row)
    return table


def markdown(results: dict[str, Any]) -> str:
    table = markdown_table(COLUMNS, stage_rows(results))
    return f"# {results['vertical']}: stages\n\n{table}\n\n{hardware_line(results)}\n"
