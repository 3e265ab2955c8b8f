"""Counts the progress of a running query from the reports of its finished batches."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

BEFORE_ANY = datetime.fromtimestamp(0, UTC)  # Spark's watermark before the first event


@dataclass
class QueryProgress:
    """A query's progress since it was started here.

    records: judged in batches that have ended. ended_at: when the last batch with records ended; None before the first.
    watermark: of event time, where the query keeps windows; older events are not judged any more. behind: how often an event was
    left out for that reason, once for each of its windows; behind_since: when that began.
    """

    records: int = 0
    ended_at: datetime | None = None
    watermark: datetime | None = None
    behind: int = 0
    behind_since: datetime | None = None

    def update(self, progress: dict[str, Any]) -> None:
        """Add the next progress, as Spark's JSON has it."""
        started_at, records = datetime.fromisoformat(progress["timestamp"]), max(0, progress.get("numInputRows") or 0)
        if records or self.ended_at is None:
            self.ended_at = started_at + timedelta(milliseconds=progress["batchDuration"])
        self.records += records
        watermark = progress.get("eventTime", {}).get("watermark")
        if watermark and (moment := datetime.fromisoformat(watermark)) > BEFORE_ANY:
            self.watermark = moment
        dropped = sum(operator.get("numRowsDroppedByWatermark") or 0 for operator in progress.get("stateOperators", []))
        if dropped > 0:
            self.behind += dropped
            self.behind_since = self.behind_since or started_at
