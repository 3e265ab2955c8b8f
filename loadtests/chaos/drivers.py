"""Runs commands of `hybrid` as processes, kills them, and starts them again as a service manager would."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from common.embedded.supervise import SupervisedProcess, start_supervised
from loadtests.process_memory import measure_memory

START_SECONDS = 180.0
MEMORY_SAMPLE_SECONDS = 5.0
END_SECONDS = 60.0  # within which all processes of a driver must be gone once its Python or its JVM is killed


@dataclass
class Driver:
    """A command that runs as a process. ready_text: what it prints once it works; progress() grows with its work.

    spontaneous_exits: exit statuses of ends that no kill caused, such as giving up on a broker that is away; survivors: processes
    that were still there when their driver had long been killed; memory_mib: that it held, sampled every few seconds.
    """

    name: str
    command: list[str]
    ready_text: str
    log: Path
    environment: Mapping[str, str]
    progress: Callable[[], int]
    spontaneous_exits: list[int] = field(default_factory=list)
    survivors: int = 0
    memory_mib: list[float] = field(default_factory=list)
    _next_memory_sample: float = 0.0
    _process: SupervisedProcess | None = None

    def start(self) -> None:
        self._process = start_supervised(self.command, self.log, environment=self.environment)

    def wait_until_ready(self) -> bool:
        """False when it ended or is not ready in time; its log says why."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process and self._process.exit_status() is None:
            if self.ready_text in self.log.read_text(errors="replace"):
                return True
            time.sleep(0.2)
        return False

    def keep_running(self) -> None:
        """Start it again if it ended; sample its memory now and then."""
        status = self._process.exit_status() if self._process else None
        if status is not None:
            self.spontaneous_exits.append(status)
            self.start()
        if self._process and time.monotonic() >= self._next_memory_sample:
            self._next_memory_sample = time.monotonic() + MEMORY_SAMPLE_SECONDS
            self.memory_mib.append(measure_memory(self._process.pid))

    def kill(self, process_kind: str) -> None:
        """Sends SIGKILL to its processes of that kind (python or java); returns when all of its processes are gone."""
        assert self._process is not None
        children = self._children()
        for victim in [process for process in children if _is_of_kind(process_kind, process)] or children:
            _kill(victim)
        _, survivors = psutil.wait_procs(children, timeout=END_SECONDS)
        self.survivors += len(survivors)
        for process in survivors:
            _kill(process)
        self._process.stop()

    def stop(self) -> None:
        """Sends SIGTERM and waits for its end."""
        if self._process:
            self._process.stop()
        self._process = None

    def _children(self) -> list[psutil.Process]:
        assert self._process is not None
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def _is_of_kind(process_kind: str, process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # what Spark's Java starts for a moment may have ended
        return (process.name() == "java") == (process_kind == "java")
    return False


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
