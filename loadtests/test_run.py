"""One load test from its first to its last second: the shape's ticks, what is measured, and the verdict."""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from locust.env import Environment
from locust.runners import MasterRunner

from common.installed import find_vertical
from common.kafka.connection import Connection
from common.kafka.topics import ensure_topics
from common.runtime import existing_broker, read_settings
from loadtests.objectives import OF_THE_LOAD, Figures, judge, missed, read_objectives, verdict
from loadtests.options import LIMIT, plan_of
from loadtests.planned_rate import SETTLING, Pace
from loadtests.query_lag import furthest, told
from loadtests.resume_day import next_day
from loadtests.shapes import SHAPES, LimitSearch, users_for
from loadtests.system_monitor import Monitor
from loadtests.users import HttpUser, KafkaUser, NullUser

USERS = {"kafka": KafkaUser, "http": HttpUser, "null": NullUser}
SPAWNED_PER_SECOND = 100
UNKNOWN_LAG = "not known: there are no checkpoints to read, or nothing answered in the last minute"
REPORTED_SECONDS = 4.0  # within which the workers' last figures are with the master, and in its files
# Not judged while the load is on: a case's later events, and its alerts, are still to come.
DURING = ("alert_p99_ms", "lag_records", "error_share", "pace")


@dataclass
class Mark:
    """Where a step began: epoch seconds, requests and failures until then."""

    at: float
    requests: int
    failures: int


class Control:
    """Made in every process; only the master, or the one process there is, calls `start` and what follows it."""

    def __init__(self, environment: Environment) -> None:
        """Raises what a wrong option, vertical, objective or broker raises, before anything is sent."""
        assert environment.parsed_options
        self.environment, self.options = environment, environment.parsed_options
        self.plan = plan_of(self.options)
        self.vertical = find_vertical(self.plan.vertical)
        self.objectives = read_objectives(self.plan.objectives, self.plan.vertical)
        self.only = None if self.plan.watch else OF_THE_LOAD
        self.monitor: Monitor | None = None
        self.search = LimitSearch(self.plan.low, self.plan.rate) if self.plan.shape == LIMIT else None
        self.pace = Pace()
        self.lags_at_end: dict[str, int] | None = None
        self._ended: float | None = None
        self._step = Mark(0.0, 0, 0)
        environment.user_classes = [USERS[self.plan.via]]

    def connect(self) -> Connection | None:
        """Kafka, where the plan needs it; raises BrokerError when it is not there."""
        plan = self.plan
        return existing_broker(read_settings(plan.data, plan.servers)) if plan.via == "kafka" or plan.watch else None

    def start(self) -> None:
        """Before the first user: topics, the simulation's first day, the monitor."""
        plan = self.plan
        connection = self.connect()
        if connection:
            settings = read_settings(plan.data, plan.servers)
            ensure_topics(connection, self.vertical, settings.partitions, settings.replication)
            if plan.first_day is None:
                # Told by the option, because locust hands the options to its workers with the order to start.
                self.options.first_day = str(next_day(connection, self.vertical) or "")
        if plan.watch:
            self.monitor = Monitor(self.environment, plan, self.vertical)

    def tick(self, seconds: float) -> tuple[int, float] | None:
        """Users, and how many to start in a second; None once alerts have been waited for. seconds: since the load began."""
        rate = None if self._ended is not None else self._rate(seconds)
        if rate is not None:
            users = users_for(rate, self.plan.per_user, self.processes)
            self.pace.plan(users * self.plan.per_user)
            return users, SPAWNED_PER_SECOND
        if self._ended is None:
            self.end_load(seconds)
        assert self._ended is not None
        settle = max(self.plan.settle, REPORTED_SECONDS if self.processes > 1 else 0.0)
        return (0, SPAWNED_PER_SECOND) if seconds - self._ended < settle else None

    def end_load(self, seconds: float) -> None:
        if self._ended is None:
            self._ended = seconds
            self.pace.plan(0.0)
            self.lags_at_end = self.monitor.newest_lags() if self.monitor else None

    def measured(self) -> Figures:
        monitor = self.monitor
        scores = monitor.scores if monitor and not monitor.uncounted else None
        return Figures(
            alert_p99_ms=monitor.alert_p99(monitor.began + self.plan.warm_up) if monitor else None,
            lag_records=furthest((self.lags_at_end or {}).values()),
            error_share=self.environment.stats.total.fail_ratio if self.environment.stats.total.num_requests else None,
            pace=self.pace.share(self._sent()),
            recall=scores.recall if scores else None,
            precision=scores.precision if scores else None,
        )

    def verdict(self) -> tuple[int, list[str]]:
        """locust's exit code, and what there is to say of it, PASS or FAIL last."""
        if self.search:
            return (0, [f"PASS: {self.search.told()}"]) if self.search.held else (1, [f"FAIL: {self.search.told()}"])
        judged = judge(self.objectives, self.measured(), self.only)
        lines = [f"objective missed: {each.told}" for each in judged if not each.held]
        return (1 if lines else 0), [*lines, verdict(judged)]

    def summary(self) -> list[str]:
        """What was sent, and what the system made of it."""
        total, monitor, figures = self.environment.stats.total, self.monitor, self.measured()
        kept = "unknown" if figures.pace is None else f"{figures.pace:.1%} of the plan"
        requests = f"{total.num_requests:,} requests, {total.num_failures:,} failed; {kept}"
        lines = [f"{self.plan.vertical} via {self.plan.via}: {requests}"]
        if monitor:
            lags = monitor.newest_lags() if self.lags_at_end is None else self.lags_at_end
            behind = ", ".join(f"{name} {told(records)}" for name, records in lags.items()) or UNKNOWN_LAG
            lines.append(f"alerts: {monitor.scores.told()}")
            if monitor.uncounted:
                lines.append(f"{monitor.uncounted:,} alerts and labels came faster than they could be counted: "
                             "recall and precision are not known")
            if monitor.unreadable:
                lines.append(f"{monitor.unreadable:,} records in the topics of alerts and labels are none of ours")
            lines.append(f"event to alert: p99 {_number(figures.alert_p99_ms)} ms; lag: {behind}; new rows: {monitor.rows}")
        return lines

    @property
    def history(self) -> Iterable[dict[str, float]]:
        """The system's figures, second by second; none before a load that is watched."""
        return self.monitor.history if self.monitor else ()

    @property
    def processes(self) -> int:
        runner = self.environment.runner
        return int(self.options.expect_workers) if isinstance(runner, MasterRunner) else 1

    def _rate(self, seconds: float) -> float | None:
        plan = self.plan
        if self.search is None:
            return SHAPES[plan.shape](seconds, plan.low, plan.rate, plan.seconds) if seconds < plan.seconds else None
        if not self._step.at:
            self._step = self._mark()
        elif time.time() - self._step.at >= plan.step:
            going_on = self.search.judge(missed(self.objectives, self._measured_in_step(), self._asked_in_step()))
            self._step = self._mark()
            if not going_on:
                return None
        return self.search.rate

    def _asked_in_step(self) -> tuple[str, ...]:
        return tuple(name for name in DURING if self.only is None or name in self.only)

    def _measured_in_step(self) -> Figures:
        total, step = self.environment.stats.total, self._step
        requests = total.num_requests - step.requests
        return Figures(
            alert_p99_ms=self.monitor.alert_p99(step.at + self.plan.step / 3) if self.monitor else None,
            lag_records=self.monitor.lag if self.monitor else None,
            error_share=(total.num_failures - step.failures) / requests if requests else None,
            pace=self.pace.share(self._sent(), step.at + SETTLING),
        )

    def _mark(self) -> Mark:
        total = self.environment.stats.total
        return Mark(time.time(), total.num_requests, total.num_failures)

    def _sent(self) -> dict[int, int]:
        """Events by second of the clock, as far as they are answered."""
        each = self.plan.batch if self.plan.via == "http" else 1
        return {second: count * each for second, count in self.environment.stats.total.num_reqs_per_sec.items()}


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.0f}"
