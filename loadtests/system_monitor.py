"""Measures the system under load once a second: latency from event to alert, lag, rows, precision and recall.

It runs in the master, or where there is only one process, in that. Its figures stand as rows of their own in locust's
statistics, hence in its table, web page, report and CSV files. They are logged on their rows alone: as locust's
requests they would be part of the totals, and a lag of 20,000 records would be read as 20,000 milliseconds of load.
"""

import logging
import time
from collections import deque
from collections.abc import Callable

import gevent
from deltalake.exceptions import DeltaError
from gevent import get_hub
from locust.env import Environment

from common import tables
from common.kafka.connection import BrokerError
from common.kafka.topics import end_offsets, topic_names
from common.monitoring.alert_watch import MAX_LATENCIES, percentiles
from common.runtime import existing_broker, read_settings
from common.vertical import Vertical
from common.workspace import Workspace
from loadtests.alert_reader import Alert, AlertAndLabelReader, Label
from loadtests.options import LoadPlan
from loadtests.query_lag import AtMost, LagTracker, greatest_lag, read_positions
from loadtests.scores import Scores

LOG = logging.getLogger("loadtests")

SAMPLE_SECONDS = 1.0
HISTORY_SECONDS = 3_600
COUNTED_TABLES = ("quarantine", "alerts")


class SystemMonitor:
    """Samples the system under load. rows: by table since the start; history: a dictionary of figures for each second."""

    def __init__(self, environment: Environment, plan: LoadPlan, vertical: Vertical) -> None:
        self._environment, self._plan, self._vertical = environment, plan, vertical
        self._settings = read_settings(plan.data, plan.servers)
        self._connection = existing_broker(self._settings)
        self._workspace = Workspace(self._settings.data, vertical.name)
        self._topics = topic_names(vertical)
        self.scores = Scores(vertical.scenarios)
        self.rows: dict[str, int] = {}
        self.history: deque[dict[str, float]] = deque(maxlen=HISTORY_SECONDS)
        self._latencies: deque[tuple[float, float]] = deque(maxlen=MAX_LATENCIES)
        self._lags = LagTracker(time.time())
        self._rows_before = self._count_rows()
        self._reader = AlertAndLabelReader(self._connection, self._topics)
        self.started_at = time.time()
        self._sampler = gevent.spawn(self._sample)

    def stop(self) -> None:
        self._sampler.kill()
        self._count_alerts()
        self._reader.stop()

    def alert_p99(self, since: float = 0.0) -> float | None:
        """Milliseconds, of the alerts that came after `since` (epoch seconds)."""
        return percentiles([latency for arrival_time, latency in list(self._latencies) if arrival_time >= since]).p99

    @property
    def dropped_records(self) -> int:
        """Alerts and labels for which there was no room: what is counted of them is too little."""
        return self._reader.dropped_records

    @property
    def unreadable_records(self) -> int:
        """Records in the topics of alerts and labels that are neither."""
        return self._reader.unreadable_records

    @property
    def lag(self) -> int | None:
        """Records, of the query that is furthest behind; None where there are no checkpoints to read."""
        return greatest_lag(self.newest_lags().values())

    def newest_lags(self) -> dict[str, int]:
        """By query, as far as known within the last minute."""
        return self._lags.newest_lags(time.time())

    def _sample(self) -> None:
        while True:
            started_at = time.monotonic()
            self._count_alerts()
            # A thread asks files, tables and the broker, so that no user waits for them.
            get_hub().threadpool.apply(self._update_lags_and_rows)
            self._log_figures()
            gevent.sleep(max(0.1, SAMPLE_SECONDS - (time.monotonic() - started_at)))

    def _count_alerts(self) -> None:
        for record in self._reader.take():
            try:
                self._count_record(record)
            except (ValueError, TypeError):  # who may write to the topics may write anything
                self._reader.unreadable_records += 1

    def _count_record(self, record: Alert | Label) -> None:
        """Raises ValueError or TypeError for a record that is neither an alert nor a label."""
        if isinstance(record, Label):
            self.scores.add_label(record.event_id, record.scenario, record.case_id)
        elif record.ingest_time >= self.started_at - SAMPLE_SECONDS:  # the load has not made what came in before it
            self.scores.add_alert(record.alert_id, record.rule, record.event)
            self._latencies.append((record.arrival_time, record.latency_ms))
            self._log_function("ALERT", record.rule)(record.latency_ms, len(record.event))

    def _update_lags_and_rows(self) -> None:
        try:
            self._update_lags()
            self.rows = {name: count - self._rows_before.get(name, 0) for name, count in self._count_rows().items()}
        except (BrokerError, OSError, DeltaError) as problem:  # a load test may make them unavailable for a moment
            LOG.warning("lag and rows are not known now: %s", problem)

    def _update_lags(self) -> None:
        now, topic, folder = time.time(), self._topics.events, self._workspace.folder / "checkpoints"
        ends = end_offsets(self._connection, topic)
        # A query that Spark refused to run in real time counts as one of which only a bound is known.
        real_time = {"archive-events": False} | {query.name: not query.micro_batch_reason for query in self._vertical.queries}
        self._lags.update(now, ends, read_positions(folder, topic, real_time))

    def _count_rows(self) -> dict[str, int]:
        paths = {name: self._workspace.table(name) for name in COUNTED_TABLES}
        return {name: tables.row_count(path) for name, path in paths.items() if tables.table_exists(path)}

    def _log_figures(self) -> None:
        exact_lags = {name: lag for name, lag in self._lags.current.items() if not isinstance(lag, AtMost)}
        figures: dict[str, float] = {f"LAG {name}": lag for name, lag in exact_lags.items()}
        figures |= {f"ROWS {name}": count for name, count in self.rows.items()}
        figures["SEEN alerts"] = self.scores.alerts.total()
        for name, share in (("recall", self.scores.recall), ("precision", self.scores.precision)):
            if share is not None:
                figures[f"PERCENT {name}"] = 100 * share
        for row, value in figures.items():
            kind, name = row.split(" ", 1)
            self._log_function(kind, name)(value, 0)
        newest_p99 = self.alert_p99(time.time() - 10)
        if newest_p99 is not None:
            figures["ALERT p99 of the last 10 s, ms"] = newest_p99
        self.history.append(figures | {"time": time.time()})

    def _log_function(self, kind: str, name: str) -> Callable[[float, int], None]:
        """The function that adds a value to a row of locust's statistics."""
        # locust declares `response_time: int`, and gives it floats itself.
        log: Callable[[float, int], None] = self._environment.stats.get(name, kind).log  # type: ignore[assignment]
        return log
