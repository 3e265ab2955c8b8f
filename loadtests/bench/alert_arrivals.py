"""Measures how fast a backlog is worked off, by the time at which each of its alerts first comes."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer

from common.kafka.reader import poll_batch
from loadtests.bench.results import steady_rate

LIMIT_SECONDS = 1_800.0  # for one backlog


@dataclass(frozen=True)
class Patience:
    """For how many seconds without a new alert the measurement still waits for one.

    before_first: until the first alert. while_missing: as long as an expected alert has not come; afterwards it is taken as
    missing. after_last: once all expected alerts have come; others may still come.
    """

    before_first: float
    while_missing: float
    after_last: float


@dataclass(frozen=True)
class CatchUp:
    """events in `seconds`, from the start, its warm-up included, to the last expected alert; NaN where none came.

    steady: `steady_rate`, None where an expected alert is missing.
    """

    events: int
    seconds: float
    steady: float | None

    @property
    def per_second(self) -> float:
        return self.events / self.seconds


def catch_up_of(events: int, arrivals: Mapping[str, float], expected_ids: set[str]) -> CatchUp:
    """The speed at which `events` were worked off. arrivals: by alert id, seconds from the start; only `expected_ids` count."""
    seconds = sorted(arrivals[alert_id] for alert_id in expected_ids if alert_id in arrivals)
    is_complete = len(seconds) == len(expected_ids)
    return CatchUp(events, seconds[-1] if seconds else float("nan"), steady_rate(events, seconds) if is_complete else None)


def time_arrivals(
    consumer: Consumer,
    read_id: Callable[[bytes], str | None],
    expected_ids: set[str],
    patience: Patience,
    started_at: float,
    raise_if_ended: Callable[[], object] = lambda: None,
) -> tuple[dict[str, float], int]:
    """Seconds from `started_at` (`time.monotonic()`) at which each alert came first, and how many records all alerts had.

    read_id: the alert's id in a record's value, None in one that is no alert. raise_if_ended: called again and again.
    """
    arrivals: dict[str, float] = {}
    missing_ids, record_count, last_new_at = set(expected_ids), 0, started_at
    while True:
        now = time.monotonic()
        patience_seconds = (
            patience.before_first if not arrivals else patience.while_missing if missing_ids else patience.after_last
        )
        if now - started_at > LIMIT_SECONDS or now - last_new_at > patience_seconds:
            return arrivals, record_count
        raise_if_ended()
        messages = poll_batch(consumer, timeout=0.1, at_most=10_000)
        now = time.monotonic()
        for message in messages:
            alert_id = read_id(message.value() or b"") if message.error() is None else None
            if alert_id:
                record_count += 1
                if alert_id not in arrivals:
                    arrivals[alert_id] = now - started_at
                    last_new_at = now
                    missing_ids.discard(alert_id)
