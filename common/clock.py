"""Times that are written down to say what came after what."""

from datetime import UTC, datetime, timedelta


def after(earlier: datetime | None) -> datetime:
    """Now; or, where the clock was set back since `earlier` was written down, the moment after that."""
    now = datetime.now(UTC)
    return now if earlier is None else max(now, earlier + timedelta(microseconds=1))
