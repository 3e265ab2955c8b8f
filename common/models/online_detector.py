"""One online anomaly detector for any metric series: a score per record, no look-ahead, nothing to tune per series.

Views of the series (where it stands, how it moves, how it differs from its own time of day) are each ranked among all
their own earlier values; a view's rarity is -log10 of its rank, so that it has resolution in the tail and no unit. The
score is the root mean square of the eight slow views, or the share INSTANT of the quick one, whichever is more:
several views that are somewhat rare at once are an anomaly, and so is one instant that is very rare. A tenth view, the value
itself, counts only through one of the eight: how rare the last values were on average.

The idea of likelihoods over raw surprises follows Numenta's anomaly likelihood (Ahmad et al., Neurocomputing 262, 2017).
State is bounded (some 2,500 to 3,500 numbers) and plain: `numbers` and `restored` carry it through Spark's state store.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from math import sqrt

from common.models.rank_sketch import RankSketch

THRESHOLD = 2.08         # of a score; chosen as README says
INSTANT = 0.8
DAY_S = 86_400
SLOTS = 48               # of a day's profile
SLOT_WEIGHT = 0.2        # of a record in its slot, for a record as long as a slot or longer
QUIET_SHARE = 0.05       # of the records seen: how long an alarm keeps the next one down,
QUIET_RECORDS = (10, 400)
STRONGER = 1.3           # unless that is so many times stronger
SHORT, MEDIUM, LONG = 12, 24, 48

VIEWS = {                # name: whether small values are rare too
    "level": True, "change": False, "restlessness": False, "short_range": True, "long_range": True,
    "surprises": False, "daily_short": False, "daily_long": False, "instant": True, "value": True,
}


@dataclass
class Ema:
    """Exponential moving average of about `span` records; a plain mean until it has seen that many."""

    span: int
    mean: float = 0.0
    count: float = 0.0

    def learn(self, value: float) -> float:
        self.count += 1
        self.mean += (value - self.mean) * max(2 / (self.span + 1), 1 / self.count)
        return self.mean


def _averages() -> dict[str, Ema]:
    spans = {"level": MEDIUM, "restlessness": 6, "surprises": SHORT, "daily_short": 6, "daily_long": MEDIUM}
    return {name: Ema(span) for name, span in spans.items()}


@dataclass
class OnlineDetector:
    """Scores one series; feed it every record once, in order of time, through `score_one`."""

    threshold: float = THRESHOLD
    count: float = 0.0
    last_time: float = 0.0
    last_value: float = 0.0
    quiet: float = 0.0           # records for which an alarm still keeps others down
    last_alarm: float = 0.0      # its score
    averages: dict[str, Ema] = field(default_factory=_averages)
    ranks: dict[str, RankSketch] = field(default_factory=lambda: {name: RankSketch(two_sided) for name, two_sided in VIEWS.items()})
    profile: list[float] = field(default_factory=lambda: [float("nan")] * SLOTS)
    values: deque[float] = field(default_factory=lambda: deque(maxlen=LONG))
    levels: deque[float] = field(default_factory=lambda: deque(maxlen=MEDIUM))

    def score_one(self, time: float, value: float) -> float:
        """The record's score before it is learnt; 0 while a recent alarm keeps it down. An alarm is a score >= threshold.

        time: seconds since the epoch, UTC (its time of day counts). value: any finite number, any unit.
        """
        score = self.rarity(time, value)
        self.quiet = max(0.0, self.quiet - 1)
        if score >= self.threshold:
            if self.quiet and score < STRONGER * self.last_alarm:
                return 0.0
            shortest, longest = QUIET_RECORDS
            self.quiet = min(longest, max(shortest, QUIET_SHARE * self.count))
            self.last_alarm = score
        return score if not self.quiet or score >= self.threshold else 0.0

    def rarity(self, time: float, value: float) -> float:
        """The score without regard to alarms just raised."""
        rarities = {}
        for name, view in self._views(time, value):
            rarities[name] = self.ranks[name].rarity(view)
            self.ranks[name].learn(view)
            if name == "value":
                surprises = self.averages["surprises"].learn(rarities.pop("value"))
                rarities["surprises"] = self.ranks["surprises"].rarity(surprises)
                self.ranks["surprises"].learn(surprises)
        instant = rarities.pop("instant")
        self.count, self.last_time, self.last_value = self.count + 1, time, value
        return max(sqrt(sum(rarity * rarity for rarity in rarities.values()) / len(rarities)), INSTANT * instant)

    def _views(self, time: float, value: float) -> Iterator[tuple[str, float]]:
        """Name and value of each of VIEWS but "surprises", which is made of the rarity of "value"."""
        averages = self.averages
        yield "value", value
        self.values.append(value)
        level = averages["level"].learn(value)
        yield "level", level
        before = self.levels[0] if self.levels else level
        self.levels.append(level)
        yield "change", abs(level - before)
        yield "restlessness", averages["restlessness"].learn(abs(value - self.last_value) if self.count else 0.0)
        recent = list(self.values)
        yield "short_range", max(recent[-SHORT:]) - min(recent[-SHORT:])
        yield "long_range", max(recent) - min(recent)
        residual = self._residual(time, value)
        usual = averages["daily_short"].mean if self.count else residual
        yield "instant", residual - usual
        yield "daily_short", abs(averages["daily_short"].learn(residual))
        yield "daily_long", abs(averages["daily_long"].learn(residual))

    def _residual(self, time: float, value: float) -> float:
        """Value over the usual one at this time of day, which then moves towards it; 0 in a slot never seen."""
        slot = int(time % DAY_S / DAY_S * SLOTS)
        usual = self.profile[slot]
        if usual != usual:  # NaN
            self.profile[slot] = value
            return 0.0
        interval = time - self.last_time
        self.profile[slot] += (value - usual) * SLOT_WEIGHT * min(1.0, max(interval, 1.0) * SLOTS / DAY_S)
        return value - usual

    def numbers(self) -> list[float]:
        """The whole state as numbers, for a state store."""
        plain = [self.threshold, self.count, self.last_time, self.last_value, self.quiet, self.last_alarm]
        averages = [number for ema in self.averages.values() for number in (ema.mean, ema.count)]
        recent = [number for values in (self.values, self.levels) for number in (float(len(values)), *values)]
        return [*plain, *averages, *self.profile, *recent, *chain.from_iterable(rank.numbers() for rank in self.ranks.values())]

    @classmethod
    def restored(cls, numbers: Sequence[float]) -> "OnlineDetector":
        """The detector whose `numbers` these were, its threshold included."""
        left = iter(numbers)
        detector = cls(next(left), next(left), next(left), next(left), next(left), next(left))
        for ema in detector.averages.values():
            ema.mean, ema.count = next(left), next(left)
        detector.profile = [next(left) for _ in range(SLOTS)]
        for values in (detector.values, detector.levels):
            values.extend([next(left) for _ in range(int(next(left)))])
        for rank in detector.ranks.values():
            rank.restore(left)
        return detector
