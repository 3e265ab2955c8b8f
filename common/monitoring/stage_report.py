"""Writes the lines that `detect` and `archive` print while they run: alerts, progress, and which rules are blind."""

import time
from collections.abc import Callable, Mapping

from deltalake.exceptions import DeltaError

from common.failures import describe_failure
from common.monitoring.alert_watch import AlertWatch, Percentiles
from common.monitoring.blind_rules import BlindRuleReport, format_time
from common.streaming.progress import QueryProgress
from common.vertical import Vertical

LATENCY_SECONDS = 10.0  # the age of the updates of which p50 and p99 are printed
MAX_PRINTED_ALERTS = 20  # at a time; of the others only the number is printed


class StageReport:
    """Says each thing once, when it is new. say: takes a line; progress: by query, which its owner keeps up to date."""

    def __init__(
        self,
        vertical: Vertical,
        folder: str,
        watch: AlertWatch,
        progress: Mapping[str, QueryProgress],
        say: Callable[[str], None],
    ) -> None:
        self._watch, self._progress, self._say = watch, progress, say
        self._blind_rules = BlindRuleReport(vertical, folder, progress, say)
        self._figures = ""

    def say_alerts(self) -> None:
        """Says the alerts that came since the last call, without those that the cooldown holds back."""
        unprinted = self._watch.tally.unprinted
        alerts = [unprinted.popleft() for _ in range(len(unprinted))]
        for alert in alerts[-MAX_PRINTED_ALERTS:]:
            self._say(alert_line(alert))
        if len(alerts) > MAX_PRINTED_ALERTS:
            self._say(f"and {len(alerts) - MAX_PRINTED_ALERTS:,} alerts before these, in the topic and the table")

    def say_all(self) -> None:
        """Says the alerts, and what has changed since the last call: which rules are blind, how far the queries are, how fast."""
        self.say_alerts()
        self._blind_rules.say_changes()
        figures = figures_line(self._watch, self._progress, self._watch.latency(since=time.time() - LATENCY_SECONDS))
        if figures != self._figures:
            self._figures = figures
            self._say(figures)


def figures_line(watch: AlertWatch, progress: Mapping[str, QueryProgress], latency: Percentiles) -> str:
    """How many records were judged in the batches that have ended, how many alerts these raised, and how fast."""
    tally, held_back = watch.tally, watch.cooldown.held_back.total()
    records = ", ".join(f"{name} {_judged_text(query_progress)}" for name, query_progress in progress.items())
    alerts = f"{tally.alerts.total():,} alerts, {held_back:,} updates held back by the cooldown"
    if tally.earlier:
        alerts += f"; {tally.earlier:,} alerts of events that came before this start"
    if tally.unreadable:
        alerts += f"; {tally.unreadable:,} records in the topic that are no alerts"
    speed = "" if latency.p50 is None else f"; p50 {latency.p50:.1f} ms, p99 {latency.p99:.1f} ms"
    return f"records judged: {records}; {alerts}{speed}"


def alert_line(alert: Mapping[str, object]) -> str:
    return f"{str(alert['event_time'])[:19]} {alert['severity']} {alert['rule']} {alert['entity_id']}: {alert['reasons']}"


def archived_line(count: Callable[[], Mapping[str, int]]) -> str:
    """Counts of the archive's tables as a line, or why they cannot be read now: that must not end the command."""
    try:
        counts = count()
    except (DeltaError, OSError) as problem:
        return f"tables that cannot be read: {describe_failure(problem)}"
    return (
        f"{counts['events']:,} events, {counts['quarantine']:,} quarantined records, "
        f"{counts['labels']:,} labels, {counts['alerts']:,} alerts"
    )


def _judged_text(progress: QueryProgress) -> str:
    """How many records a query has judged, until when and up to which watermark."""
    if progress.ended_at is None:
        return "not known before its first checkpoint"
    watermark = f", watermark {format_time(progress.watermark)}" if progress.watermark else ""
    return f"{progress.records:,} (at {progress.ended_at:%H:%M:%S} UTC{watermark})"
