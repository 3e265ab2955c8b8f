"""Computes the rate at each second of a load test, by shapes: functions (seconds, low, high, length) -> events per second.

seconds: since the start; low, high: rates between which the shape moves; length: of the shape, in seconds.
"""

import math
from collections.abc import Callable

Shape = Callable[[float, float, float, float], float]

# A day's traffic by hour as shares of its peak: a quiet night, a busy noon, the busiest hour in the evening.
HOURLY_SHARES = (0.30, 0.20, 0.14, 0.11, 0.10, 0.14, 0.25, 0.42, 0.58, 0.68, 0.75, 0.82,
                 0.88, 0.84, 0.78, 0.76, 0.80, 0.88, 0.96, 1.00, 0.96, 0.82, 0.62, 0.44)  # fmt: skip


def constant(seconds: float, low: float, high: float, length: float) -> float:
    """The highest rate throughout."""
    return high


def ramp(seconds: float, low: float, high: float, length: float) -> float:
    """From the lowest to the highest in a straight line."""
    return low + (high - low) * min(1.0, seconds / length)


def spike(seconds: float, low: float, high: float, length: float) -> float:
    """The lowest rate, and in the third of five equal parts at once the highest."""
    return high if 2 / 5 <= seconds / length < 3 / 5 else low


def day(seconds: float, low: float, high: float, length: float) -> float:
    """24 hours in `length` seconds, between the lowest rate at night and the highest in the evening."""
    hour = seconds / length * 24
    hourly_share, next_hourly_share = HOURLY_SHARES[int(hour) % 24], HOURLY_SHARES[(int(hour) + 1) % 24]
    hourly_share += (next_hourly_share - hourly_share) * (hour - int(hour))
    lowest = min(HOURLY_SHARES)
    return low + (high - low) * (hourly_share - lowest) / (1 - lowest)


SHAPES: dict[str, Shape] = {"constant": constant, "ramp": ramp, "spike": spike, "day": day}


def users_for(rate: float, per_user: float, processes: int) -> int:
    """Users that make at least `rate`; a multiple of the processes, because those walk through one simulation in step."""
    users_per_process = math.ceil(round(rate / per_user, 6) / processes)
    return max(1, users_per_process) * processes


class LimitSearch:
    """Searches the highest rate at which the objectives hold: starts low, holds each rate for a step, raises it by `factor`.

    rate: the present one. sustained_rate: the last that held (None: none did). misses: the objectives that ended the search.
    """

    def __init__(self, low: float, high: float, factor: float = 1.25) -> None:
        self.rate, self.high, self.factor = low, high, factor
        self.sustained_rate: float | None = None
        self.misses: list[str] = []

    def finish_step(self, misses: list[str]) -> bool:
        """Take the objectives that were missed in the step that ended; True when there is another step, at `rate`."""
        if misses:
            self.misses = misses
            return False
        self.sustained_rate = self.rate
        if self.rate >= self.high:
            return False
        self.rate = min(self.high, self.rate * self.factor)
        return True

    def summary(self) -> str:
        if self.sustained_rate is None:
            result_text = "no rate held"
        else:
            result_text = f"the last rate that held: {self.sustained_rate:,.0f} events/s"
        if self.misses:
            return f"{result_text}; at {self.rate:,.0f} events/s: {'; '.join(self.misses)}"
        return f"{result_text}, the highest that was asked for: raise --rate to look further"
