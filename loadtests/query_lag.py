"""How far behind the archive and the detector's queries are, as far as their checkpoints beside us tell.

A query writes down how far it is when a batch ends. What runs in micro-batches has taken no more than that. A real-time query
takes records all the while and writes down once a checkpoint interval: its lag is known when a batch has just ended, and where
nothing has come since; in between only that it is no more than what has come since.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.kafka.lag import records_behind, slowest

KNOWN_SECONDS = 60.0  # for which the lag at which a real-time query's batch ended counts as what it is


class AtMost(int):
    """A number of records of which it is only known that it is not exceeded."""


@dataclass(frozen=True)
class Taken:
    """Per partition, the offset up to which a query's batches have ended, and when (epoch seconds) the last one did.

    Before the first has ended: none, and when the query was first started.
    """

    offsets: dict[int, int]
    at: float


def taken(checkpoint: Path, topic: str) -> Taken | None:
    """By the last batch that a checkpoint has as committed; None where there is no checkpoint of such a query."""
    commits = checkpoint / "commits"
    batches = [int(name.name) for name in commits.glob("[0-9]*") if name.name.isdecimal()]
    try:
        if not batches:
            return Taken({}, (checkpoint / "metadata").stat().st_mtime)
        last = str(max(batches))
        # A line for the version, one for the batch's metadata, then one for each source.
        sources = (checkpoint / "offsets" / last).read_text().splitlines()[2:]
        at = (commits / last).stat().st_mtime
    except FileNotFoundError:  # Spark removes old batches meanwhile
        return None
    offsets = slowest((source for source in sources if source.startswith("{")), topic)
    return Taken(offsets, at) if offsets else None


def lag(ends: dict[int, int], query: Taken | None, looked: float, is_real_time: bool) -> int:
    """Records that a query has yet to take, AtMost where no more is known; query None: nothing is known of it now.

    ends: of the topic, now. looked: when that was last asked (epoch seconds): a batch that ended since then ended just now.
    """
    if query is None:
        return AtMost(records_behind(ends, {}))
    behind = records_behind(ends, query.offsets)
    is_known = not is_real_time or not behind or (query.offsets and query.at >= looked)
    return behind if is_known else AtMost(behind)


class Lags:
    """The lags of several queries, from one look to the next. now: as the last look found them."""

    def __init__(self, began: float) -> None:
        self.now: dict[str, int] = {}
        self._looked = began
        self._known: dict[str, tuple[float, int]] = {}

    def look(self, at: float, ends: dict[int, int], queries: Mapping[str, tuple[Taken | None, bool]]) -> None:
        """at: epoch seconds; queries: by name what is known of each, and whether it runs in real time."""
        found = {name: lag(ends, query, self._looked, is_real_time) for name, (query, is_real_time) in queries.items()}
        for name, (query, _) in queries.items():
            # That nothing is behind because nothing came says nothing of how it does under load: a batch must have ended.
            if query and query.offsets and query.at >= self._looked:
                self._known[name] = at, found[name]
        self._looked, self.now = at, found

    def newest(self, at: float) -> dict[str, int]:
        """By query what was known last, where that was within KNOWN_SECONDS; else what is known now.

        None where nobody looked for so long, as when the broker or the checkpoints did not answer.
        """
        if at - self._looked > KNOWN_SECONDS:
            return {}
        known = {name: behind for name, (then, behind) in list(self._known.items()) if then >= at - KNOWN_SECONDS}
        return {name: known.get(name, behind) if isinstance(behind, AtMost) else behind for name, behind in self.now.items()}


def furthest(lags: Iterable[int]) -> int | None:
    """The greatest lag, AtMost where that is not known to be reached; None of none."""
    return max(lags, key=lambda each: (each, isinstance(each, AtMost)), default=None)


def told(behind: int) -> str:
    return f"unknown, at most {behind:,}" if isinstance(behind, AtMost) else f"{behind:,}"
