"""The load at which a latency is measured."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SteadyLoad:
    """Events per second, for `warm_up_seconds` that are left out of the figures and then for `seconds` that count."""

    rate: float
    warm_up_seconds: float
    seconds: float

    @property
    def total_seconds(self) -> float:
        return self.warm_up_seconds + self.seconds
