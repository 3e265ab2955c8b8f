"""Times how a backlog is worked off: when each of its alerts comes first, and the speed that follows from that."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from confluent_kafka import Consumer

from common.kafka.reader import poll_batch
from loadtests.bench.results import steady_rate

LIMIT_SECONDS = 1_800.0  # for one backlog


@dataclass(frozen=True)
class Patience:
    """Seconds without a new alert after which none is waited for any more.

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


def catch_up_of(events: int, arrivals: Mapping[str, float], expected: set[str]) -> CatchUp:
    """arrivals: seconds from the start by alert id, as `time_arrivals` gives them; of these the expected count."""
    seconds = sorted(arrivals[alert_id] for alert_id in expected if alert_id in arrivals)
    is_complete = len(seconds) == len(expected)
    return CatchUp(events, seconds[-1] if seconds else float("nan"), steady_rate(events, seconds) if is_complete else None)


def time_arrivals(
    consumer: Consumer,
    read_id: Callable[[bytes], str | None],
    expected: set[str],
    patience: Patience,
    began: float,
    check: Callable[[], object] = lambda: None,
) -> tuple[dict[str, float], int]:
    """Seconds from `began` (`time.monotonic()`) at which each alert came first, and how many records there were of all alerts.

    read_id: the alert's id in a record's value, None in one that is no alert. check: called again and again; may raise.
    """
    arrivals: dict[str, float] = {}
    missing, records, last_new = set(expected), 0, began
    while True:
        now = time.monotonic()
        silence = patience.before_first if not arrivals else patience.while_missing if missing else patience.after_last
        if now - began > LIMIT_SECONDS or now - last_new > silence:
            return arrivals, records
        check()
        messages = poll_batch(consumer, timeout=0.1, at_most=10_000)
        now = time.monotonic()
        for message in messages:
            alert_id = read_id(message.value() or b"") if message.error() is None else None
            if alert_id:
                records += 1
                if alert_id not in arrivals:
                    arrivals[alert_id] = now - began
                    last_new = now
                    missing.discard(alert_id)
