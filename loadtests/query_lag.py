"""Computes how far behind the archive and the detector's queries are, as far as their checkpoints on this machine show.

A query writes its position down when a batch ends. In micro-batches, it has taken no more than that. A real-time query takes
records all the time and writes its position down once a checkpoint interval: its lag is known exactly when a batch has just
ended, and while no record comes; in between there is only an upper bound, all records since its last position.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from common.kafka.lag import least_offsets, records_behind

EXACT_LAG_SECONDS = 60.0  # for which the exact lag at the end of a real-time query's batch is used


class AtMost(int):
    """A number of records that is only an upper bound."""


@dataclass(frozen=True)
class QueryPosition:
    """Per partition, the offset up to which a query's batches have ended, and when (epoch seconds) the last one did.

    Before the first batch has ended: no offsets, and when the query was first started.
    """

    offsets: dict[int, int]
    time: float


def read_position(checkpoint: Path, topic: str) -> QueryPosition | None:
    """By the last batch that a checkpoint has as committed; None where there is no checkpoint of a query on `topic`."""
    commits = checkpoint / "commits"
    batches = [int(path.name) for path in commits.glob("[0-9]*") if path.name.isdecimal()]
    try:
        if not batches:
            return QueryPosition({}, (checkpoint / "metadata").stat().st_mtime)
        last_batch = str(max(batches))
        # A line for the version, one for the batch's metadata, then one for each source.
        sources = (checkpoint / "offsets" / last_batch).read_text().splitlines()[2:]
        commit_time = (commits / last_batch).stat().st_mtime
    except FileNotFoundError:  # Spark removes old batches meanwhile
        return None
    offsets = least_offsets((source for source in sources if source.startswith("{")), topic)
    return QueryPosition(offsets, commit_time) if offsets else None


def read_positions(checkpoints: Path, topic: str, real_time: Mapping[str, bool]) -> dict[str, tuple[QueryPosition | None, bool]]:
    """By query its position and whether it runs in real time, as `LagTracker` takes them; empty where none has a checkpoint.

    Where some have one, the position of a query without one is unknown: it may be the one that is furthest behind.
    """
    if not any((checkpoints / name).exists() for name in real_time):
        return {}
    return {name: (read_position(checkpoints / name, topic), is_real_time) for name, is_real_time in real_time.items()}


def compute_lag(ends: dict[int, int], position: QueryPosition | None, last_update: float, is_real_time: bool) -> int:
    """Records that a query has yet to take, AtMost where only a bound is known; position None: it cannot be read now.

    ends: of the topic, now. last_update: when they were read before (epoch seconds): a batch that ended since ended just now.
    """
    if position is None:
        return AtMost(records_behind(ends, {}))
    lag = records_behind(ends, position.offsets)
    is_exact = not is_real_time or not lag or (position.offsets and position.time >= last_update)
    return lag if is_exact else AtMost(lag)


class LagTracker:
    """The lags of several queries, from one update to the next. current: as of the last update, by query."""

    def __init__(self, started_at: float) -> None:
        self.current: dict[str, int] = {}
        self._last_update = started_at
        self._exact_lags: dict[str, tuple[float, int]] = {}

    def update(self, now: float, ends: dict[int, int], queries: Mapping[str, tuple[QueryPosition | None, bool]]) -> None:
        """now: epoch seconds; queries: by name its position, and whether it runs in real time."""
        lags = {
            name: compute_lag(ends, position, self._last_update, is_real_time)
            for name, (position, is_real_time) in queries.items()
        }
        for name, (position, _) in queries.items():
            # That nothing is behind because nothing came says nothing of how it does under load: a batch must have ended.
            if position and position.offsets and position.time >= self._last_update:
                self._exact_lags[name] = now, lags[name]
        self._last_update, self.current = now, lags

    def newest_lags(self, now: float) -> dict[str, int]:
        """By query its last exact lag, where that is from within EXACT_LAG_SECONDS; else the bound of the last update.

        Empty where there was no update for so long, as when the broker or the checkpoints did not answer.
        """
        if now - self._last_update > EXACT_LAG_SECONDS:
            return {}
        exact_lags = {name: lag for name, (time, lag) in list(self._exact_lags.items()) if time >= now - EXACT_LAG_SECONDS}
        return {name: exact_lags.get(name, lag) if isinstance(lag, AtMost) else lag for name, lag in self.current.items()}


def greatest_lag(lags: Iterable[int]) -> int | None:
    """The greatest lag, AtMost where a bound is the greatest; None where there are none."""
    return max(lags, key=lambda lag: (lag, isinstance(lag, AtMost)), default=None)


def format_lag(lag: int) -> str:
    return f"unknown, at most {lag:,}" if isinstance(lag, AtMost) else f"{lag:,}"
