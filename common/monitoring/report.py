"""What `detect` and `archive` say while they run: alerts, how far they are, and what the rules cannot see."""

from collections.abc import Callable, Mapping
from datetime import datetime

from common.monitoring.watch import AlertWatch, Percentiles
from common.processing.standing import Standing
from common.processing.versions import BASELINE, MODEL, newest, versions
from common.vertical import Query, Vertical

AT_ONCE = 20  # alerts printed at a time; of more, how many there were


class Report:
    """Says each thing when it is new. say: takes a line; standings: by query, kept up to date by whoever follows them."""

    def __init__(
        self, vertical: Vertical, folder: str, watch: AlertWatch, standings: Mapping[str, Standing], say: Callable[[str], None]
    ) -> None:
        self._vertical, self._folder, self._watch, self._standings = vertical, folder, watch, standings
        self._say = say
        self._blind: list[str] = []
        self._behind: dict[str, int] = {}
        self._figures = ""

    def alerts(self) -> None:
        """Those that came since the last call, without what the cooldown holds back."""
        untold = self._watch.seen.untold
        new = [untold.popleft() for _ in range(len(untold))]
        for alert in new[-AT_ONCE:]:
            self._say(alert_line(alert))
        if len(new) > AT_ONCE:
            self._say(f"and {len(new) - AT_ONCE:,} alerts before these, in the topic and the table")

    def standing(self, latency: Percentiles) -> None:
        """What changed since the last call of what is judged, what stays silent, and why. latency: of the last seconds."""
        self._tell_blind()
        for name, standing in self._standings.items():
            if standing.behind > self._behind.get(name, 0):
                self._behind[name] = standing.behind
                self._say(behind_line(name, standing))
        figures = figures_line(self._watch, self._standings, latency)
        if figures != self._figures:
            self._figures = figures
            self._say(figures)

    def _tell_blind(self) -> None:
        blind = blind_spots(self._vertical, self._folder)
        for line in blind:
            if line not in self._blind:
                self._say(line)
        if self._blind and len(blind) < len(self._blind):
            self._say("what was missing is in force now, and taken up within a checkpoint interval")
        self._blind = blind


def blind_spots(vertical: Vertical, folder: str) -> list[str]:
    """A line for each kind of thing that was never learnt, with the queries whose rules are silent for want of it."""
    published = versions(folder)
    lines = []
    if vertical.baselines and newest(published, BASELINE) is None:
        waiting = _named([query for query in vertical.queries if query.baselines])
        lines.append(
            f"no baselines yet: rules of {waiting} that compare with what is usual raise nothing; "
            f"hybrid trends {vertical.name} learns them from the archived history"
        )
    if vertical.model and newest(published, MODEL) is None:
        waiting = _named([query for query in vertical.queries if query.model])
        lines.append(
            f"no model yet: rules of {waiting} that go by it raise nothing; "
            f"hybrid train {vertical.name} trains it on labelled history"
        )
    return lines


def behind_line(query: str, standing: Standing) -> str:
    since = f"{standing.behind_since:%H:%M:%S} UTC" if standing.behind_since else "its start"
    return (
        f"query {query} is blind to what comes behind its watermark, {_moment(standing.watermark)}: {standing.behind:,} times "
        f"since {since}, an event counting once for each window it would be in; hybrid reconcile adds the alerts lost to that"
    )


def figures_line(watch: AlertWatch, standings: Mapping[str, Standing], latency: Percentiles) -> str:
    """How much was judged, as far as batches have ended, what it raised, and how fast."""
    seen, held = watch.seen, watch.cooldown.held_back.total()
    judged = ", ".join(f"{name} {_judged(standing)}" for name, standing in standings.items())
    raised = f"{seen.alerts.total():,} alerts, {held:,} updates held back by the cooldown"
    if seen.earlier:
        raised += f"; {seen.earlier:,} alerts of events that came before this start"
    speed = "" if latency.p50 is None else f"; p50 {latency.p50:.1f} ms, p99 {latency.p99:.1f} ms"
    return f"records judged: {judged}; {raised}{speed}"


def alert_line(alert: Mapping[str, object]) -> str:
    return f"{str(alert['event_time'])[:19]} {alert['severity']} {alert['rule']} {alert['entity_id']}: {alert['reasons']}"


def archived_line(counts: Mapping[str, int]) -> str:
    """Rows of an archive's tables, in words."""
    return (
        f"{counts['events']:,} events, {counts['quarantine']:,} quarantined records, "
        f"{counts['labels']:,} labels, {counts['alerts']:,} alerts"
    )


def _judged(standing: Standing) -> str:
    if standing.ended_at is None:
        return "not known before its first checkpoint"
    watermark = f", watermark {_moment(standing.watermark)}" if standing.watermark else ""
    return f"{standing.records:,} (at {standing.ended_at:%H:%M:%S} UTC{watermark})"


def _moment(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else "unknown"


def _named(queries: list[Query]) -> str:
    return ("query " if len(queries) == 1 else "queries ") + ", ".join(query.name for query in queries)
