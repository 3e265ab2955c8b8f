"""Compares a benchmark's ratios with a stored run's.

Absolute times of different machines or days are not comparable; ratios to a yardstick measured in the same run are.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.errors import UserError

WORSE_SHARE = 0.2  # a ratio that falls by more than this counts as worse


class NotComparable(UserError):
    """The stored file is not the result of the same benchmark."""


@dataclass(frozen=True)
class Change:
    """A ratio of the earlier run and of this one, higher is better; None where it was not measured."""

    name: str
    earlier_ratio: float | None
    ratio: float | None

    @property
    def relative_change(self) -> float | None:
        """0.1: a tenth more than before."""
        return self.ratio / self.earlier_ratio - 1 if self.earlier_ratio and self.ratio is not None else None

    @property
    def is_worse(self) -> bool:
        """Also where the ratio now is NaN: that of a path none of whose alerts came."""
        return self.relative_change is not None and not self.relative_change >= -WORSE_SHARE


def read_ratios(path: Path, **options: Any) -> dict[str, float]:
    """The ratios in the JSON of an earlier run; raises NotComparable where that run did not have the same `options`."""
    try:
        results = json.loads(path.read_text())
        ratios = {str(name): float(ratio) for name, ratio in results["ratios"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
        raise NotComparable(f"{path}: not the JSON of a benchmark ({problem!r}); give one that `hybrid bench` wrote") from None
    differences = [f"{name} was {results.get(name)}, is {value}" for name, value in options.items() if results.get(name) != value]
    if differences:
        raise NotComparable(f"{path} is of another run: {', '.join(differences)}; ratios of two sizes do not compare")
    return ratios


def compare_ratios(earlier_ratios: Mapping[str, float], ratios: Mapping[str, float]) -> list[Change]:
    """A change for every ratio that either run has."""
    return [Change(name, earlier_ratios.get(name), ratios.get(name)) for name in dict.fromkeys((*earlier_ratios, *ratios))]
