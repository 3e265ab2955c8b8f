"""A command of ours as a process that is killed and started again, as a service manager would."""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from common.embedded.supervise import Supervised, supervised
from loadtests.process_memory import held_mib

START_SECONDS = 180.0
MEMORY_EVERY = 5.0  # seconds
END_SECONDS = 60.0  # in which what a killed half leaves behind must be gone


@dataclass
class Driver:
    """ready: what it prints once it works; progress() grows with its work.

    ended: exit statuses of ends that nobody here asked for, such as giving up on a broker that is away; outlived: processes
    that were still there when their driver had long been killed; memory: MiB that it held, seen every few seconds.
    """

    name: str
    command: list[str]
    ready: str
    log: Path
    environment: Mapping[str, str]
    progress: Callable[[], int]
    ended: list[int] = field(default_factory=list)
    outlived: int = 0
    memory: list[float] = field(default_factory=list)
    _memory_due: float = 0.0
    _process: Supervised | None = None

    def start(self) -> None:
        self._process = supervised(self.command, self.log, environment=self.environment)

    def wait_until_ready(self) -> bool:
        """False when it ended or is not ready in time; its log says why."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process and self._process.exit_status() is None:
            if self.ready in self.log.read_text(errors="replace"):
                return True
            time.sleep(0.2)
        return False

    def keep_running(self) -> None:
        """Start it again if it ended; look at its memory now and then."""
        status = self._process.exit_status() if self._process else None
        if status is not None:
            self.ended.append(status)
            self.start()
        if self._process and time.monotonic() >= self._memory_due:
            self._memory_due = time.monotonic() + MEMORY_EVERY
            self.memory.append(held_mib(self._process.pid))

    def kill(self, half: str) -> None:
        """SIGKILL to one half of it; returns when all of it is gone."""
        assert self._process is not None
        family = self._family()
        for victim in [process for process in family if _is_of(half, process)] or family:
            _kill(victim)
        _, alive = psutil.wait_procs(family, timeout=END_SECONDS)
        self.outlived += len(alive)
        for process in alive:
            _kill(process)
        self._process.stop()

    def stop(self) -> None:
        """SIGTERM, and its end is awaited."""
        if self._process:
            self._process.stop()
        self._process = None

    def _family(self) -> list[psutil.Process]:
        assert self._process is not None
        try:
            return psutil.Process(self._process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def _is_of(half: str, process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # what Spark's Java starts for a moment may have ended
        return (process.name() == "java") == (half == "java")
    return False


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.NoSuchProcess):
        process.kill()
