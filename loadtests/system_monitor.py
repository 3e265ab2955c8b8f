"""What the system under load does, once a second: latency from event to alert, lag, rows, precision and recall.

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
from common.monitoring.alert_watch import LATENCIES, percentiles
from common.runtime import existing_broker, read_settings
from common.vertical import Vertical
from common.workspace import Workspace
from loadtests.alert_reader import Alert, Watch
from loadtests.options import Plan
from loadtests.query_lag import AtMost, Lags, furthest, taken
from loadtests.scores import Scores

LOG = logging.getLogger("loadtests")

EVERY = 1.0
HISTORY = 3_600
COUNTED = ("quarantine", "alerts")


class Monitor:
    """rows: by table since the start; history: for the charts, a dictionary of figures per second."""

    def __init__(self, environment: Environment, plan: Plan, vertical: Vertical) -> None:
        self._environment, self._plan, self._vertical = environment, plan, vertical
        self._settings = read_settings(plan.data, plan.servers)
        self._connection = existing_broker(self._settings)
        self._workspace = Workspace(self._settings.data, vertical.name)
        self._topics = topic_names(vertical)
        self.scores = Scores(vertical.scenarios)
        self.rows: dict[str, int] = {}
        self.history: deque[dict[str, float]] = deque(maxlen=HISTORY)
        self._latencies: deque[tuple[float, float]] = deque(maxlen=LATENCIES)
        self._lags = Lags(time.time())
        self._rows_before = self._row_counts()
        self._watch = Watch(self._connection, self._topics)
        self.began = time.time()
        self._sampling = gevent.spawn(self._sample)

    def stop(self) -> None:
        self._sampling.kill()
        self._count()
        self._watch.stop()

    def alert_p99(self, since: float = 0.0) -> float | None:
        """Milliseconds, of the alerts that came after `since` (epoch seconds)."""
        return percentiles([latency for at, latency in list(self._latencies) if at >= since]).p99

    @property
    def uncounted(self) -> int:
        """Alerts and labels for which there was no room: what is counted of them is too little."""
        return self._watch.dropped

    @property
    def unreadable(self) -> int:
        """Records in both topics that are none of ours."""
        return self._watch.unreadable

    @property
    def lag(self) -> int | None:
        """Records, of the query that is furthest behind; None where there are no checkpoints to read."""
        return furthest(self.newest_lags().values())

    def newest_lags(self) -> dict[str, int]:
        """By query, as far as known within the last minute."""
        return self._lags.newest(time.time())

    def _sample(self) -> None:
        while True:
            began = time.monotonic()
            self._count()
            # Files, tables and the broker are asked by a thread, so that no user waits for them.
            get_hub().threadpool.apply(self._look)
            self._log()
            gevent.sleep(max(0.1, EVERY - (time.monotonic() - began)))

    def _count(self) -> None:
        for each in self._watch.take():
            if not isinstance(each, Alert):
                self.scores.label(each.event_id, each.scenario, each.case_id)
            elif each.came_in >= self.began - EVERY:  # what came in before the load is not of its making
                try:
                    self.scores.alert(each.alert_id, each.rule, each.event)
                except (ValueError, TypeError, AttributeError):  # who may write to the topic may write anything
                    self._watch.unreadable += 1
                    continue
                self._latencies.append((each.at, each.latency))
                self._entry("ALERT", each.rule)(each.latency, len(each.event))

    def _look(self) -> None:
        try:
            self._look_at_lags()
            self.rows = {name: count - self._rows_before.get(name, 0) for name, count in self._row_counts().items()}
        except (BrokerError, OSError, DeltaError) as problem:  # away for the moment: load tests lead there
            LOG.warning("lag and rows are not known now: %s", problem)

    def _look_at_lags(self) -> None:
        now, topic, folder = time.time(), self._topics.events, self._workspace.folder / "checkpoints"
        ends = end_offsets(self._connection, topic)
        # A query that Spark refused to run in real time reads as one of which less is known.
        real_time = {"archive-events": False} | {query.name: not query.micro_batch_reason for query in self._vertical.queries}
        there = {name: each for name, each in real_time.items() if (folder / name).exists()}
        self._lags.look(now, ends, {name: (taken(folder / name, topic), each) for name, each in there.items()})

    def _row_counts(self) -> dict[str, int]:
        paths = {name: self._workspace.table(name) for name in COUNTED}
        return {name: tables.row_count(path) for name, path in paths.items() if tables.table_exists(path)}

    def _log(self) -> None:
        known = {name: behind for name, behind in self._lags.now.items() if not isinstance(behind, AtMost)}
        figures: dict[str, float] = {f"LAG {name}": behind for name, behind in known.items()}
        figures |= {f"ROWS {name}": count for name, count in self.rows.items()}
        figures["SEEN alerts"] = self.scores.alerts.total()
        for name, share in (("recall", self.scores.recall), ("precision", self.scores.precision)):
            if share is not None:
                figures[f"PERCENT {name}"] = 100 * share
        for row, value in figures.items():
            kind, name = row.split(" ", 1)
            self._entry(kind, name)(value, 0)
        newest = self.alert_p99(time.time() - 10)
        if newest is not None:
            figures["ALERT p99 of the last 10 s, ms"] = newest
        self.history.append(figures | {"time": time.time()})

    def _entry(self, kind: str, name: str) -> Callable[[float, int], None]:
        # Not `response_time: int` in truth: locust fires floats itself.
        log: Callable[[float, int], None] = self._environment.stats.get(name, kind).log  # type: ignore[assignment]
        return log
