"""Counts how far a running query is, by what it reports as its batches end."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

BEFORE_ANY = datetime.fromtimestamp(0, UTC)  # Spark's watermark before the first event


@dataclass
class QueryProgress:
    """A query's progress since it was started here.

    records: judged in batches that have ended. ended_at: when the last one with any did; None before the first.
    watermark: of event time, where the query keeps windows; what is older is not judged any more. behind: how often something
    was left out so, once for each window of an event; behind_since: when that began.
    """

    records: int = 0
    ended_at: datetime | None = None
    watermark: datetime | None = None
    behind: int = 0
    behind_since: datetime | None = None

    def take(self, progress: dict[str, Any]) -> None:
        """Add the next progress, as Spark's JSON has it."""
        started, records = datetime.fromisoformat(progress["timestamp"]), max(0, progress.get("numInputRows") or 0)
        if records or self.ended_at is None:
            self.ended_at = started + timedelta(milliseconds=progress["batchDuration"])
        self.records += records
        watermark = progress.get("eventTime", {}).get("watermark")
        if watermark and (moment := datetime.fromisoformat(watermark)) > BEFORE_ANY:
            self.watermark = moment
        behind = sum(operator.get("numRowsDroppedByWatermark") or 0 for operator in progress.get("stateOperators", []))
        if behind > 0:
            self.behind += behind
            self.behind_since = self.behind_since or started
