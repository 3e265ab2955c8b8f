"""What `detect` and `archive` say while they run: alerts, how far they are, and what the rules cannot see."""

import time
from collections.abc import Callable, Mapping

from deltalake.exceptions import DeltaError

from common.failures import in_words
from common.monitoring.alert_watch import AlertWatch, Percentiles
from common.monitoring.blind_rules import Blindness, moment
from common.streaming.progress import Standing
from common.vertical import Vertical

LATENCY_SECONDS = 10.0  # the newest updates, of which p50 and p99 are told
AT_ONCE = 20  # alerts printed at a time; of more, how many there were


class Report:
    """Says each thing when it is new. say: takes a line; standings: by query, kept up to date by whoever follows them."""

    def __init__(
        self, vertical: Vertical, folder: str, watch: AlertWatch, standings: Mapping[str, Standing], say: Callable[[str], None]
    ) -> None:
        self._watch, self._standings, self._say = watch, standings, say
        self._blindness = Blindness(vertical, folder, standings, say)
        self._figures = ""

    def alerts(self) -> None:
        """Those that came since the last call, without what the cooldown holds back."""
        untold = self._watch.seen.untold
        new = [untold.popleft() for _ in range(len(untold))]
        for alert in new[-AT_ONCE:]:
            self._say(alert_line(alert))
        if len(new) > AT_ONCE:
            self._say(f"and {len(new) - AT_ONCE:,} alerts before these, in the topic and the table")

    def all(self) -> None:
        """The alerts, and what has changed since the last call: what is judged, what stays silent and why, how fast it is."""
        self.alerts()
        self._blindness.tell()
        figures = figures_line(self._watch, self._standings, self._watch.latency(since=time.time() - LATENCY_SECONDS))
        if figures != self._figures:
            self._figures = figures
            self._say(figures)


def figures_line(watch: AlertWatch, standings: Mapping[str, Standing], latency: Percentiles) -> str:
    """How much was judged, as far as batches have ended, what it raised, and how fast."""
    seen, held = watch.seen, watch.cooldown.held_back.total()
    judged = ", ".join(f"{name} {_judged(standing)}" for name, standing in standings.items())
    raised = f"{seen.alerts.total():,} alerts, {held:,} updates held back by the cooldown"
    if seen.earlier:
        raised += f"; {seen.earlier:,} alerts of events that came before this start"
    if seen.unreadable:
        raised += f"; {seen.unreadable:,} records in the topic that are no alerts"
    speed = "" if latency.p50 is None else f"; p50 {latency.p50:.1f} ms, p99 {latency.p99:.1f} ms"
    return f"records judged: {judged}; {raised}{speed}"


def alert_line(alert: Mapping[str, object]) -> str:
    return f"{str(alert['event_time'])[:19]} {alert['severity']} {alert['rule']} {alert['entity_id']}: {alert['reasons']}"


def archived_line(count: Callable[[], Mapping[str, int]]) -> str:
    """Rows of an archive's tables, in words; or that they cannot be counted at the moment, which is no reason to end."""
    try:
        counts = count()
    except (DeltaError, OSError) as problem:
        return f"tables that cannot be read: {in_words(problem)}"
    return (
        f"{counts['events']:,} events, {counts['quarantine']:,} quarantined records, "
        f"{counts['labels']:,} labels, {counts['alerts']:,} alerts"
    )


def _judged(standing: Standing) -> str:
    if standing.ended_at is None:
        return "not known before its first checkpoint"
    watermark = f", watermark {moment(standing.watermark)}" if standing.watermark else ""
    return f"{standing.records:,} (at {standing.ended_at:%H:%M:%S} UTC{watermark})"
