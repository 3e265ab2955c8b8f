"""How far behind the archive and the detector's queries are, from their checkpoints beside us.

A query says how far it is when a batch ends, and for a real-time query that is once a checkpoint interval. So what it had
yet to take is reckoned for the moment at which its last batch ended, or it began, by the topic's ends at that moment. Once it
has been silent for longer than two intervals that moment moves on, and what stands still falls behind.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from common.ingestion.lag import records_behind, slowest

SAMPLES = 1_200  # of the topic's ends; one or two seconds apart


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


class Ends:
    """The topic's end offsets over time."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=SAMPLES)
        self._ends: deque[dict[int, int]] = deque(maxlen=SAMPLES)

    def add(self, at: float, ends: dict[int, int]) -> None:
        self._times.append(at)
        self._ends.append(ends)

    def at(self, moment: float) -> dict[int, int]:
        """As they were at `moment`, or at the first look after which we know them."""
        return self._ends[max(0, bisect_right(self._times, moment) - 1)]


def lag(ends: Ends, query: Taken | None, now: float, interval: float) -> int:
    """Records that a query had yet to take; interval: seconds in which it should report."""
    moment = now if query is None else max(query.at, now - 2 * interval)
    return records_behind(ends.at(moment), query.offsets if query else {})
