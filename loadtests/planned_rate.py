"""Whether the load tool sent what was planned: otherwise the figures are the tool's and not the system's."""

import time
from collections.abc import Mapping

SETTLING = 2  # seconds after the first request in which users are still being started


class Pace:
    """What was planned, by second of the clock."""

    def __init__(self) -> None:
        self.planned: dict[int, float] = {}

    def plan(self, rate: float, now: float | None = None) -> None:
        """The rate from now until the next call."""
        second = int(time.time() if now is None else now)
        before = max(self.planned, default=None)
        for between in range(before + 1 if before is not None else second, second):
            self.planned[between] = self.planned[before]  # type: ignore[index]
        self.planned[second] = rate

    def share(self, sent: Mapping[int, int], since: float = 0.0) -> float | None:
        """Of the planned events those that were sent, by `sent` per second; None when nothing can be compared yet.

        Left out: the seconds before `since`, those in which users were being started, and the last, which is not whole.
        """
        first = max(min(sent, default=0) + SETTLING, int(since))
        seconds = [second for second in self.planned if second >= first and second < max(self.planned)]
        planned = sum(self.planned[second] for second in seconds)
        return sum(sent.get(second, 0) for second in seconds) / planned if planned else None
