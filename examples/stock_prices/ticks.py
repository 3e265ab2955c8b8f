"""Simulates ticks of three shares with a known truth: one jump, and how late each tick comes."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

OPENING = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
SYMBOLS = {"ALFA": 120.0, "BETA": 35.0, "GAMMA": 410.0}  # and their first prices
TICK_SECONDS = 5.0  # between two ticks of a share
VOLATILITY = 0.0002  # standard deviation of a tick's return
JUMP_SYMBOL, JUMP_MINUTE, JUMP = "BETA", 45, -0.03
SLIGHTLY_LATE, TOO_LATE = timedelta(seconds=50), timedelta(minutes=9)  # of one tick in 50, and of one in 400


@dataclass(frozen=True)
class Tick:
    """One trade. time: when it was made; arrival_time: when it is sent, seldom later than at once."""

    tick_id: str
    symbol: str
    price: float
    size: int
    time: datetime
    arrival_time: datetime

    @property
    def as_json(self) -> bytes:
        fields = asdict(self) | {"time": f"{self.time:%Y-%m-%dT%H:%M:%S.%fZ}"}
        del fields["arrival_time"]
        return json.dumps(fields).encode()


def day_of_ticks(seed: int, minutes: int, with_jump: bool) -> list[Tick]:
    """The ticks of so many minutes from the opening on, in their order of arrival. The same seed gives the same ticks."""
    rng = np.random.default_rng(seed)
    ticks = [tick for symbol in SYMBOLS for tick in _ticks_of_symbol(rng, symbol, minutes, with_jump)]
    return sorted(ticks, key=lambda tick: (tick.arrival_time, tick.tick_id))


def _ticks_of_symbol(rng: np.random.Generator, symbol: str, minutes: int, with_jump: bool) -> Iterator[Tick]:
    count = int(minutes * 60 / TICK_SECONDS)
    returns = rng.normal(0.0, VOLATILITY, count)
    if with_jump and symbol == JUMP_SYMBOL:
        returns[int((JUMP_MINUTE + 0.5) * 60 / TICK_SECONDS)] += JUMP
    prices = SYMBOLS[symbol] * np.exp(np.cumsum(returns))
    quantiles = rng.random(count)
    for number, price in enumerate(prices):
        time = OPENING + timedelta(seconds=number * TICK_SECONDS)
        delay = TOO_LATE if quantiles[number] < 1 / 400 else SLIGHTLY_LATE if quantiles[number] < 1 / 50 else timedelta(0)
        yield Tick(f"{symbol}-{number}", symbol, round(float(price), 2), int(rng.integers(1, 500)), time, time + delay)
