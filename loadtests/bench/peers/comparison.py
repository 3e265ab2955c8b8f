"""Runs the card job in every engine: checks its alerts by id, measures catch-up and latency in rounds, and reports them."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.bench.peers.engine_process import Engine, PeerFailed
from loadtests.bench.peers.measurements import Backlog, EngineLatency, Site, measure_catch_up, measure_latency, send_all
from loadtests.bench.peers.peer import OURS, Peer
from loadtests.bench.peers.reference import CardJob, expected_alerts
from loadtests.bench.peers.transactions import Transactions
from loadtests.bench.results import (
    compare_engines,
    comparison_cells,
    draw_bars,
    hardware_line,
    markdown_table,
    ratios_of_others,
)
from loadtests.bench.steady_load import SteadyLoad

SHOWN_IDS = 20  # of differing alerts
CATCH_UP, LATENCY = ("per_second", "steady"), ("p50", "p95", "p99")


@dataclass
class EngineRounds:
    """By engine: rounds of the catch-up, rounds of latency, and why one was not measured."""

    catch_up: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    latency: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    not_measured: dict[str, str] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """The rounds so far as JSON, so that a run of hours which is cut short is not lost."""
        (folder / "rounds.json").write_text(json.dumps(vars(self), indent=2) + "\n")

    @property
    def ours_differ(self) -> bool:
        """Whether ours failed, or gave other alerts than expected in any round."""
        rounds = self.catch_up.get(OURS, [])
        return OURS in self.not_measured or any(figures["missing"] or figures["unexpected"] for figures in rounds)


@dataclass(frozen=True)
class ComparisonRun:
    """What is run: `job`, `repeats` times, in each of the engines at `site`. `rounds` fills as engines are measured."""

    site: Site
    engines: list[Engine]
    job: CardJob
    repeats: int
    rounds: EngineRounds
    show_status: Callable[[str], object]

    def measured_engines(self) -> list[Engine]:
        """The engines none of whose rounds has failed so far."""
        return [engine for engine in self.engines if engine.peer.name not in self.rounds.not_measured]


def measure_catch_ups(run: ComparisonRun, transactions: Transactions) -> None:
    """Measures every engine over the same backlog, once a round, and checks the alerts of every round by id."""
    run.show_status(f"a backlog of {len(transactions):,} transactions, and the alerts to be found in it")
    topic = run.site.new_topic("peers.events")
    backlog = Backlog(topic, len(transactions), expected_alerts(transactions.columns, run.job))
    send_all(run.site, topic, transactions)
    for number in range(1, run.repeats + 1):
        for engine in run.measured_engines():
            name = engine.peer.name
            run.show_status(f"catch-up, round {number} of {run.repeats}: {engine.peer.title}")
            try:
                catch_up = measure_catch_up(run.site, engine, run.job, backlog, f"catch-up-{name}-{number}")
            except PeerFailed as problem:
                run.rounds.not_measured[name] = str(problem)
                continue
            per_second = catch_up.speed.per_second if not catch_up.differences.missing else None
            figures = {"per_second": per_second, "steady": catch_up.speed.steady, "updates": catch_up.updates}
            figures |= asdict(catch_up.differences) | {"expected": len(backlog.expected_ids)}
            run.rounds.catch_up[name].append(figures)
            run.rounds.save(run.site.folder)


def measure_latencies(run: ComparisonRun, transactions: Transactions, load: SteadyLoad) -> None:
    """Measures every engine's latency at the same load, once a round."""
    for number in range(1, run.repeats + 1):
        for engine in run.measured_engines():
            name = engine.peer.name
            run.show_status(f"latency, round {number} of {run.repeats}: {engine.peer.title}")
            try:
                latency = measure_latency(run.site, engine, run.job, transactions, load, f"latency-{name}-{number}")
            except PeerFailed as problem:
                run.rounds.not_measured[name] = str(problem)
                continue
            run.rounds.latency[name].append(_latency_figures(latency))
            run.rounds.save(run.site.folder)


def _latency_figures(latency: EngineLatency) -> dict[str, Any]:
    return asdict(latency.percentiles) | {"sent": latency.sent_count, "answered": latency.answered_share}


def results_of(rounds: EngineRounds, job: CardJob, **options: Any) -> dict[str, Any]:
    """The results as they are written: options, rounds, medians, and ratios, of which higher is better for us."""
    catch_up, latency = compare_engines(rounds.catch_up, CATCH_UP, OURS), compare_engines(rounds.latency, LATENCY, OURS)
    return {
        **options,
        "job": job.values(),
        "not_measured": rounds.not_measured,
        "catch_up": {**catch_up, "rounds": dict(rounds.catch_up)},
        "latency_ms": {**latency, "rounds": dict(rounds.latency)},
        "ratios": {
            **{f"{field} / {name}": 1 / ratio for field in CATCH_UP for name, ratio in ratios_of_others(catch_up[field], OURS)},
            **{f"{field} of {name} / ours": ratio for field in LATENCY for name, ratio in ratios_of_others(latency[field], OURS)},
        },
    }


def difference_lines(rounds: EngineRounds) -> list[str]:
    """A line for each engine and round with other alerts than expected, with their ids."""
    return [
        f"{name}, round {number}: {len(figures[side])} of {figures['expected']} {side}: {_shorten(figures[side])}"
        for name, engine_rounds in rounds.catch_up.items()
        for number, figures in enumerate(engine_rounds, 1)
        for side in ("missing", "unexpected")
        if figures[side]
    ]


def _shorten(ids: list[str]) -> str:
    return " ".join(ids[:SHOWN_IDS]) + (f" and {len(ids) - SHOWN_IDS} more" if len(ids) > SHOWN_IDS else "")


def markdown(results: dict[str, Any], peers: list[Peer], rounds: EngineRounds) -> str:
    catch_up, latency = results["catch_up"], results["latency_ms"]
    rows = [
        [
            f"{peer.title} {peer.version}",
            *(cell for field in CATCH_UP for cell in comparison_cells(catch_up[field], peer.name, 0)),
            *(cell for field in LATENCY for cell in comparison_cells(latency[field], peer.name, 1)),
            _agreement_text(rounds, peer.name),
        ]
        for peer in peers
        if peer.name not in rounds.not_measured
    ]
    columns = ["engine", "events/s", "of ours", "steady events/s", "of ours"]
    columns += [cell for field in LATENCY for cell in (f"{field} ms", "of ours")]
    parts = [
        "# The card job in other engines",
        f"Catch-up over {results['events']:,} events from the start of the process to the last alert, steady without the first "
        f"fifth; latency at {results['rate']:,.0f} events/s, an alert for every event. Medians of {results['repeats']}. What the "
        "job is, and each engine's settings: `loadtests/bench/peers/README.md`.",
        markdown_table([*columns, "same alerts"], rows),
        *(f"{name}: not measured: {reason.splitlines()[0]}" for name, reason in rounds.not_measured.items()),
        *difference_lines(rounds),
        hardware_line(results),
    ]
    return "\n\n".join(parts) + "\n"


def _agreement_text(rounds: EngineRounds, name: str) -> str:
    """Whether all rounds gave the expected alerts, as text: yes, no, or - where no round was measured."""
    engine_rounds = rounds.catch_up.get(name, [])
    if not engine_rounds:
        return "-"
    return "no" if any(figures["missing"] or figures["unexpected"] for figures in engine_rounds) else "yes"


def draw_plots(results: dict[str, Any], peers: list[Peer], folder: Path) -> list[Path]:
    """Bars as PNG files; returns their paths."""
    titles = {peer.name: peer.title for peer in peers}
    catch_up, latency = results["catch_up"], results["latency_ms"]
    paths = [
        draw_bars("Card job, catch-up", "events per second", titles, catch_up["per_second"]["median"], folder),
        draw_bars("Card job, latency p50", "milliseconds", titles, latency["p50"]["median"], folder),
        draw_bars("Card job, latency p99", "milliseconds", titles, latency["p99"]["median"], folder),
    ]
    return [path for path in paths if path]
