"""The live screen of a run: what comes in, what is found, how fast. Without a terminal, a line every few seconds."""

import time
from collections import deque
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from common.monitoring.alert_watch import NEWEST, AlertWatch
from common.monitoring.plain_table import plain_table
from common.vertical import Vertical

PLAIN_EVERY = 5.0
RATE_WINDOW = 5.0
SEVERITY_STYLES = {"critical": "bold red", "major": "red", "minor": "yellow", "warning": "cyan"}


@dataclass
class State:
    """What a run knows of itself. started: time.time(); modes: a line per rule, how Spark runs it."""

    vertical: Vertical
    modes: list[str]
    seconds: float
    watch: AlertWatch
    started: float = field(default_factory=time.time)
    ended: float | None = None
    total: int = 0
    lag: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=6))
    unprinted: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    failures: list[Exception] = field(default_factory=list)
    _ends: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=200))

    def came(self, total: int, at: float) -> None:
        """`total` records were in the events topic `at` a moment of time.monotonic()."""
        self.total = total
        self._ends.append((at, total))

    @property
    def rate(self) -> float:
        """Records per second over the last RATE_WINDOW seconds, or since the look before, where that is longer ago."""
        if len(self._ends) < 2:
            return 0.0
        newest, count = self._ends[-1]
        moment, before = next((pair for pair in reversed(self._ends) if pair[0] <= newest - RATE_WINDOW), self._ends[0])
        return (count - before) / max(newest - moment, 1e-3)

    def say(self, note: str) -> None:
        said = f"{time.strftime('%H:%M:%S')} {note}"
        self.notes.append(said)
        self.unprinted.append(said)

    def tables_line(self) -> str:
        return ", ".join(f"{name} {count:,}" for name, count in self.tables.items())


class Screen:
    """Draws the states of verticals that run side by side; use as a context manager and call `refresh` often."""

    def __init__(self, console: Console, states: list[State]) -> None:
        self._console, self._states, self._said = console, states, 0.0
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> "Screen":
        if self._live:
            self._live.start()
        else:
            for state in self._states:
                for mode in state.modes:
                    self._console.print(f"{state.vertical.name}: {mode}")
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
        else:
            self._print()

    def refresh(self) -> None:
        if self._live:
            self._live.update(draw(self._states), refresh=True)
        elif time.monotonic() - self._said >= PLAIN_EVERY:
            self._print()

    def _print(self) -> None:
        """A line of figures for each vertical, and above it what was said since the last one."""
        self._said = time.monotonic()
        for state in self._states:
            notes = [state.unprinted.popleft() for _ in range(len(state.unprinted))]
            for each in (*notes, line(state)):
                self._console.print((f"{state.vertical.name} " if len(self._states) > 1 else "") + each, markup=False)


def line(state: State) -> str:
    latency = state.watch.latency(since=time.time() - 10)
    speed = "-" if latency.p50 is None else f"p50 {latency.p50:.1f} p99 {latency.p99:.1f} ms"
    return (
        f"{time.time() - state.started:5.0f} s | {state.total:,} events, {state.rate:,.0f}/s | archive lag {state.lag:,} | "
        f"quarantine {state.tables.get('quarantine', 0):,} | alerts {state.watch.seen.alerts.total():,} | {speed}"
    )


def draw(states: list[State]) -> Group:
    if len(states) == 1:
        return Group(_figures(states[0]), _rules(states[0]), _newest(states), _notes(states))
    return Group(_side_by_side(states), _newest(states), _notes(states))


def _side_by_side(states: list[State]) -> Table:
    table = plain_table(
        "", "vertical", "events", "per second", "archive lag", "quarantined", "alerts", "p50 ms", "p99 ms"
    )
    for state in states:
        latency = state.watch.latency(since=time.time() - 10)
        speeds = ["-" if value is None else f"{value:.1f}" for value in (latency.p50, latency.p99)]
        counts = f"{state.total:,}", f"{state.rate:,.0f}", f"{state.lag:,}", f"{state.tables.get('quarantine', 0):,}"
        table.add_row(state.vertical.name, *counts, f"{state.watch.seen.alerts.total():,}", *speeds)
    return table


def _notes(states: list[State]) -> Panel:
    notes = sorted(_noted(state, note, len(states)) for state in states for note in state.notes)
    # A line each where several verticals have to share the screen.
    shown = [Text(note, no_wrap=len(states) > 1, overflow="ellipsis") for note in notes[-6:]]
    return Panel(Group(*shown), title="batch and life cycle")


def _noted(state: State, note: str, verticals: int) -> str:
    """A note after whose it is, where there are several whose it may be."""
    moment, _, said = note.partition(" ")
    return f"{moment} {state.vertical.name}: {said}" if verticals > 1 else note


def _figures(state: State) -> Panel:
    latency = state.watch.latency(since=time.time() - 10)
    speed = "-" if latency.p50 is None else f"p50 {latency.p50:.1f}  p95 {latency.p95:.1f}  p99 {latency.p99:.1f} ms"
    grid = Table.grid(padding=(0, 3))
    grid.add_row("events", f"{state.total:,}", "per second", f"{state.rate:,.0f}", "archive lag", f"{state.lag:,}")
    grid.add_row(
        "archived",
        f"{state.tables.get('events', 0):,}",
        "quarantined",
        f"{state.tables.get('quarantine', 0):,}",
        "event to alert, last 10 s",
        speed,
    )
    left = max(0.0, state.seconds - (time.time() - state.started))
    return Panel(grid, title=f"{state.vertical.name}: {state.vertical.title} - {left:.0f} s left")


def _rules(state: State) -> Table:
    table = plain_table("", "rule", "alerts", "how it runs")
    for rule, mode in zip(state.vertical.rules, state.modes, strict=False):
        table.add_row(rule.name, f"{state.watch.seen.alerts[rule.name]:,}", mode.partition(": ")[2])
    return table


def _newest(states: list[State]) -> Panel:
    seen = [alert for state in states for alert in list(state.watch.seen.newest)]
    newest = sorted(seen, key=lambda alert: str(alert["ingest_time"]))[-NEWEST:][::-1]
    wide = {name: max((len(alert[name]) for alert in newest), default=0) for name in ("severity", "rule", "entity_id")}
    held = sum(state.watch.cooldown.held_back.total() for state in states)
    title = "newest alerts" + (f"; {held:,} updates of told ones are left out" if held else "")
    return Panel(Group(*(_alert(alert, wide) for alert in newest)), title=title)


def _alert(alert: dict[str, str], wide: dict[str, int]) -> Text:
    """On one line: where there is no room, the end of its reasons is left out, and nothing before them."""
    line = Text(f"{alert['event_time'][:19]}  ", no_wrap=True, overflow="ellipsis")
    line.append(alert["severity"].ljust(wide["severity"]), SEVERITY_STYLES.get(alert["severity"], ""))
    line.append(f"  {alert['rule'].ljust(wide['rule'])}  {alert['entity_id'].ljust(wide['entity_id'])}  {alert['reasons']}")
    return line
