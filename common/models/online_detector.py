"""Detects anomalies online in any metric series: it scores record by record, without look-ahead and without tuning per series.

Views of the series (where it stands, how it moves, how it differs from its own time of day) are each ranked among all
their own earlier values; a view's rarity is -log10 of its rank, so that it has resolution in the tail and no unit. The
score is the root mean square of the eight slow views, or the share INSTANT of the quick one, whichever is more:
several views that are somewhat rare at once are an anomaly, and so is one instant that is very rare. A tenth view, the value
itself, counts only through one of the eight: how rare the last values were on average.

The idea of likelihoods over raw surprises follows Numenta's anomaly likelihood (Ahmad et al., Neurocomputing 262, 2017); the
interface is that of river's detectors. The state is bounded and plain, some 2,500 to 3,500 numbers: `state_numbers` and
`from_state_numbers` carry it through Spark's state store.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import sqrt
from typing import NamedTuple

from common.models.rank_sketch import RankSketch

THRESHOLD = 2.08  # of a score; the README of telecom_anomaly says how it was chosen
INSTANT = 0.8
DAY_S = 86_400
SLOTS = 48  # of a day's profile
SLOT_WEIGHT = 0.2  # of a record in its slot, for a record as long as a slot or longer
QUIET_SHARE = 0.05  # of the records learnt so far: how long an alarm suppresses the next one,
QUIET_RECORDS = (10, 400)  # within these bounds,
STRONGER = 1.3  # unless the next is so many times stronger
SHORT, MEDIUM, LONG = 12, 24, 48  # records

VIEWS = {  # name: whether small values are rare too
    "level": True,
    "change": False,
    "restlessness": False,
    "short_range": True,
    "long_range": True,
    "surprises": False,
    "daily_short": False,
    "daily_long": False,
    "instant": True,
    "value": True,
}


@dataclass
class Ema:
    """Exponential moving average over about `span` records; a plain mean of the first `span`."""

    span: int
    mean: float = 0.0
    count: float = 0.0

    def mean_with(self, value: float) -> float:
        """The mean if `value` were the next record."""
        return self.mean + (value - self.mean) * max(2 / (self.span + 1), 1 / (self.count + 1))

    def learn(self, value: float) -> None:
        self.mean, self.count = self.mean_with(value), self.count + 1


def _averages() -> dict[str, Ema]:
    spans = {"level": MEDIUM, "restlessness": 6, "surprises": SHORT, "daily_short": 6, "daily_long": MEDIUM}
    return {name: Ema(span) for name, span in spans.items()}


class _Reading(NamedTuple):
    """A record beside the series learnt so far."""

    time: float
    value: float
    inputs: dict[str, float]  # what each average would learn
    views: dict[str, float]  # what each rank sketch would learn
    rarity: float


@dataclass
class OnlineDetector:
    """Detects anomalies in one series, by the interface of river's detectors: `score_one` scores a record and learns nothing,
    `learn_one` learns it. Call both for every record once, in order of time, `score_one` first.
    """

    threshold: float = THRESHOLD
    count: float = 0.0  # records learnt
    last_time: float = 0.0
    last_value: float = 0.0
    quiet: float = 0.0  # records for which an alarm still suppresses others
    last_alarm: float = 0.0  # its score
    averages: dict[str, Ema] = field(default_factory=_averages)
    ranks: dict[str, RankSketch] = field(
        default_factory=lambda: {name: RankSketch(two_sided) for name, two_sided in VIEWS.items()}
    )
    profile: list[float] = field(default_factory=lambda: [float("nan")] * SLOTS)
    values: deque[float] = field(default_factory=lambda: deque(maxlen=LONG))
    levels: deque[float] = field(default_factory=lambda: deque(maxlen=MEDIUM))
    # Of the record that was scored last: `learn_one` needs what `score_one` computed.
    _reading: _Reading | None = field(default=None, repr=False, compare=False)

    def score_one(self, time: float, value: float) -> float:
        """The record's score; 0 while a recent alarm suppresses it. An alarm is a score >= threshold. Learns nothing.

        time: seconds since the epoch, UTC (its time of day counts). value: any finite number, any unit.
        """
        rarity = self._read(time, value).rarity
        return 0.0 if self._is_suppressed(rarity) else rarity

    def learn_one(self, time: float, value: float) -> None:
        """Learn the record, its alarm included if its score is one."""
        reading = self._read(time, value)
        is_alarm = reading.rarity >= self.threshold and not self._is_suppressed(reading.rarity)
        for name, average_input in reading.inputs.items():
            self.averages[name].learn(average_input)
        for name, view in reading.views.items():
            self.ranks[name].learn(view)
        self.values.append(value)
        self.levels.append(reading.views["level"])
        self._learn_profile(time, value)
        self.count, self.last_time, self.last_value, self._reading = self.count + 1, time, value, None
        self.quiet = max(0.0, self.quiet - 1)
        if is_alarm:
            shortest, longest = QUIET_RECORDS
            self.quiet = min(longest, max(shortest, QUIET_SHARE * self.count))
            self.last_alarm = reading.rarity

    def _is_suppressed(self, rarity: float) -> bool:
        """Whether a recent alarm suppresses a record of this rarity."""
        return self.quiet > 1 and (rarity < self.threshold or rarity < STRONGER * self.last_alarm)

    def _read(self, time: float, value: float) -> _Reading:
        reading = self._reading
        if reading is None or (reading.time, reading.value) != (time, value):
            self._reading = reading = self._compute(time, value)
        return reading

    def _compute(self, time: float, value: float) -> _Reading:
        """Views and rarity of a record; the state stays as it is."""
        averages = self.averages
        residual = self._residual(time, value)
        inputs = {
            "level": value, "restlessness": abs(value - self.last_value) if self.count else 0.0,
            "surprises": self.ranks["value"].rarity(value), "daily_short": residual, "daily_long": residual,
        }  # fmt: skip
        means = {name: averages[name].mean_with(average_input) for name, average_input in inputs.items()}
        recent = [*self.values, value][-LONG:]
        slow_views = {
            "surprises": means["surprises"],
            "level": means["level"],
            "change": abs(means["level"] - (self.levels[0] if self.levels else means["level"])),
            "restlessness": means["restlessness"],
            "short_range": max(recent[-SHORT:]) - min(recent[-SHORT:]),
            "long_range": max(recent) - min(recent),
            "daily_short": abs(means["daily_short"]),
            "daily_long": abs(means["daily_long"]),
        }
        instant = residual - (averages["daily_short"].mean if self.count else residual)
        rarities = [self.ranks[name].rarity(view) for name, view in slow_views.items()]
        slow = sqrt(sum(rarity * rarity for rarity in rarities) / len(rarities))
        rarity = max(slow, INSTANT * self.ranks["instant"].rarity(instant))
        return _Reading(time, value, inputs, slow_views | {"instant": instant, "value": value}, rarity)

    def _residual(self, time: float, value: float) -> float:
        """Value over the usual one at this time of day; 0 in a slot of the day without records so far."""
        usual = self.profile[_slot(time)]
        return 0.0 if usual != usual else value - usual  # NaN: no record so far

    def _learn_profile(self, time: float, value: float) -> None:
        """Move the usual value at this time of day towards the record."""
        slot = _slot(time)
        usual = self.profile[slot]
        if usual != usual:  # NaN
            self.profile[slot] = value
        else:
            interval = time - self.last_time
            self.profile[slot] += (value - usual) * SLOT_WEIGHT * min(1.0, max(interval, 1.0) * SLOTS / DAY_S)

    def state_numbers(self) -> list[float]:
        """The whole state as numbers, for a state store."""
        counters = [self.threshold, self.count, self.last_time, self.last_value, self.quiet, self.last_alarm]
        averages = [number for ema in self.averages.values() for number in (ema.mean, ema.count)]
        recent = [number for values in (self.values, self.levels) for number in (float(len(values)), *values)]
        ranks = chain.from_iterable(rank.state_numbers() for rank in self.ranks.values())
        return [*counters, *averages, *self.profile, *recent, *ranks]

    @classmethod
    def from_state_numbers(cls, state_numbers: Sequence[float]) -> "OnlineDetector":
        """The detector that gave these `state_numbers`, its threshold included."""
        remaining = iter(state_numbers)
        detector = cls(next(remaining), next(remaining), next(remaining), next(remaining), next(remaining), next(remaining))
        for ema in detector.averages.values():
            ema.mean, ema.count = next(remaining), next(remaining)
        detector.profile = [next(remaining) for _ in range(SLOTS)]
        for values in (detector.values, detector.levels):
            values.extend([next(remaining) for _ in range(int(next(remaining)))])
        for rank in detector.ranks.values():
            rank.restore(remaining)
        return detector


def _slot(time: float) -> int:
    """Which of the day's SLOTS a time is in."""
    return int(time % DAY_S / DAY_S * SLOTS)
