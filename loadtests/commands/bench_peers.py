"""`hybrid bench peers`: the same card job in other engines, in one run over one broker."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from common.command_options import Data, Seed
from common.monitoring.summary import plain_table
from common.runtime import apart, own_broker, read_settings
from common.terminal import console, error_console
from loadtests.bench.peers import comparison
from loadtests.bench.peers.engine_process import prepare
from loadtests.bench.peers.measurements import START_SECONDS, Site
from loadtests.bench.peers.peer import PEERS, UnknownPeer, chosen
from loadtests.bench.peers.reference import CardJob
from loadtests.bench.peers.transactions import transactions
from loadtests.bench.results import cells, measured_on
from loadtests.commands.bench_results import Against, keep, report, stored

ALL = ",".join(peer.name for peer in PEERS)


def peers(
    events: Annotated[int, typer.Option(min=1_000, help="backlog to catch up with; a million take 0.25 GB")] = 1_000_000,
    rate: Annotated[float, typer.Option(min=1, help="events per second while latency is measured")] = 1_000,
    seconds: Annotated[float, typer.Option(min=1, help="how long latency is measured")] = 60,
    warm_up: Annotated[float, typer.Option(min=0, help="seconds at that rate before, which are left out")] = 30,
    repeats: Annotated[int, typer.Option(min=1, help="rounds, engines interleaved; medians are quoted")] = 5,
    engines: Annotated[str, typer.Option(help="which, separated by commas")] = ALL,
    output: Annotated[Path | None, typer.Option(help="JSON of the results [default: in the data folder]")] = None,
    against: Against = None,
    seed: Seed = 1,
    data: Data = None,
) -> None:
    """The same card job in Flink SQL, Bytewax, Quix Streams and a plain loop: same alerts, catch-up, latency, ratios to ours."""
    try:
        wanted = chosen(engines)
    except UnknownPeer as problem:
        raise typer.BadParameter(str(problem)) from None
    options = {"events": events, "rate": rate, "seconds": seconds, "repeats": repeats, "seed": seed}
    before, settings = stored(against, events=events, rate=rate), read_settings(data)
    settings = apart(settings, "peers")
    settings.data.mkdir(parents=True)
    found, job = comparison.Found(), CardJob()
    machine = measured_on({peer.package: peer.version for peer in wanted})
    with console.status("") as status:
        ready = prepare(wanted, settings.home, found.not_measured, status.update)
    with own_broker(settings) as connection, console.status("") as status:
        site = Site(connection, settings.data, settings.partitions, settings.checkpoint_interval)
        status.update("transactions")
        comparison.catch_ups(site, ready, job, transactions(seed, events), repeats, found, status.update)
        paced = transactions(seed + 1, int(rate * (warm_up + seconds)) + round(START_SECONDS))
        comparison.latencies(site, ready, job, paced, rate, warm_up, seconds, repeats, found, status.update)
    results = comparison.results_of(found, job, **machine, **options)
    path = output or settings.data / "peers.json"
    where = keep(results, partial(comparison.markdown, peers=wanted, found=found), path)
    show(results, found)
    console.print(", ".join([where, *map(str, comparison.plots(results, wanted, path.parent))]), soft_wrap=True)
    for line in comparison.differing(found):
        error_console.print(line, soft_wrap=True)
    if found.ours_differ:
        raise typer.Exit(1)
    report(before, results["ratios"])


def show(results: dict[str, Any], found: comparison.Found) -> None:
    """The medians and their ratios to ours, for the terminal."""
    parts = {
        "catch_up": (f"Catch-up over {results['events']:,} events, events per second", comparison.CATCH_UP, 0),
        "latency_ms": (f"Send to alert, milliseconds, at {results['rate']:,.0f} events/s", comparison.LATENCY, 1),
    }
    for part, (title, fields, digits) in parts.items():
        columns = [column for field in fields for column in (field.replace("_", " "), "of ours")]
        table = plain_table(title, "engine", *columns)
        for peer in PEERS:
            if peer.name in getattr(found, part.removesuffix("_ms")):
                figures = (cell for field in fields for cell in cells(results[part][field], peer.name, digits))
                table.add_row(peer.title, *figures)
        console.print(table)
    for name, reason in found.not_measured.items():
        console.print(f"{name}: not measured: {reason}", markup=False, soft_wrap=True)
