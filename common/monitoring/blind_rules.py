"""Reports blind rules: those without their baselines or model, and those whose events come behind their query's watermark."""

from collections.abc import Callable, Mapping
from datetime import datetime

from common.failures import describe_failure
from common.published.versions import BASELINE, MODEL, UNREADABLE_VERSIONS, newest, versions
from common.streaming.progress import QueryProgress
from common.vertical import Query, Vertical


class BlindRuleReport:
    """Says what has changed about blind rules. folder: of the tables; progress: by query, which its owner keeps up to date."""

    def __init__(
        self, vertical: Vertical, folder: str, progress: Mapping[str, QueryProgress], say: Callable[[str], None]
    ) -> None:
        self._vertical, self._folder, self._progress, self._say = vertical, folder, progress, say
        self._missing_lines: list[str] = []
        self._is_readable = True
        self._late_counts: dict[str, int] = {}

    def say_changes(self) -> None:
        """Says what has changed since the last call."""
        try:
            self._say_missing(missing_version_lines(self._vertical, self._folder))
            self._is_readable = True
        except UNREADABLE_VERSIONS as problem:  # the queries go on, and the next call tries again
            if self._is_readable:
                self._say(f"the published versions cannot be read: {describe_failure(problem)}")
            self._is_readable = False
        for name, progress in self._progress.items():
            if progress.behind > self._late_counts.get(name, 0):
                self._late_counts[name] = progress.behind
                self._say(late_events_line(self._vertical, name, progress))

    def _say_missing(self, lines: list[str]) -> None:
        for line in lines:
            if line not in self._missing_lines:
                self._say(line)
        if len(lines) < len(self._missing_lines):
            self._say("what was missing is in force now; the queries read it within a checkpoint interval")
        self._missing_lines = lines


def missing_version_lines(vertical: Vertical, folder: str) -> list[str]:
    """A line if there are no baselines yet, and one if there is no model, with the queries whose rules are silent until then."""
    all_versions = versions(folder)
    lines = []
    if vertical.baselines and newest(all_versions, BASELINE) is None:
        queries = _names_of([query for query in vertical.queries if query.baselines])
        lines.append(
            f"no baselines yet: rules of {queries} that compare with what is usual raise nothing; "
            f"hybrid trends {vertical.name} learns them from the archived history"
        )
    if vertical.model and newest(all_versions, MODEL) is None:
        queries = _names_of([query for query in vertical.queries if query.model])
        lines.append(
            f"no model yet: rules of {queries} that need it raise nothing; "
            f"hybrid train {vertical.name} trains it on labelled history"
        )
    return lines


def late_events_line(vertical: Vertical, query: str, progress: QueryProgress) -> str:
    """How often a query has left out events behind its watermark, since when, and what brings back their alerts."""
    since = f"{progress.behind_since:%H:%M:%S} UTC" if progress.behind_since else "its start"
    return (
        f"query {query} is blind to events behind its watermark, {format_time(progress.watermark)}: {progress.behind:,} left out "
        f"since {since}, an event counted once for each window it would be in; "
        f"hybrid reconcile {vertical.name} adds the alerts that were lost"
    )


def format_time(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else "unknown"


def _names_of(queries: list[Query]) -> str:
    return ("query " if len(queries) == 1 else "queries ") + ", ".join(query.name for query in queries)
