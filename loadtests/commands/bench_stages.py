"""`hybrid bench stages`: events a second, memory and files of every stage of a vertical that is not real time."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from common.command_options import FIRST_DAY, Data, Seed, VerticalName
from common.deployment import Deployment
from common.installed import find_vertical
from common.kafka.topics import ensure_topics
from common.monitoring.summary import plain_table
from common.runtime import apart, own_broker, read_settings, rule_settings, session, workspace_of
from common.terminal import console
from loadtests.bench.backlog import World
from loadtests.bench.results import machine_line, markdown_table, measured_on, text, versions_of
from loadtests.bench.stages import Asked, Stage, stages
from loadtests.commands.bench_results import Against, Sizes, keep, report, sized, stored

PACKAGES = ("pyspark", "confluent-kafka", "deltalake", "uvicorn")
COLUMNS = ["stage", "events", "events/s", "ratio", "p50 ms", "p99 ms", "MiB", "files"]
# What each is compared with: who reads the topic, with reading alone; the gateway, with a server that does nothing.
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
    world = sized(subject, population)
    before = stored(against, vertical=subject.name, events=events, population=world.model_dump(mode="json"))
    settings = apart(settings, "stages")
    results: dict[str, Any] = {"vertical": subject.name, "events": events, "seed": seed}
    results |= {"population": world.model_dump(mode="json"), "history_days": history_days, "stages": {}}
    results |= measured_on(versions_of(PACKAGES))
    with own_broker(settings) as connection, session([subject], settings) as spark:
        deployment = Deployment(subject, workspace_of(subject, settings), settings, rule_settings(subject), connection)
        ensure_topics(connection, subject, settings.partitions)
        with console.status("") as status:
            for name, measure in stages(spark, deployment, Asked(World(world, seed, FIRST_DAY), history_days, events)):
                status.update(name)
                results["stages"][name] = told(measure())
    results["ratios"] = ratios(results["stages"])
    where = keep(results, markdown, output or settings.data / "stages.json")
    console.print(shown(results))
    console.print(machine_line(results), soft_wrap=True)
    console.print(where, soft_wrap=True)
    report(before, results["ratios"])


def told(stage: Stage) -> dict[str, Any]:
    return stage.__dict__ | {"per_second": stage.per_second}


def yardstick_of(stage: str) -> str | None:
    return stage.replace("gateway", "echo") if stage.startswith("gateway") else YARDSTICK.get(stage)


def ratios(measured: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Of each stage that has a yardstick, its events per second in multiples of that one's."""
    compared = {name: yardstick_of(name) or "" for name in measured}
    speed = {name: each["per_second"] for name, each in measured.items()}
    return {f"{name} / {of}": round(speed[name] / speed[of], 3) for name, of in compared.items() if of in speed}


def rows_of(results: dict[str, Any]) -> list[list[str]]:
    found = []
    for name, each in results["stages"].items():
        ratio = results["ratios"].get(f"{name} / {yardstick_of(name)}")
        found.append([
            name, f"{each['events']:,}", text(each["per_second"]), "" if ratio is None else f"{ratio:.2f}",
            *("" if each[field] is None else text(each[field], 1) for field in ("p50", "p99")),
            text(each["peak_mib"]), "" if each["files"] is None else f"{each['files']:,}",
        ])  # fmt: skip
    return found


def shown(results: dict[str, Any]) -> Table:
    """As a table for a terminal: with one blank between columns, millions of events fit into 80 characters."""
    table = plain_table(f"{results['vertical']}, {results['history_days']} days of history", *COLUMNS)
    table.padding = (0, 1, 0, 0)
    for row in rows_of(results):
        table.add_row(*row)
    return table


def markdown(results: dict[str, Any]) -> str:
    table = markdown_table(COLUMNS, rows_of(results))
    return f"# {results['vertical']}: stages\n\n{table}\n\n{machine_line(results)}\n"
