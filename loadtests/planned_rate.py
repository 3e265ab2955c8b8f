"""Compares what the load tool sent with what was planned: where these differ, the figures are the tool's, not the system's."""

import time
from collections.abc import Mapping

SETTLING_SECONDS = 2  # after the first request, in which users are still being started


class Pace:
    """The planned rate by second of the clock (epoch seconds), and the share of it that was sent."""

    def __init__(self) -> None:
        self.planned: dict[int, float] = {}

    def plan(self, rate: float, now: float | None = None) -> None:
        """Plan `rate` events per second from now until the next call."""
        second = int(time.time() if now is None else now)
        newest = max(self.planned, default=None)
        for skipped_second in range(newest + 1 if newest is not None else second, second):
            self.planned[skipped_second] = self.planned[newest]  # type: ignore[index]
        self.planned[second] = rate

    def share(self, sent: Mapping[int, int], since: float = 0.0) -> float | None:
        """The share of the planned events that were sent, by `sent` per second; None while no second can be compared.

        Left out: the seconds before `since`, those in which users were being started, and the last, which is incomplete.
        """
        first = max(min(sent, default=0) + SETTLING_SECONDS, int(since))
        seconds = [second for second in self.planned if second >= first and second < max(self.planned)]
        planned = sum(self.planned[second] for second in seconds)
        return sum(sent.get(second, 0) for second in seconds) / planned if planned else None
