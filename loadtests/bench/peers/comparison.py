"""One run of the card job in every engine: the check by id, catch-up in interleaved rounds, latency, and what is told of it."""

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.bench.peers.engine_process import PeerFailed, Ready
from loadtests.bench.peers.measurements import Latency, Site, catch_up, latency, send_all
from loadtests.bench.peers.peer import OURS, Peer
from loadtests.bench.peers.reference import CardJob, expected_alerts
from loadtests.bench.peers.transactions import Transactions
from loadtests.bench.results import bars, cells, compared, machine_line, markdown_table, others

SHOWN = 20  # differing ids that are printed
CATCH_UP, LATENCY = ("per_second", "steady"), ("p50", "p95", "p99")
Say = Callable[[str], object]


@dataclass
class Found:
    """By engine: rounds of the catch-up, rounds of latency, and why one was not measured."""

    catch_up: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    latency: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    not_measured: dict[str, str] = field(default_factory=dict)

    def keep(self, folder: Path) -> None:
        """What was found so far as JSON, so that a run of hours which is cut short is not lost."""
        (folder / "rounds.json").write_text(json.dumps(vars(self), indent=2) + "\n")

    @property
    def ours_differ(self) -> bool:
        """Whether ours failed, or gave other alerts than expected in any round."""
        rounds = self.catch_up.get(OURS, [])
        return OURS in self.not_measured or any(each["missing"] or each["unexpected"] for each in rounds)


def catch_ups(
    site: Site, engines: list[Ready], job: CardJob, backlog: Transactions, repeats: int, found: Found, say: Say
) -> None:
    """Every engine over the same backlog, once a round; the alerts of every round are checked by id."""
    say(f"a backlog of {len(backlog):,} transactions, and the alerts to be found in it")
    topic = site.new_topic("peers.events")
    expected = expected_alerts(backlog.columns, job)
    send_all(site, topic, backlog)
    for number in range(1, repeats + 1):
        for ready in _still_measured(engines, found):
            say(f"catch-up, round {number} of {repeats}: {ready.peer.title}")
            name = f"catch-up-{ready.peer.name}-{number}"
            try:
                caught = catch_up(site, ready, job, topic, len(backlog), expected, name)
            except PeerFailed as problem:
                found.not_measured[ready.peer.name] = str(problem)
                continue
            whole = caught.per_second if not caught.differences.missing else None
            told = {"per_second": whole, "steady": caught.steady, "updates": caught.updates}
            found.catch_up[ready.peer.name].append(told | asdict(caught.differences) | {"expected": len(expected)})
            found.keep(site.folder)


def latencies(
    site: Site, engines: list[Ready], job: CardJob, sent: Transactions, rate: float, warm_up: float, seconds: float,
    repeats: int, found: Found, say: Say,
) -> None:
    for number in range(1, repeats + 1):
        for ready in _still_measured(engines, found):
            say(f"latency, round {number} of {repeats}: {ready.peer.title}")
            try:
                measured = latency(site, ready, job, sent, rate, warm_up, seconds, f"latency-{ready.peer.name}-{number}")
            except PeerFailed as problem:
                found.not_measured[ready.peer.name] = str(problem)
                continue
            found.latency[ready.peer.name].append(_told(measured))
            found.keep(site.folder)


def _told(measured: Latency) -> dict[str, Any]:
    return asdict(measured.percentiles) | {"sent": measured.sent, "answered": measured.answered}


def _still_measured(engines: list[Ready], found: Found) -> list[Ready]:
    return [ready for ready in engines if ready.peer.name not in found.not_measured]


def results_of(found: Found, job: CardJob, **measured: Any) -> dict[str, Any]:
    caught, late = compared(found.catch_up, CATCH_UP, OURS), compared(found.latency, LATENCY, OURS)
    return {
        **measured,
        "job": job.values(),
        "not_measured": found.not_measured,
        "catch_up": {**caught, "rounds": dict(found.catch_up)},
        "latency_ms": {**late, "rounds": dict(found.latency)},
        "ratios": {
            **{f"{field} / {name}": 1 / of for field in CATCH_UP for name, of in others(caught[field], OURS)},
            **{f"{field} of {name} / ours": of for field in LATENCY for name, of in others(late[field], OURS)},
        },
    }


def differing(found: Found) -> list[str]:
    """A line for each engine and round with other alerts than expected, with their ids."""
    return [
        f"{name}, round {number}: {len(each[side])} of {each['expected']} {side}: {_some(each[side])}"
        for name, rounds in found.catch_up.items()
        for number, each in enumerate(rounds, 1)
        for side in ("missing", "unexpected")
        if each[side]
    ]


def _some(ids: list[str]) -> str:
    return " ".join(ids[:SHOWN]) + (f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else "")


def markdown(results: dict[str, Any], peers: list[Peer], found: Found) -> str:
    caught, late = results["catch_up"], results["latency_ms"]
    measured = [peer for peer in peers if peer.name not in found.not_measured]
    rows = [
        [
            f"{peer.title} {peer.version}",
            *(cell for field in CATCH_UP for cell in cells(caught[field], peer.name, 0)),
            *(cell for field in LATENCY for cell in cells(late[field], peer.name, 1)),
            _agreement(found, peer.name),
        ]
        for peer in measured
    ]
    columns = ["engine", "events/s", "of ours", "steady events/s", "of ours"]
    columns += [cell for field in LATENCY for cell in (f"{field} ms", "of ours")]
    parts = [
        "# The card job in other engines",
        f"Catch-up over {results['events']:,} events from the start of the process to the last alert, steady without the first "
        f"fifth; latency at {results['rate']:,.0f} events/s, an alert for every event. Medians of {results['repeats']}. What the "
        "job is, and each engine's settings: `common/bench/peers/README.md`.",
        markdown_table([*columns, "same alerts"], rows),
        *(f"{name}: not measured: {reason.splitlines()[0]}" for name, reason in found.not_measured.items()),
        *differing(found),
        machine_line(results),
    ]
    return "\n\n".join(parts) + "\n"


def _agreement(found: Found, name: str) -> str:
    rounds = found.catch_up.get(name, [])
    if not rounds:
        return "-"
    return "no" if any(each["missing"] or each["unexpected"] for each in rounds) else "yes"


def plots(results: dict[str, Any], peers: list[Peer], folder: Path) -> list[Path]:
    titles = {peer.name: peer.title for peer in peers}
    drawn = [
        bars("Card job, catch-up", "events per second", titles, results["catch_up"]["per_second"]["median"], folder),
        bars("Card job, latency p50", "milliseconds", titles, results["latency_ms"]["p50"]["median"], folder),
        bars("Card job, latency p99", "milliseconds", titles, results["latency_ms"]["p99"]["median"], folder),
    ]
    return [path for path in drawn if path]
