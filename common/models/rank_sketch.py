"""Measures how rare a number is among all earlier ones, in bounded memory."""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import log2, log10

BODY_SIZE = 256  # values that are kept of all
TAIL_SIZE = 48  # greatest values, and smallest ones, that are kept exactly
MEMORY_RECORDS = 20_000  # values after which half are forgotten
MAX_OCTAVES_BEYOND = 10.0


@dataclass
class RankSketch:
    """A sketch of all values learnt: the greatest and smallest exactly, of the others every `stride`-th (the body).

    two_sided: whether a small value is rare too. A rank from the body is right within some 3 percent points.
    """

    two_sided: bool
    count: float = 0.0
    stride: float = 1.0
    skipped: float = 0.0  # values since the last one that went into the body
    body: list[float] = field(default_factory=list)
    smallest: list[float] = field(default_factory=list)  # all three are ascending
    greatest: list[float] = field(default_factory=list)

    def rarity(self, value: float) -> float:
        """-log10 of the share of values at least as extreme as this one, plus the octaves by which it lies beyond all of them."""
        if self.count < 3:
            return 0.0
        above = self._at_or_above(value)
        if not self.two_sided:
            return -log10((above + 1) / (self.count + 1)) + self._octaves_above(value)
        rarer = min(above, self._at_or_below(value))
        return max(0.0, -log10(2 * (rarer + 1) / (self.count + 1))) + self._outside(value)

    def learn(self, value: float) -> None:
        self.count += 1
        _keep_extreme(self.greatest, value, from_end=True)
        if self.two_sided:
            _keep_extreme(self.smallest, value, from_end=False)
        self.skipped += 1
        if self.skipped >= self.stride:
            self.skipped = 0
            insort(self.body, value)
            if len(self.body) > BODY_SIZE:
                self.body = self.body[::2]
                self.stride *= 2
        if self.count >= MEMORY_RECORDS:
            self._forget_half()

    def _octaves_above(self, value: float) -> float:
        """By how many octaves the value is above the greatest one: log2 of their ratio; the most if that one is 0 or less."""
        greatest = self.greatest[-1]
        if value <= greatest:
            return 0.0
        return min(log2(value / greatest), MAX_OCTAVES_BEYOND) if greatest > 0 else MAX_OCTAVES_BEYOND

    def _outside(self, value: float) -> float:
        """By how many octaves the value lies outside of all values, measured from the median; 0 within them."""
        middle, low, high = self.body[len(self.body) // 2], self.smallest[0], self.greatest[-1]
        excess, room = (value - high, high - middle) if value > high else (low - value, middle - low)
        if excess <= 0:
            return 0.0
        return min(MAX_OCTAVES_BEYOND, log2(1 + excess / max(room, 1e-12 * abs(value) + 1e-300)))

    def _at_or_above(self, value: float) -> float:
        # Values equal to the least one of a full tail may lie outside the tail.
        if value > self.greatest[0] or len(self.greatest) < TAIL_SIZE:
            return len(self.greatest) - bisect_left(self.greatest, value)
        return max(len(self.greatest), self.count * (1 - bisect_left(self.body, value) / len(self.body)))

    def _at_or_below(self, value: float) -> float:
        if value < self.smallest[-1] or len(self.smallest) < TAIL_SIZE:
            return bisect_right(self.smallest, value)
        return max(len(self.smallest), self.count * bisect_right(self.body, value) / len(self.body))

    def _forget_half(self) -> None:
        self.count /= 2
        self.greatest = self.greatest[::-2][::-1]
        self.smallest = self.smallest[::2]
        self.stride = max(1.0, self.stride / 2)

    def state_numbers(self) -> list[float]:
        """The whole state; `restore` takes it back."""
        lists = (self.body, self.smallest, self.greatest)
        return [self.count, self.stride, self.skipped, *(number for values in lists for number in (float(len(values)), *values))]

    def restore(self, state_numbers: Iterator[float]) -> None:
        self.count, self.stride, self.skipped = next(state_numbers), next(state_numbers), next(state_numbers)
        lists = ([next(state_numbers) for _ in range(int(next(state_numbers)))] for _ in range(3))
        self.body, self.smallest, self.greatest = lists


def _keep_extreme(values: list[float], value: float, from_end: bool) -> None:
    """Insert the value if it is among the TAIL_SIZE greatest (from_end) or smallest ones."""
    if len(values) < TAIL_SIZE:
        insort(values, value)
    elif from_end and value > values[0]:
        values.pop(0)
        insort(values, value)
    elif not from_end and value < values[-1]:
        values.pop()
        insort(values, value)
