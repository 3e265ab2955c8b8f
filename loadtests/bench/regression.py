"""A run's ratios beside those of an earlier one: absolute times of two runs say little, their ratios to a yardstick do."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError

FALL = 0.2  # of a ratio, from which it counts as worse


class NotComparable(UserError):
    """What is stored is not the result of the same benchmark."""


@dataclass(frozen=True)
class Change:
    """A ratio then and now, higher is better; None where it was measured in one of the runs only."""

    name: str
    before: float | None
    now: float | None

    @property
    def share(self) -> float | None:
        """0.1: a tenth more than before."""
        return self.now / self.before - 1 if self.before and self.now is not None else None

    @property
    def is_worse(self) -> bool:
        """Also where there is no figure now: a path that found nothing has a ratio of NaN."""
        return self.share is not None and not self.share >= -FALL


def stored_ratios(path: Path, **asked: Any) -> dict[str, float]:
    """The ratios in the JSON of an earlier run; raises NotComparable where that run was not `asked` for the same."""
    try:
        stored = json.loads(path.read_text())
        ratios = {str(name): float(ratio) for name, ratio in stored["ratios"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise NotComparable(f"{path}: not the JSON of a benchmark ({problem!r}); give one that `hybrid bench` wrote") from None
    other = [f"{name} was {stored.get(name)}, is {value}" for name, value in asked.items() if stored.get(name) != value]
    if other:
        raise NotComparable(f"{path} is of another run: {', '.join(other)}; ratios of two sizes do not compare")
    return ratios


def changes(before: Mapping[str, float], now: Mapping[str, float]) -> list[Change]:
    """Of every ratio that either run has."""
    return [Change(name, before.get(name), now.get(name)) for name in dict.fromkeys((*before, *now))]
