"""Times that stay in order, and an error for running streams, where the machine's clock is set back."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from common.errors import UserError

TOLERATED_SECONDS = 5.0  # by so many seconds the clock may go back without an error


class ClockSetBack(UserError):
    """The machine's clock was set back under a running stream."""


def now_after(earlier: datetime | None) -> datetime:
    """The current time, or 1 µs after `earlier` where the clock was set back since then."""
    now = datetime.now(UTC)
    return now if earlier is None else max(now, earlier + timedelta(microseconds=1))


class ClockWatch:
    """Compares the wall clock with a monotonic one, to notice that it was set back. It may be set ahead by any time."""

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        self._wall, self._steady = wall, steady
        self._lead = wall() - steady()  # of the wall clock over the monotonic one, in seconds

    def check(self) -> None:
        """Raises ClockSetBack where the wall clock went back since the last check.

        Spark begins each micro-batch and each checkpoint at a wall-clock time: a stream would wait until that time comes again.
        """
        lead = self._wall() - self._steady()
        if self._lead - lead > TOLERATED_SECONDS:
            raise ClockSetBack(
                f"the machine's clock was set back by {timedelta(seconds=round(self._lead - lead))}, and streams would wait "
                "until it has caught up: start this again, it goes on where it was; nothing is lost"
            )
        self._lead = lead
