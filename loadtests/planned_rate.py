"""Compares what the load tool sent with what was planned: where these differ, the figures are the tool's, not the system's."""

import time
from collections.abc import Mapping

SETTLING_SECONDS = 2  # after the first request, in which users are still being started


class Pace:
    """The planned rate by second of the clock (epoch seconds), and the share of it that was sent."""

    def __init__(self) -> None:
        self.planned_rates: dict[int, float] = {}

    def plan(self, rate: float, now: float | None = None) -> None:
        """Plan `rate` events per second from now until the next call."""
        second = int(time.time() if now is None else now)
        newest_second = max(self.planned_rates, default=None)
        for skipped_second in range(newest_second + 1 if newest_second is not None else second, second):
            self.planned_rates[skipped_second] = self.planned_rates[newest_second]  # type: ignore[index]
        self.planned_rates[second] = rate

    def sent_share(self, sent_events: Mapping[int, int], since: float = 0.0) -> float | None:
        """The share of the planned events that were sent, by `sent_events` per second; None while no second can be compared.

        Left out: the seconds before `since`, those in which users were being started, and the last, which is incomplete.
        """
        first_second = max(min(sent_events, default=0) + SETTLING_SECONDS, int(since))
        seconds = [second for second in self.planned_rates if second >= first_second and second < max(self.planned_rates)]
        planned_events = sum(self.planned_rates[second] for second in seconds)
        return sum(sent_events.get(second, 0) for second in seconds) / planned_events if planned_events else None
