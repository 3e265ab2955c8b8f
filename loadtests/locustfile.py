"""Load for any vertical: locust -f loadtests/locustfile.py --vertical finance_fraud --shape ramp --rate 2000 --headless

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
from loadtests.login import protect
from loadtests.options import add_options
from loadtests.system_page import serve
from loadtests.test_run import Control
from loadtests.users import NODE, HttpUser, KafkaUser, NullUser
from loadtests.worker import make_node

__all__ = ["HttpUser", "KafkaUser", "NullUser", "PlannedLoad"]

CONTROL = "load_control"
SAID: list[str] = []  # summary and verdict, until locust has printed its tables
STOP_SECONDS = 5.0  # that a request under way has when its user is stopped
SWITCH_SECONDS = 0.0005  # the thread that makes the next events leaves the event loop waiting no longer


class PlannedLoad(LoadTestShape):
    """Users over time by the plan. The set-up before the first user, within the first tick, is not part of that time."""

    _ticks, _began = 0, 0.0

    def reset_time(self) -> None:
        super().reset_time()
        self._ticks = 0

    def tick(self) -> tuple[int, float] | None:
        assert self.runner
        if self._ticks < 2:
            self._began = time.monotonic()
        self._ticks += 1
        control: Control = getattr(self.runner.environment, CONTROL)
        return control.tick(time.monotonic() - self._began)


@events.init_command_line_parser.add_listener
def _options(parser: ArgumentParser) -> None:
    add_options(parser)


@events.init.add_listener
def _init(environment: Environment, **_: Any) -> None:
    sys.setswitchinterval(SWITCH_SECONDS)
    environment.stop_timeout = environment.stop_timeout or STOP_SECONDS
    with _refusing(environment):
        setattr(environment, CONTROL, Control(environment))
        # In each process: a worker whose master ended at this point would wait for it.
        getattr(environment, CONTROL).connect()
    if environment.web_ui:
        if environment.web_ui.web_login:
            console.print(protect(environment.web_ui), markup=False, soft_wrap=True)
        serve(environment.web_ui, lambda: getattr(environment, CONTROL).history)


@events.test_start.add_listener
def _start(environment: Environment, **_: Any) -> None:
    """In the master first, then in each worker: locust hands on the options in between."""
    with _refusing(environment):
        control = Control(environment)  # anew: the web page may have changed the options
        setattr(environment, CONTROL, control)
        if not isinstance(environment.runner, WorkerRunner):
            control.start()
        if not isinstance(environment.runner, MasterRunner):
            setattr(environment, NODE, make_node(environment, getattr(environment, NODE, None)))


@events.test_stopping.add_listener
def _stopping(environment: Environment, **_: Any) -> None:
    control: Control | None = getattr(environment, CONTROL, None)
    if control:
        control.end_load(0.0)


@events.test_stop.add_listener
def _stop(environment: Environment, **_: Any) -> None:
    node, control = getattr(environment, NODE, None), getattr(environment, CONTROL, None)
    if node and node.sender:
        node.sender.drain()
    if control and control.monitor:
        control.monitor.stop()


@events.quitting.add_listener
def _judge(environment: Environment, **_: Any) -> None:
    control: Control | None = getattr(environment, CONTROL, None)
    runner = environment.runner
    if isinstance(runner, WorkerRunner) or environment.process_exit_code is not None or not control or not control.pace.planned:
        return
    code, lines = control.verdict()
    if runner and runner.exceptions:
        lines = [*lines[:-1], "FAIL: the load test itself went wrong, see the exceptions above"]
    SAID.extend([*control.summary(), *lines])
    # What went wrong in the load test itself is for locust to tell.
    environment.process_exit_code = None if runner and runner.exceptions else code


@events.quit.add_listener
def _tell(**_: Any) -> None:
    """Below locust's own tables, so that the verdict is the last line."""
    for line in SAID:
        console.print(line, markup=False, soft_wrap=True)


@contextmanager
def _refusing(environment: Environment) -> Iterator[None]:
    """A wrong option, or a broker that is away, ends locust with a sentence rather than a trace."""
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
