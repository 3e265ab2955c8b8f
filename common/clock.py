"""The machine's clock, which may be set back: times that say what came after what, and noticing that it happened."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from common.errors import UserError

TOLERATED = 5.0  # seconds that a clock may go back unnoticed


class ClockSetBack(UserError):
    """The machine's clock was set back under a running stream."""


def after(earlier: datetime | None) -> datetime:
    """Now; or, where the clock was set back since `earlier` was written down, the moment after that."""
    now = datetime.now(UTC)
    return now if earlier is None else max(now, earlier + timedelta(microseconds=1))


class ClockWatch:
    """Compares the clock of day with one that only runs on. Ahead it may be set as it likes."""

    def __init__(self, of_day: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._of_day, self._steady = of_day, steady
        self._ahead = of_day() - steady()

    def check(self) -> None:
        """Raises ClockSetBack where the clock of day went back since the last look.

        Spark begins each micro-batch and each checkpoint at a time of day: a stream would now wait until that has come again.
        """
        ahead = self._of_day() - self._steady()
        if self._ahead - ahead > TOLERATED:
            raise ClockSetBack(
                f"the machine's clock was set back by {timedelta(seconds=round(self._ahead - ahead))}, and streams would wait "
                "until it has caught up: start this again, it goes on where it was; nothing is lost"
            )
        self._ahead = ahead
