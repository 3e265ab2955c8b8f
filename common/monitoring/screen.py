"""Draws the live screen of a run: events, alerts and latency. Without a terminal, prints a line of them every few seconds."""

import time
from collections import deque
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from common.monitoring.alert_watch import MAX_NEWEST, AlertWatch, Percentiles
from common.monitoring.plain_table import plain_table
from common.vertical import Vertical

PRINT_SECONDS = 5.0  # between lines where there is no terminal
RATE_SECONDS = 5.0  # over which the rate of events is measured
LATENCY_SECONDS = 10  # the age of the updates of which the latency is shown
SEVERITY_STYLES = {"critical": "bold red", "major": "red", "minor": "yellow", "warning": "cyan"}


@dataclass
class RunState:
    """What the screen shows of a vertical's run. modes: a line per rule, how Spark runs it; seconds: how long the run takes.

    started_at: time.time(); total: records in the events topic; lag: of them, those that the archive has not taken yet; tables:
    rows by table; notes: the newest, for a screen; unprinted: the same, for lines.
    """

    vertical: Vertical
    modes: list[str]
    seconds: float
    watch: AlertWatch
    started_at: float = field(default_factory=time.time)
    total: int = 0
    lag: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=6))
    unprinted: deque[str] = field(default_factory=lambda: deque(maxlen=20))
    failures: list[Exception] = field(default_factory=list)
    _totals: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=200))

    def record_total(self, total: int, measured_at: float) -> None:
        """Notes how many records are in the events topic. measured_at: a moment of time.monotonic()."""
        self.total = total
        self._totals.append((measured_at, total))

    @property
    def rate(self) -> float:
        """Records per second over the last RATE_SECONDS, or since the total before the last, where that is longer ago."""
        if len(self._totals) < 2:
            return 0.0
        last_time, last_total = self._totals[-1]
        earlier = (pair for pair in reversed(self._totals) if pair[0] <= last_time - RATE_SECONDS)
        first_time, first_total = next(earlier, self._totals[0])
        return (last_total - first_total) / max(last_time - first_time, 1e-3)

    def say(self, note: str) -> None:
        """Adds a note, with the time of day before it."""
        timed_note = f"{time.strftime('%H:%M:%S')} {note}"
        self.notes.append(timed_note)
        self.unprinted.append(timed_note)

    def tables_line(self) -> str:
        """The rows of each table."""
        return ", ".join(f"{name} {count:,}" for name, count in self.tables.items())


class Screen:
    """Draws the states of verticals that run side by side; use as a context manager and call `refresh` often."""

    def __init__(self, console: Console, states: list[RunState]) -> None:
        self._console, self._states, self._printed_at = console, states, 0.0
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
        """Draws the screen anew; without a terminal, prints lines if it is time to."""
        if self._live:
            self._live.update(draw_states(self._states), refresh=True)
        elif time.monotonic() - self._printed_at >= PRINT_SECONDS:
            self._print()

    def _print(self) -> None:
        """Prints a line of figures for each vertical, and before it the notes since the last one."""
        self._printed_at = time.monotonic()
        for state in self._states:
            notes = [state.unprinted.popleft() for _ in range(len(state.unprinted))]
            for line in (*notes, figures_line(state)):
                self._console.print((f"{state.vertical.name} " if len(self._states) > 1 else "") + line, markup=False)


def figures_line(state: RunState) -> str:
    """Events, lag, alerts and latency, for where there is no terminal."""
    latency = _latency(state)
    speed = "-" if latency.p50 is None else f"p50 {latency.p50:.1f} p99 {latency.p99:.1f} ms"
    return (
        f"{time.time() - state.started_at:5.0f} s | {state.total:,} events, {state.rate:,.0f}/s | archive lag {state.lag:,} | "
        f"quarantine {state.tables.get('quarantine', 0):,} | alerts {state.watch.tally.alerts.total():,} | {speed}"
    )


def draw_states(states: list[RunState]) -> Group:
    """The screen: with the figures of each rule for a single vertical, with a line each for several."""
    if len(states) == 1:
        return Group(_figures_panel(states[0]), _rules_table(states[0]), _alerts_panel(states), _notes_panel(states))
    return Group(_verticals_table(states), _alerts_panel(states), _notes_panel(states))


def _latency(state: RunState) -> Percentiles:
    return state.watch.latency(since=time.time() - LATENCY_SECONDS)


def _verticals_table(states: list[RunState]) -> Table:
    table = plain_table("", "vertical", "events", "per second", "archive lag", "quarantined", "alerts", "p50 ms", "p99 ms")
    for state in states:
        latency = _latency(state)
        speeds = ["-" if value is None else f"{value:.1f}" for value in (latency.p50, latency.p99)]
        counts = f"{state.total:,}", f"{state.rate:,.0f}", f"{state.lag:,}", f"{state.tables.get('quarantine', 0):,}"
        table.add_row(state.vertical.name, *counts, f"{state.watch.tally.alerts.total():,}", *speeds)
    return table


def _notes_panel(states: list[RunState]) -> Panel:
    notes = sorted(_name_vertical(state, note) if len(states) > 1 else note for state in states for note in state.notes)
    # One line for each where several verticals have to share the screen.
    lines = [Text(note, no_wrap=len(states) > 1, overflow="ellipsis") for note in notes[-6:]]
    return Panel(Group(*lines), title="batch and life cycle")


def _name_vertical(state: RunState, note: str) -> str:
    """A note with its vertical's name after the time of day."""
    time_of_day, _, text = note.partition(" ")
    return f"{time_of_day} {state.vertical.name}: {text}"


def _figures_panel(state: RunState) -> Panel:
    latency = _latency(state)
    speed = "-" if latency.p50 is None else f"p50 {latency.p50:.1f}  p95 {latency.p95:.1f}  p99 {latency.p99:.1f} ms"
    grid = Table.grid(padding=(0, 3))
    grid.add_row("events", f"{state.total:,}", "per second", f"{state.rate:,.0f}", "archive lag", f"{state.lag:,}")
    grid.add_row(
        "archived",
        f"{state.tables.get('events', 0):,}",
        "quarantined",
        f"{state.tables.get('quarantine', 0):,}",
        f"event to alert, last {LATENCY_SECONDS} s",
        speed,
    )
    remaining = max(0.0, state.seconds - (time.time() - state.started_at))
    return Panel(grid, title=f"{state.vertical.name}: {state.vertical.title} - {remaining:.0f} s left")


def _rules_table(state: RunState) -> Table:
    table = plain_table("", "rule", "alerts", "how it runs")
    for rule, mode in zip(state.vertical.rules, state.modes, strict=False):
        table.add_row(rule.name, f"{state.watch.tally.alerts[rule.name]:,}", mode.partition(": ")[2])
    return table


def _alerts_panel(states: list[RunState]) -> Panel:
    alerts = [alert for state in states for alert in list(state.watch.tally.newest)]
    newest = sorted(alerts, key=lambda alert: str(alert["ingest_time"]))[-MAX_NEWEST:][::-1]
    widths = {name: max((len(alert[name]) for alert in newest), default=0) for name in ("severity", "rule", "entity_id")}
    held_back = sum(state.watch.cooldown.held_back.total() for state in states)
    title = "newest alerts" + (f"; {held_back:,} updates held back by the cooldown" if held_back else "")
    return Panel(Group(*(_alert_line(alert, widths) for alert in newest)), title=title)


def _alert_line(alert: dict[str, str], widths: dict[str, int]) -> Text:
    """An alert on one line: where there is no room for all of it, only the end of its reasons is cut off."""
    line = Text(f"{alert['event_time'][:19]}  ", no_wrap=True, overflow="ellipsis")
    line.append(alert["severity"].ljust(widths["severity"]), SEVERITY_STYLES.get(alert["severity"], ""))
    line.append(f"  {alert['rule'].ljust(widths['rule'])}  {alert['entity_id'].ljust(widths['entity_id'])}  {alert['reasons']}")
    return line
