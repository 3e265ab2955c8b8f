"""Runs one load test: follows the shape tick by tick, measures, and gives the verdict."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from locust.env import Environment
from locust.runners import MasterRunner

from common.installed import find_vertical
from common.kafka.connection import Connection
from common.kafka.topics import ensure_topics
from common.runtime import existing_broker, read_settings
from loadtests.objectives import (
    LOAD_ONLY,
    LoadFigures,
    check_objectives,
    missed_objectives,
    read_objectives,
    verdict_line,
)
from loadtests.options import FIND_THE_LIMIT, make_plan
from loadtests.planned_rate import SETTLING_SECONDS, Pace
from loadtests.query_lag import format_lag, greatest_lag
from loadtests.resume_day import read_next_day
from loadtests.shapes import SHAPES, LimitSearch, users_for
from loadtests.system_monitor import SystemMonitor
from loadtests.users import HttpUser, KafkaUser, NullUser

USERS = {"kafka": KafkaUser, "http": HttpUser, "null": NullUser}
SPAWNED_PER_SECOND = 100
UNKNOWN_LAG = "not known: there are no checkpoints to read, or nothing answered in the last minute"
REPORT_SECONDS = 4.0  # within which the workers' last figures are with the master, and in its files
# Recall and precision are not judged while the load is on: a case's later events, and its alerts, are still to come.
STEP_OBJECTIVES = ("alert_p99_ms", "lag_records", "error_share", "pace")


@dataclass
class StepStart:
    """When a step of the search for the limit began (epoch seconds), and locust's requests and failures until then."""

    time: float
    requests: int
    failures: int


class LoadTest:
    """One load test. Made in every process; only the master, or the single process, calls `start` and what follows it."""

    def __init__(self, environment: Environment) -> None:
        """Raises what a wrong option, vertical, objective or broker raises, before anything is sent."""
        assert environment.parsed_options
        self.environment, self.options = environment, environment.parsed_options
        self.plan = make_plan(self.options)
        self.vertical = find_vertical(self.plan.vertical)
        self.objectives = read_objectives(self.plan.objectives, self.plan.vertical)
        self.objective_names = None if self.plan.watch else LOAD_ONLY
        self.monitor: SystemMonitor | None = None
        self.search = LimitSearch(self.plan.low_rate, self.plan.rate) if self.plan.shape == FIND_THE_LIMIT else None
        self.pace = Pace()
        self.lags_at_end: dict[str, int] | None = None
        self._load_end: float | None = None
        self._step = StepStart(0.0, 0, 0)
        environment.user_classes = [USERS[self.plan.via]]

    def connect(self) -> Connection | None:
        """Kafka, where the plan needs it; raises BrokerError when it cannot be reached."""
        plan = self.plan
        return existing_broker(read_settings(plan.data, plan.servers)) if plan.via == "kafka" or plan.watch else None

    def start(self) -> None:
        """Prepares the topics, the simulation's first day and the monitor, before the first user."""
        plan = self.plan
        connection = self.connect()
        if connection:
            settings = read_settings(plan.data, plan.servers)
            ensure_topics(connection, self.vertical, settings.partitions, settings.replication)
            if plan.first_day is None:
                # In the option, because locust hands the options to its workers with the order to start.
                self.options.first_day = str(read_next_day(connection, self.vertical) or "")
        if plan.watch:
            self.monitor = SystemMonitor(self.environment, plan, self.vertical)

    def tick(self, seconds: float) -> tuple[int, float] | None:
        """Users, and how many to start in a second; None once alerts have been waited for. seconds: since the load began."""
        rate = None if self._load_end is not None else self._due_rate(seconds)
        if rate is not None:
            users = users_for(rate, self.plan.per_user, self.processes)
            self.pace.plan(users * self.plan.per_user)
            return users, SPAWNED_PER_SECOND
        if self._load_end is None:
            self.end_load(seconds)
        assert self._load_end is not None
        settle_seconds = max(self.plan.settle_seconds, REPORT_SECONDS if self.processes > 1 else 0.0)
        return (0, SPAWNED_PER_SECOND) if seconds - self._load_end < settle_seconds else None

    def end_load(self, seconds: float) -> None:
        if self._load_end is None:
            self._load_end = seconds
            self.pace.plan(0.0)
            self.lags_at_end = self.monitor.newest_lags() if self.monitor else None

    def measure(self) -> LoadFigures:
        """The figures of the whole load test, with the lag as it was when the load ended."""
        monitor = self.monitor
        scores = monitor.scores if monitor and not monitor.dropped_records else None
        return LoadFigures(
            alert_p99_ms=monitor.alert_p99(monitor.started_at + self.plan.warm_up_seconds) if monitor else None,
            lag_records=greatest_lag((self.lags_at_end or {}).values()),
            error_share=self.environment.stats.total.fail_ratio if self.environment.stats.total.num_requests else None,
            pace=self.pace.sent_share(self._events_by_second()),
            recall=scores.recall if scores else None,
            precision=scores.precision if scores else None,
        )

    def verdict(self) -> tuple[int, list[str]]:
        """locust's exit code, and the lines that explain it, PASS or FAIL last."""
        if self.search:
            summary = self.search.summary()
            return (0, [f"PASS: {summary}"]) if self.search.sustained_rate else (1, [f"FAIL: {summary}"])
        results = check_objectives(self.objectives, self.measure(), self.objective_names)
        lines = [f"objective missed: {result.text}" for result in results if not result.is_met]
        return (1 if lines else 0), [*lines, verdict_line(results)]

    def summary(self) -> list[str]:
        """What was sent, and what the system made of it."""
        total, monitor, figures = self.environment.stats.total, self.monitor, self.measure()
        pace = "unknown" if figures.pace is None else f"{figures.pace:.1%} of the plan"
        requests = f"{total.num_requests:,} requests, {total.num_failures:,} failed; {pace}"
        lines = [f"{self.plan.vertical} via {self.plan.via}: {requests}"]
        if monitor:
            lags = monitor.newest_lags() if self.lags_at_end is None else self.lags_at_end
            lag_text = ", ".join(f"{name} {format_lag(lag)}" for name, lag in lags.items()) or UNKNOWN_LAG
            lines.append(f"alerts: {monitor.scores.summary()}")
            if monitor.dropped_records:
                lines.append(
                    f"{monitor.dropped_records:,} alerts and labels came faster than they could be counted: "
                    "recall and precision are not known"
                )
            if monitor.unreadable_records:
                lines.append(f"{monitor.unreadable_records:,} records in the topics of alerts and labels are neither of these")
            lines.append(f"event to alert: p99 {_format_ms(figures.alert_p99_ms)} ms; lag: {lag_text}; new rows: {monitor.rows}")
        return lines

    @property
    def history(self) -> Iterable[dict[str, float]]:
        """The system's figures, second by second; none before a load that is watched."""
        return self.monitor.history if self.monitor else ()

    @property
    def processes(self) -> int:
        """Processes that send."""
        runner = self.environment.runner
        return int(self.options.expect_workers) if isinstance(runner, MasterRunner) else 1

    def _due_rate(self, seconds: float) -> float | None:
        """The rate that is due `seconds` after the load began; None when the load is over."""
        plan = self.plan
        if self.search is None:
            shape = SHAPES[plan.shape]
            return shape(seconds, plan.low_rate, plan.rate, plan.duration_seconds) if seconds < plan.duration_seconds else None
        if not self._step.time:
            self._step = self._start_step()
        elif time.time() - self._step.time >= plan.step_seconds:
            misses = missed_objectives(self.objectives, self._measure_step(), self._step_objectives())
            has_next_step = self.search.finish_step(misses)
            self._step = self._start_step()
            if not has_next_step:
                return None
        return self.search.rate

    def _step_objectives(self) -> tuple[str, ...]:
        return tuple(name for name in STEP_OBJECTIVES if self.objective_names is None or name in self.objective_names)

    def _measure_step(self) -> LoadFigures:
        total, step = self.environment.stats.total, self._step
        requests = total.num_requests - step.requests
        return LoadFigures(
            alert_p99_ms=self.monitor.alert_p99(step.time + self.plan.step_seconds / 3) if self.monitor else None,
            lag_records=self.monitor.lag if self.monitor else None,
            error_share=(total.num_failures - step.failures) / requests if requests else None,
            pace=self.pace.sent_share(self._events_by_second(), step.time + SETTLING_SECONDS),
        )

    def _start_step(self) -> StepStart:
        total = self.environment.stats.total
        return StepStart(time.time(), total.num_requests, total.num_failures)

    def _events_by_second(self) -> dict[int, int]:
        """Events that were sent and answered, by second of the clock."""
        per_request = self.plan.batch if self.plan.via == "http" else 1
        return {second: count * per_request for second, count in self.environment.stats.total.num_reqs_per_sec.items()}


def _format_ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"
