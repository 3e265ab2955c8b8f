"""The alerts that the card job must raise, computed apart from every engine: all prefixes of all windows at once, with pandas."""

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
    totals = running_totals(rows, job)
    thresholds = job.thresholds
    hits_by_rule = {
        VELOCITY: totals["count"] >= thresholds.velocity,
        AMOUNT: totals["largest"] >= thresholds.amount_cents,
        ZSCORE: (totals["count"] >= thresholds.least_events) & (totals["zscore"] >= thresholds.zscore),
    }
    return {
        alert_id(rule, card, start)
        for rule, is_hit in hits_by_rule.items()
        for card, start in totals.loc[is_hit, ["card_id", "start"]].drop_duplicates().itertuples(index=False)
    }


def running_totals(rows: pd.DataFrame, job: CardJob) -> pd.DataFrame:
    """card_id, start, and after each event its window's count, total, squares, largest and zscore (NaN where undefined)."""
    seconds = rows["event_time"].astype("datetime64[ns, UTC]").astype("int64") // 10**9
    cents = (rows["amount"] * 100 + 0.5).astype("int64")
    totals = pd.DataFrame({"card_id": rows["card_id"], "start": seconds - seconds % job.window_seconds, "cents": cents})
    totals["squares"] = cents**2
    windows = totals.groupby(["card_id", "start"], sort=False)
    totals["count"] = windows.cumcount() + 1
    totals["total"], totals["largest"] = windows["cents"].cumsum(), windows["cents"].cummax()
    totals["squares"] = windows["squares"].cumsum()
    spread = totals["count"] * totals["squares"] - totals["total"] ** 2
    above_mean = (totals["count"] * totals["largest"] - totals["total"]).astype("float64")
    return totals.assign(zscore=above_mean / np.sqrt(spread.where(spread > 0).astype("float64")))


@dataclass(frozen=True)
class Differences:
    """Alert ids that one side has and the other lacks, sorted."""

    missing: list[str]
    unexpected: list[str]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected)


def compare_ids(expected_ids: set[str], ids: set[str]) -> Differences:
    return Differences(sorted(expected_ids - ids), sorted(ids - expected_ids))
