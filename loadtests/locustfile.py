"""Defines the load test of any vertical for locust.

    locust -f loadtests/locustfile.py --vertical finance_fraud --shape ramp --rate 2000 --headless

Options, shapes and figures are in loadtests/README.md. A vertical's own locustfile imports these names.
"""

import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from locust import LoadTestShape, events
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from common.errors import UserError
from common.terminal import console, error_console
from loadtests.login import require_password
from loadtests.options import add_options
from loadtests.system_page import add_system_page
from loadtests.test_run import LoadTest
from loadtests.users import WORKER, HttpUser, KafkaUser, NullUser
from loadtests.worker import make_worker

__all__ = ["HttpUser", "KafkaUser", "NullUser", "PlannedLoad"]

LOAD_TEST = "load_test"  # the attribute of locust's environment that holds the LoadTest
CLOSING_LINES: list[str] = []  # summary and verdict, until locust has printed its tables
STOP_SECONDS = 5.0  # that a request under way has when its user is stopped
SWITCH_SECONDS = 0.0005  # the thread that makes the next events leaves the event loop waiting no longer


class PlannedLoad(LoadTestShape):
    """Users over time by the plan, counted from the second tick on, so that set-up does not count."""

    _ticks, _started_at = 0, 0.0

    def reset_time(self) -> None:
        super().reset_time()
        self._ticks = 0

    def tick(self) -> tuple[int, float] | None:
        assert self.runner
        if self._ticks < 2:
            self._started_at = time.monotonic()
        self._ticks += 1
        load_test: LoadTest = getattr(self.runner.environment, LOAD_TEST)
        return load_test.tick(time.monotonic() - self._started_at)


@events.init_command_line_parser.add_listener
def _on_parser(parser: ArgumentParser) -> None:
    add_options(parser)


@events.init.add_listener
def _on_init(environment: Environment, **_: Any) -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    environment.stop_timeout = environment.stop_timeout or STOP_SECONDS
    with _exit_on_user_errors(environment):
        setattr(environment, LOAD_TEST, LoadTest(environment))
        # In each process: a worker whose master ended at this point would wait for it.
        getattr(environment, LOAD_TEST).connect()
    if environment.web_ui:
        if environment.web_ui.web_login:
            console.print(require_password(environment.web_ui), markup=False, soft_wrap=True)
        add_system_page(environment.web_ui, lambda: getattr(environment, LOAD_TEST).history)


@events.test_start.add_listener
def _on_test_start(environment: Environment, **_: Any) -> None:
    """In the master first, then in each worker: locust hands on the options in between."""
    with _exit_on_user_errors(environment):
        load_test = LoadTest(environment)  # anew: the web page may have changed the options
        setattr(environment, LOAD_TEST, load_test)
        if not isinstance(environment.runner, WorkerRunner):
            load_test.start()
        if not isinstance(environment.runner, MasterRunner):
            setattr(environment, WORKER, make_worker(environment, getattr(environment, WORKER, None)))


@events.test_stopping.add_listener
def _on_test_stopping(environment: Environment, **_: Any) -> None:
    load_test: LoadTest | None = getattr(environment, LOAD_TEST, None)
    if load_test:
        load_test.end_load(0.0)


@events.test_stop.add_listener
def _on_test_stop(environment: Environment, **_: Any) -> None:
    worker, load_test = getattr(environment, WORKER, None), getattr(environment, LOAD_TEST, None)
    if worker and worker.sender:
        worker.sender.drain()
    if load_test and load_test.monitor:
        load_test.monitor.stop()


@events.quitting.add_listener
def _on_quitting(environment: Environment, **_: Any) -> None:
    """Sets locust's exit code and the closing lines by the verdict."""
    load_test: LoadTest | None = getattr(environment, LOAD_TEST, None)
    runner = environment.runner
    if isinstance(runner, WorkerRunner) or environment.process_exit_code is not None:
        return
    if not load_test or not load_test.pace.planned_rates:
        return
    code, lines = load_test.verdict()
    if runner and runner.exceptions:
        lines = [*lines[:-1], "FAIL: the load test itself went wrong, see the exceptions above"]
    CLOSING_LINES.extend([*load_test.summary(), *lines])
    # Where the load test itself went wrong locust sets the exit code.
    environment.process_exit_code = None if runner and runner.exceptions else code


@events.quit.add_listener
def _on_quit(**_: Any) -> None:
    """Prints below locust's own tables, so that the verdict is the last line."""
    for line in CLOSING_LINES:
        console.print(line, markup=False, soft_wrap=True)


@contextmanager
def _exit_on_user_errors(environment: Environment) -> Iterator[None]:
    """A wrong option, or a broker that cannot be reached, ends locust with a sentence rather than a trace."""
    try:
        yield
    except (UserError, OSError) as problem:
        environment.process_exit_code = 2
        runner = environment.runner
        if not isinstance(runner, WorkerRunner):
            error_console.print(str(problem), style="red", markup=False, soft_wrap=True)
            if runner:
                runner.quit()  # the workers, too
        sys.exit(2)
