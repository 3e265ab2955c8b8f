"""Specifies the simulation that a benchmark or a chaos run generates its events from."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from common.simulation.generated_events import GeneratedEvents
from common.simulation.messages import Messages
from common.vertical import Vertical

MAX_DAYS = 100_000


@dataclass(frozen=True)
class SimulationSpec:
    """A vertical's population, simulated from `seed`; its days begin at `start`."""

    population: Any
    seed: int
    start: date

    def after(self, days: int) -> "SimulationSpec":
        """The same simulation from `days` days later on."""
        return replace(self, start=self.start + timedelta(days=days))

    def after_messages(self, messages: list[Messages]) -> "SimulationSpec":
        """The same simulation from the day after the last message on."""
        newest: date = messages[-1].arrival_time[-1].astype("datetime64[D]").item()
        return replace(self, start=newest + timedelta(days=1))

    def generate(self, vertical: Vertical, with_dirt: bool = True) -> Iterator[GeneratedEvents]:
        """Chunks, day by day, without end; without dirt no event is broken or repeated."""
        return vertical.generate(self.seed, self.start, MAX_DAYS, self.population, with_dirt)
