"""A gateway in a process of its own, so that no request waits for Spark's Python."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from common.embedded.supervise import Supervised, supervised
from common.gateway.address import Address
from common.kafka.connection import Connection
from common.settings import Settings

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds until it is started again: twice as long each time
STEADY_SECONDS = 60.0                 # after which a gateway's end counts as its first


class GatewayBeside:
    """Ends with us. When it ends by itself, or cannot be started, it is started again, and is never a reason for us to end.

    Use as a context manager, and call `keep_running` each second. say: is told what happened.
    """

    def __init__(self, vertical: str, address: Address, connection: Connection, settings: Settings,
                 say: Callable[[str], None] = lambda line: None) -> None:
        self._command = _command(vertical, address, connection, settings)
        self._log = settings.data.absolute() / "gateway.log"
        self._say = say
        self._process: Supervised | None = None
        self._wait = FIRST_WAIT
        self._began = self._ended = 0.0

    @property
    def pid(self) -> int | None:
        """The process id of its supervisor; None while it is down."""
        return self._process.pid if self._process else None

    def keep_running(self) -> None:
        now = time.monotonic()
        if self._process is None:
            if now - self._ended >= self._wait:
                self._start()
            return
        status = self._process.exit_status()
        if status is None:
            return
        self._process.stop()
        self._process = None
        self._wait_longer(f"ended with status {status}")

    def _start(self) -> None:
        self._began = time.monotonic()
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._process = supervised(self._command, self._log)
        except OSError as problem:  # no memory, no open file or no room left, for now
            self._wait_longer(f"cannot be started ({problem})")

    def _wait_longer(self, what: str) -> None:
        self._ended = time.monotonic()
        self._wait = FIRST_WAIT if self._ended - self._began > STEADY_SECONDS else min(2 * self._wait, LONGEST_WAIT)
        self._say(f"the gateway {what} and is started again in {self._wait:g} s; its log is {self._log}")

    def __enter__(self) -> "GatewayBeside":
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process:
            self._process.stop()


def _command(vertical: str, address: Address, connection: Connection, settings: Settings) -> list[str]:
    command = [sys.executable, "-m", "common.cli", "gateway", vertical, "--http", f"{address.host}:{address.port}"]
    command += ["--bootstrap-servers", connection.bootstrap_servers, "--data", str(settings.data.absolute())]
    command += ["--open"] * settings.gateway_open
    if address.certificate:
        command += ["--certificate", str(address.certificate.absolute()), "--key", str((address.key or Path()).absolute())]
    return command
