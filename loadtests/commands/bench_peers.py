"""`hybrid bench peers`: the same card job in other engines, in one run over one broker."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from common.command_options import Data, Seed
from common.monitoring.plain_table import plain_table
from common.runtime import own_broker, read_settings, separate_settings
from common.terminal import console, error_console
from loadtests.bench.peers import comparison
from loadtests.bench.peers.engine_process import install_engines
from loadtests.bench.peers.measurements import START_SECONDS, Site
from loadtests.bench.peers.peer import PEERS, UnknownPeer, parse_peers
from loadtests.bench.peers.reference import CardJob
from loadtests.bench.peers.transactions import generate_transactions
from loadtests.bench.results import comparison_cells, measurement_context
from loadtests.bench.steady_load import SteadyLoad
from loadtests.commands.bench_results import Against, read_earlier_ratios, report_changes, write_results

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
        requested_peers = parse_peers(engines)
    except UnknownPeer as problem:
        raise typer.BadParameter(str(problem)) from None
    options = {"events": events, "rate": rate, "seconds": seconds, "repeats": repeats, "seed": seed}
    earlier_ratios, settings = read_earlier_ratios(against, events=events, rate=rate), read_settings(data)
    settings = separate_settings(settings, "peers")
    settings.data.mkdir(parents=True)
    rounds, job, load = comparison.EngineRounds(), CardJob(), SteadyLoad(rate, warm_up, seconds)
    machine = measurement_context({peer.package: peer.version for peer in requested_peers})
    with console.status("") as status:
        installed_engines = install_engines(requested_peers, settings.home, rounds.not_measured, status.update)
    with own_broker(settings) as connection, console.status("") as status:
        site = Site(connection, settings.data, settings.partitions, settings.checkpoint_interval)
        run = comparison.ComparisonRun(site, installed_engines, job, repeats, rounds, status.update)
        status.update("transactions")
        comparison.measure_catch_ups(run, generate_transactions(seed, events))
        # Until an engine's first alert an event a second is sent.
        count = int(rate * load.total_seconds) + round(START_SECONDS)
        comparison.measure_latencies(run, generate_transactions(seed + 1, count), load)
    results = comparison.results_of(rounds, job, **machine, **options)
    path = output or settings.data / "peers.json"
    paths = write_results(results, partial(comparison.markdown, peers=requested_peers, rounds=rounds), path)
    print_results(results, rounds)
    console.print(", ".join([paths, *map(str, comparison.draw_plots(results, requested_peers, path.parent))]), soft_wrap=True)
    for line in comparison.difference_lines(rounds):
        error_console.print(line, soft_wrap=True)
    if rounds.ours_differ:
        raise typer.Exit(1)
    report_changes(earlier_ratios, results["ratios"])


def print_results(results: dict[str, Any], rounds: comparison.EngineRounds) -> None:
    """The medians and their ratios to ours, for the terminal."""
    catch_up = f"Catch-up over {results['events']:,} events, events per second"
    latency = f"Send to alert, milliseconds, at {results['rate']:,.0f} events/s"
    _print_comparison(catch_up, results["catch_up"], comparison.CATCH_UP, 0, set(rounds.catch_up))
    _print_comparison(latency, results["latency_ms"], comparison.LATENCY, 1, set(rounds.latency))
    for name, reason in rounds.not_measured.items():
        console.print(f"{name}: not measured: {reason}", markup=False, soft_wrap=True)


def _print_comparison(title: str, figures: dict[str, Any], fields: tuple[str, ...], digits: int, names: set[str]) -> None:
    table = plain_table(title, "engine", *(column for field in fields for column in (field.replace("_", " "), "of ours")))
    for peer in PEERS:
        if peer.name in names:
            cells = (cell for field in fields for cell in comparison_cells(figures[field], peer.name, digits))
            table.add_row(peer.title, *cells)
    console.print(table)
