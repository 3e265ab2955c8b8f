"""What the rules cannot see: for want of something learnt, or because it came behind a query's watermark."""

from collections.abc import Callable, Mapping
from datetime import datetime

from deltalake.exceptions import DeltaError

from common.failures import in_words
from common.published.versions import BASELINE, MODEL, newest, versions
from common.streaming.progress import Standing
from common.vertical import Query, Vertical


class Blindness:
    """Says what is new of it. folder: of the tables; standings: by query, kept up to date by whoever follows them."""

    def __init__(self, vertical: Vertical, folder: str, standings: Mapping[str, Standing], say: Callable[[str], None]) -> None:
        self._vertical, self._folder, self._standings, self._say = vertical, folder, standings, say
        self._missing: list[str] = []
        self._is_readable = True
        self._behind: dict[str, int] = {}

    def tell(self) -> None:
        """What has changed since the last call."""
        try:
            self._tell_missing(not_learnt(self._vertical, self._folder))
            self._is_readable = True
        except (DeltaError, OSError) as problem:  # what judges goes on, and it is looked again
            if self._is_readable:
                self._say(f"what was learnt cannot be read: {in_words(problem)}")
            self._is_readable = False
        for name, standing in self._standings.items():
            if standing.behind > self._behind.get(name, 0):
                self._behind[name] = standing.behind
                self._say(behind_line(self._vertical, name, standing))

    def _tell_missing(self, missing: list[str]) -> None:
        for line in missing:
            if line not in self._missing:
                self._say(line)
        if len(missing) < len(self._missing):
            self._say("what was missing is in force now, and taken up within a checkpoint interval")
        self._missing = missing


def not_learnt(vertical: Vertical, folder: str) -> list[str]:
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


def behind_line(vertical: Vertical, query: str, standing: Standing) -> str:
    since = f"{standing.behind_since:%H:%M:%S} UTC" if standing.behind_since else "its start"
    return (
        f"query {query} is blind to what comes behind its watermark, {moment(standing.watermark)}: {standing.behind:,} times "
        f"since {since}, an event counting once for each window it would be in; "
        f"hybrid reconcile {vertical.name} adds the alerts that were lost"
    )


def moment(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S}" if time else "unknown"


def _named(queries: list[Query]) -> str:
    return ("query " if len(queries) == 1 else "queries ") + ", ".join(query.name for query in queries)
