"""Runs a gateway in a process of its own, so that no request waits for the Python beside Spark."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from common.embedded.supervise import SupervisedProcess, start_supervised
from common.gateway.address import Address
from common.kafka.connection import Connection
from common.settings import Settings

FIRST_RESTART_SECONDS, MAX_RESTART_SECONDS = 1.0, 60.0  # before a gateway that ended is started again: doubled each time
STEADY_SECONDS = 60.0  # a gateway that ran for longer is started again after the first of these


class GatewayProcess:
    """A gateway that ends with us. Where it ends by itself, or cannot be started, it is started again; it never ends us.

    Use as a context manager, and call `keep_running` each second. say: is called with a line when the gateway has ended.
    """

    def __init__(
        self,
        vertical: str,
        address: Address,
        connection: Connection,
        settings: Settings,
        say: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._command = _build_command(vertical, address, connection, settings)
        self._log = settings.data.absolute() / "gateway.log"
        self._say = say
        self._process: SupervisedProcess | None = None
        self._restart_seconds = FIRST_RESTART_SECONDS
        self._started_at = self._ended_at = 0.0

    @property
    def pid(self) -> int | None:
        """The process id of its supervisor; None while it is down."""
        return self._process.pid if self._process else None

    def keep_running(self) -> None:
        """Starts the gateway again once it is time to, if it has ended."""
        now = time.monotonic()
        if self._process is None:
            if now - self._ended_at >= self._restart_seconds:
                self._start()
            return
        status = self._process.exit_status()
        if status is None:
            return
        self._process.stop()
        self._process = None
        self._schedule_restart(f"ended with status {status}")

    def _start(self) -> None:
        self._started_at = time.monotonic()
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._process = start_supervised(self._command, self._log)
        except OSError as problem:  # no memory, no open file or no room left, for now
            self._schedule_restart(f"cannot be started ({problem})")

    def _schedule_restart(self, problem: str) -> None:
        self._ended_at = time.monotonic()
        was_steady = self._ended_at - self._started_at > STEADY_SECONDS
        self._restart_seconds = FIRST_RESTART_SECONDS if was_steady else min(2 * self._restart_seconds, MAX_RESTART_SECONDS)
        self._say(f"the gateway {problem} and is started again in {self._restart_seconds:g} s; its log is {self._log}")

    def __enter__(self) -> "GatewayProcess":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.stop()


def _build_command(vertical: str, address: Address, connection: Connection, settings: Settings) -> list[str]:
    command = [sys.executable, "-m", "common.cli", "gateway", vertical, "--http", f"{address.host}:{address.port}"]
    command += ["--bootstrap-servers", connection.bootstrap_servers, "--data", str(settings.data.absolute())]
    command += ["--open"] * settings.gateway_open
    if address.certificate:
        command += ["--certificate", str(address.certificate.absolute()), "--key", str((address.key or Path()).absolute())]
    return command
