"""An engine at work: its processes with their log, started for one measurement and always ended."""

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
from common.embedded.ports import HOST, free_port
from common.embedded.supervise import Supervised, supervised
from common.errors import UserError
from common.kafka.connection import GROUP_PREFIX
from loadtests.bench.peers.environments import NotInstalled, ensure_environment
from loadtests.bench.peers.peer import Peer

LOG_LINES = 8
GRACE = 5.0  # seconds between asking an engine to end and killing it


class PeerFailed(UserError):
    """An engine ended although it should be running; the message holds the end of its log."""


@dataclass(frozen=True)
class Ready:
    """An engine that can be started: the Python it runs in, and the jars it needs."""

    peer: Peer
    python: Path
    jars: tuple[str, ...] = ()


def prepare(peers: Sequence[Peer], home: Path, not_measured: dict[str, str], say: Callable[[str], object]) -> list[Ready]:
    """The engines that can be had here, fetched and installed; of the others, why not, in `not_measured`."""
    ready = []
    for peer in peers:
        say(f"{peer.title} {peer.version}: its environment")
        try:
            ready.append(_prepared(peer, home))
        except (NotInstalled, JarsError) as problem:
            not_measured[peer.name] = str(problem)
    return ready


def _prepared(peer: Peer, home: Path) -> Ready:
    jars = tuple(map(str, ensure_jars("flink", home=home))) if peer.name == "flink" else ()
    python = ensure_environment(peer.requirements, home) if peer.requirements else Path(sys.executable)
    return Ready(peer, python, jars)


@contextmanager
def running(ready: Ready, job: Mapping[str, Any], folder: Path) -> Iterator["Work"]:
    """The engine doing `job` in `folder`, until the block ends."""
    folder.mkdir(parents=True)
    peer = ready.peer
    addresses = [f"{HOST}:{free_port()}" for _ in range(peer.processes)] if peer.processes > 1 else []
    shared = {**job, "folder": str(folder), "jars": ready.jars, "processes": peer.processes, "addresses": addresses}
    with ExitStack() as stack:
        children = []
        for index in range(peer.processes):
            given = shared | {"index": index, "group": f"{GROUP_PREFIX}{folder.name}"}
            command = [str(ready.python), *_script(peer), json.dumps(given)]
            child = supervised(command, folder / "log", folder, environment=_environment(peer), grace=GRACE)
            stack.callback(_end, child)
            children.append(child)
        yield Work(peer, children, folder / "log")


@dataclass(frozen=True)
class Work:
    peer: Peer
    children: list[Supervised]
    log: Path

    def check(self) -> None:
        """Raises PeerFailed when one of the engine's processes has ended."""
        for child in self.children:
            if child.exit_status() is not None:
                lines = [line for line in self.log.read_text(errors="replace").splitlines() if not line.startswith("\tat ")]
                said = "\n  ".join(line[:300] for line in lines[-LOG_LINES:])
                raise PeerFailed(f"{self.peer.name} ended with status {child.exit_status()}. The end of {self.log}:\n  {said}")

    def wait(self, limit: float) -> float:
        """Seconds until the engine has ended by itself; raises PeerFailed when it fails or takes longer than `limit`."""
        began = time.monotonic()
        child, = self.children
        while child.exit_status() is None and time.monotonic() - began < limit:
            time.sleep(0.01)
        passed = time.monotonic() - began
        if child.exit_status() is None:
            raise PeerFailed(f"{self.peer.name} was not through after {limit:g} s")
        if child.exit_status():
            self.check()
        return passed


def _script(peer: Peer) -> list[str]:
    return ["-m", f"loadtests.bench.peers.{peer.name}_job"] if peer.is_ours else [str(peer.script)]


def _environment(peer: Peer) -> dict[str, str]:
    given = {**os.environ, "PYTHONUNBUFFERED": "1"}
    if peer.requirements:
        given.pop("PYTHONPATH", None)  # the project's own packages are none of a peer's
        given["JAVA_HOME"] = str(find_java().home)
    return given


def _end(child: Supervised) -> None:
    """Ends the engine and whatever it started: a Java of its own, for one, may outlive the Python that is ended."""
    child.stop()
    deadline = time.monotonic() + GRACE
    with suppress(ProcessLookupError):  # nobody is left in the group, which is the supervisor's own
        while time.monotonic() < deadline:
            os.killpg(child.pid, 0)
            time.sleep(0.1)
        os.killpg(child.pid, signal.SIGKILL)
