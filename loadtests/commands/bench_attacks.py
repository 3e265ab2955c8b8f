"""`hybrid bench gateway-attacks`: how much a gateway's other clients notice of attacks on it."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from common.command_options import FIRST_DAY, Data, Seed, VerticalName
from common.installed import find_vertical
from common.kafka.topics import ensure_topics
from common.monitoring.plain_table import plain_table
from common.runtime import own_broker, population_of, read_settings, separate_settings
from common.terminal import console
from loadtests.bench.gateway_attacks import ATTACKS, REQUESTS_PER_SECOND, measure_attack, running_gateway, store_alerts
from loadtests.bench.results import format_figure, hardware_line, markdown_table, measurement_context, versions_of
from loadtests.commands.bench_results import write_results
from loadtests.simulation_spec import SimulationSpec

PACKAGES = ("uvicorn", "httptools", "fastapi", "confluent-kafka", "deltalake")
COLUMNS = ["attack", "answers", "p50 ms", "p99 ms", "max ms", "MiB"]


def gateway_attacks(
    vertical: VerticalName = "finance_fraud",
    seconds: Annotated[float, typer.Option(min=2, help="that each attack lasts")] = 15,
    alerts: Annotated[int, typer.Option(min=1_000, help="in the table whose pages are asked for")] = 300_000,
    only: Annotated[list[str] | None, typer.Option(help=f"one of {', '.join(ATTACKS)}; repeatable [default: all]")] = None,
    output: Annotated[Path | None, typer.Option(help="JSON of the results [default: in the data folder]")] = None,
    seed: Seed = 1,
    data: Data = None,
) -> None:
    """Attack a gateway in every known way, beside a client that sends an event at a time; its waits, and the gateway's memory."""
    subject, settings = find_vertical(vertical), separate_settings(read_settings(data), "attacks")
    if unknown := set(only or ()) - set(ATTACKS):
        raise typer.BadParameter(f"--only {min(unknown)!r}: give one of {', '.join(ATTACKS)}")
    results: dict[str, Any] = {"vertical": subject.name, "seconds": seconds, "alerts": alerts, "seed": seed, "attacks": {}}
    results |= measurement_context(versions_of(PACKAGES))
    chunks = SimulationSpec(population_of(subject), seed, FIRST_DAY).generate(subject, with_dirt=False)
    events = (value for chunk in chunks if chunk.messages is not None for value in chunk.messages.values)
    with own_broker(settings) as connection, console.status("alerts") as status:
        ensure_topics(connection, subject, settings.partitions)
        store_alerts(subject, settings.data, alerts)
        with running_gateway(subject, connection, settings.data) as gateway:
            for attack in only or ATTACKS:
                status.update(attack)
                bodies = [next(events) for _ in range(round(seconds * REQUESTS_PER_SECOND))]
                path, log = f"/v1/{subject.name}/events", settings.data / "attackers.log"
                results["attacks"][attack] = asdict(measure_attack(attack, path, bodies, gateway, log))
    paths = write_results(results, markdown, output or settings.data / "attacks.json")
    table = plain_table(f"{REQUESTS_PER_SECOND} requests a second beside each attack", *COLUMNS)
    for row in attack_rows(results):
        table.add_row(*row)
    console.print(table)
    console.print(hardware_line(results), soft_wrap=True)
    console.print(paths, soft_wrap=True)


def attack_rows(results: dict[str, Any]) -> list[list[str]]:
    return [
        [
            name,
            format_figure(figures["answers"]),
            *(format_figure(figures[field], 1) for field in ("p50", "p99", "max")),
            format_figure(figures["peak_mib"]),
        ]
        for name, figures in results["attacks"].items()
    ]


def markdown(results: dict[str, Any]) -> str:
    table = markdown_table(COLUMNS, attack_rows(results))
    return f"# The gateway of {results['vertical']} under attack\n\n{table}\n\n{hardware_line(results)}\n"
