"""What the card job must find, computed apart from every engine: all prefixes of all windows at once, with pandas."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from loadtests.bench.peers.card_rules import AMOUNT, VELOCITY, ZSCORE, alert_id


@dataclass(frozen=True)
class Thresholds:
    """When a window raises an alert. amount_cents: of the largest amount; zscore: of the largest, with `least_events` or more."""

    velocity: int = 6
    amount_cents: int = 50_000
    zscore: float = 1.5
    least_events: int = 4


@dataclass(frozen=True)
class CardJob:
    """The job's numbers. Seconds; event times that are `watermark_seconds` behind the newest may be left out by an engine."""

    thresholds: Thresholds = Thresholds()
    window_seconds: int = 600
    watermark_seconds: int = 6 * 3_600

    def values(self) -> dict[str, Any]:
        """As an engine's script gets them."""
        return asdict(self.thresholds) | {"window_seconds": self.window_seconds, "watermark_seconds": self.watermark_seconds}


EVERY_EVENT = Thresholds(velocity=1, amount_cents=10**12, zscore=1e9)
"""For latency: an alert for every event, and by one rule only."""


def expected_alerts(rows: pd.DataFrame, job: CardJob) -> set[str]:
    """Ids of the alerts on `rows` (card_id, amount, event_time), which are in the order in which their cards' events come."""
    seen = so_far(rows, job)
    limits = job.thresholds
    hits = {
        VELOCITY: seen["count"] >= limits.velocity,
        AMOUNT: seen["largest"] >= limits.amount_cents,
        ZSCORE: (seen["count"] >= limits.least_events) & (seen["zscore"] >= limits.zscore),
    }
    return {
        alert_id(rule, card, start)
        for rule, hit in hits.items()
        for card, start in seen.loc[hit, ["card_id", "start"]].drop_duplicates().itertuples(index=False)
    }


def so_far(rows: pd.DataFrame, job: CardJob) -> pd.DataFrame:
    """card_id, start, and after each event its window's count, total, squares, largest and zscore (NaN where undefined)."""
    seconds = rows["event_time"].astype("datetime64[ns, UTC]").astype("int64") // 10**9
    cents = (rows["amount"] * 100 + 0.5).astype("int64")
    seen = pd.DataFrame({"card_id": rows["card_id"], "start": seconds - seconds % job.window_seconds, "cents": cents})
    seen["squares"] = cents**2
    windows = seen.groupby(["card_id", "start"], sort=False)
    seen["count"] = windows.cumcount() + 1
    seen["total"], seen["largest"] = windows["cents"].cumsum(), windows["cents"].cummax()
    seen["squares"] = windows["squares"].cumsum()
    spread = seen["count"] * seen["squares"] - seen["total"] ** 2
    above = (seen["count"] * seen["largest"] - seen["total"]).astype("float64")
    return seen.assign(zscore=above / np.sqrt(spread.where(spread > 0).astype("float64")))


@dataclass(frozen=True)
class Differences:
    """Alert ids that one side has and the other lacks, sorted."""

    missing: list[str]
    unexpected: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected)


def differences(expected: set[str], found: set[str]) -> Differences:
    return Differences(sorted(expected - found), sorted(found - expected))
