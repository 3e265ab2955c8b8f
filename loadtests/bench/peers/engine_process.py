"""Starts an engine's processes for one measurement, and always ends them."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from common.embedded.jars import JarsError, ensure_jars
from common.embedded.java import find_java
from common.embedded.ports import HOST, find_free_port
from common.embedded.supervise import SupervisedProcess, start_supervised
from common.errors import UserError
from common.kafka.connection import GROUP_PREFIX
from loadtests.bench.peers.environments import NotInstalled, ensure_environment
from loadtests.bench.peers.peer import Peer

LOG_LINES = 8  # of its log's end that a failure shows
GRACE_SECONDS = 5.0  # between asking an engine to end and killing it


class PeerFailed(UserError):
    """An engine ended although it should be running, or did not end in time; the message holds the end of its log."""


@dataclass(frozen=True)
class Engine:
    """An engine that can be started: the Python it runs in, and the jars it needs."""

    peer: Peer
    python: Path
    jars: tuple[str, ...] = ()


def install_engines(
    peers: Sequence[Peer], home: Path, not_measured: dict[str, str], show_status: Callable[[str], object]
) -> list[Engine]:
    """The engines that can be installed here; notes in `not_measured` why the others cannot."""
    engines = []
    for peer in peers:
        show_status(f"{peer.title} {peer.version}: its environment")
        try:
            engines.append(_install(peer, home))
        except (NotInstalled, JarsError) as problem:
            not_measured[peer.name] = str(problem)
    return engines


def _install(peer: Peer, home: Path) -> Engine:
    jars = tuple(map(str, ensure_jars("flink", home=home))) if peer.name == "flink" else ()
    python = ensure_environment(peer.requirements, home) if peer.requirements else Path(sys.executable)
    return Engine(peer, python, jars)


@contextmanager
def running_engine(engine: Engine, job: Mapping[str, Any], folder: Path) -> Iterator["RunningEngine"]:
    """The engine doing `job` in `folder`, until the block ends."""
    folder.mkdir(parents=True)
    peer = engine.peer
    addresses = [f"{HOST}:{find_free_port()}" for _ in range(peer.processes)] if peer.processes > 1 else []
    shared_job = {**job, "folder": str(folder), "jars": engine.jars, "processes": peer.processes, "addresses": addresses}
    with ExitStack() as stack:
        children = []
        for index in range(peer.processes):
            process_job = shared_job | {"index": index, "group": f"{GROUP_PREFIX}{folder.name}"}
            command = [str(engine.python), *_script(peer), json.dumps(process_job)]
            child = start_supervised(command, folder / "log", folder, environment=_environment(peer), grace=GRACE_SECONDS)
            stack.callback(_end, child)
            children.append(child)
        yield RunningEngine(peer, children, folder / "log")


@dataclass(frozen=True)
class RunningEngine:
    """An engine's processes, which share a log."""

    peer: Peer
    children: list[SupervisedProcess]
    log: Path

    def raise_if_ended(self) -> None:
        """Raises PeerFailed when one of the engine's processes has ended."""
        for child in self.children:
            if child.exit_status() is not None:
                lines = [line for line in self.log.read_text(errors="replace").splitlines() if not line.startswith("\tat ")]
                log_end = "\n  ".join(line[:300] for line in lines[-LOG_LINES:])
                raise PeerFailed(f"{self.peer.name} ended with status {child.exit_status()}. The end of {self.log}:\n  {log_end}")

    def wait(self, limit: float) -> float:
        """Seconds until the engine has ended by itself; raises PeerFailed when it fails or takes longer than `limit`."""
        started_at = time.monotonic()
        (child,) = self.children
        while child.exit_status() is None and time.monotonic() - started_at < limit:
            time.sleep(0.01)
        seconds = time.monotonic() - started_at
        if child.exit_status() is None:
            raise PeerFailed(f"{self.peer.name} had not ended after {limit:g} s")
        if child.exit_status():
            self.raise_if_ended()
        return seconds


def _script(peer: Peer) -> list[str]:
    return ["-m", f"loadtests.bench.peers.{peer.name}_job"] if peer.is_ours else [str(peer.script)]


def _environment(peer: Peer) -> dict[str, str]:
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if peer.requirements:
        environment.pop("PYTHONPATH", None)  # a peer's environment has none of the project's own packages
        environment["JAVA_HOME"] = str(find_java().home)
    return environment


def _end(child: SupervisedProcess) -> None:
    """Ends the engine and whatever it started: a Java of its own, for example, may outlive the Python that is ended."""
    child.stop()
    deadline = time.monotonic() + GRACE_SECONDS
    with suppress(ProcessLookupError):  # no process is left in the group, which is the supervisor's own
        while time.monotonic() < deadline:
            os.killpg(child.pid, 0)
            time.sleep(0.1)
        os.killpg(child.pid, signal.SIGKILL)
