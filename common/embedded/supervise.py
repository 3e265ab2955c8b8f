"""Starts a child process that never outlives us: a small supervisor ends it when the pipe from us closes, however we end.

This holds on Linux and macOS, also when the parent gets SIGKILL. When the supervisor gets it, the command ends at once on
Linux, elsewhere once the parent asks for its status or stops it. Run as a file, this module is the supervisor.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType

GRACE_SECONDS = 10.0  # between asking a child to end and killing it
CHECK_SECONDS = 0.2  # between the supervisor's checks of its command and its parent
PR_SET_PDEATHSIG = 1  # of Linux's prctl


class SupervisedProcess:
    """A running child. Use as a context manager, or call `stop` in the end."""

    def __init__(self, process: "subprocess.Popen[bytes]", command: Sequence[str], grace: float) -> None:
        self.command = list(command)
        self._process = process
        self._grace = grace

    @property
    def pid(self) -> int:
        """The supervisor's process id; the command is its only child."""
        return self._process.pid

    def exit_status(self) -> int | None:
        """The command's exit status, negative for a signal; None while it runs."""
        if self._process.returncode is None and self._process.poll() is not None:
            self._end_group()
        status = self._process.returncode
        return status if status is None or status < 128 else 128 - status

    def stop(self) -> int:
        """Ends the command, at once if need be, and returns its exit status. May be called again."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        if self.exit_status() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace + 5)
            self._end_group()
            self._process.wait()
        return self.exit_status() or 0

    def kill(self) -> None:
        """Sends SIGKILL to the command, and returns when it has ended."""
        import psutil  # not above: the supervisor itself needs only the standard library

        if self.exit_status() is None:
            for command in psutil.Process(self.pid).children():
                command.kill()
            self._process.wait()
            self._end_group()

    def _end_group(self) -> None:
        """Kills what is left of the supervisor's group once that has ended or does not end, as its command if it was killed.

        Call it as soon as this is known: later the number may be another group's.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def __enter__(self) -> "SupervisedProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_supervised(
    command: Sequence[str],
    log: Path,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    grace: float = GRACE_SECONDS,
    keep_open: Sequence[int] = (),
) -> SupervisedProcess:
    """Starts `command` in `folder`, its output appended to `log`, in a session of its own, so that Ctrl-C does not reach it.

    grace: seconds between asking it to end and killing it. keep_open: file descriptors that stay open as long as the command
    runs, for instance of a locked file.
    """
    supervisor = [sys.executable, "-I", __file__, str(os.getpid()), str(grace), *command]
    with log.open("ab") as output:
        process = subprocess.Popen(
            supervisor,
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=keep_open,
        )
    return SupervisedProcess(process, command, grace)


def _supervise(parent: int, grace: float, command: Sequence[str]) -> int:
    """Runs `command` until it ends, standard input closes, `parent` has ended or a signal comes; returns the exit status."""
    signals = []

    def note_signal(number: int, _: FrameType | None) -> None:
        signals.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note_signal)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_death_with(os.getpid()))
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error}\n".encode())
        return 127
    # A forked worker of the parent may hold our pipe open beyond the parent's end, so we check who our parent is, too.
    while child.poll() is None and not signals and os.getppid() == parent and not _is_closed(0):
        pass
    status = _end_child(child, grace)
    if os.getppid() != parent:  # nobody is left to read our status and then end what the command has started
        os.killpg(0, signal.SIGKILL)
    return status


def _death_with(supervisor: int) -> Callable[[], None] | None:
    """What a child does before it becomes the command: it asks Linux for SIGKILL when the supervisor ends, even by SIGKILL.

    Elsewhere it lives on until the parent asks for its status, or stops it.
    """
    if sys.platform != "linux":
        return None
    control = ctypes.CDLL(None).prctl  # loaded here: a forked child should do as little as it can

    def request_signal() -> None:
        control(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:  # it was killed in between
            os._exit(1)

    return request_signal


def _is_closed(pipe: int) -> bool:
    """Whether the other end is closed; waits up to CHECK_SECONDS to find out."""
    readable, _, _ = select.select([pipe], [], [], CHECK_SECONDS)
    return bool(readable) and not os.read(pipe, 1024)


def _end_child(child: "subprocess.Popen[bytes]", grace: float) -> int:
    """Ends the child, by SIGKILL after `grace` seconds; returns its exit status, 128 and the signal's number for a signal."""
    if child.poll() is None:
        child.terminate()
    deadline = time.monotonic() + grace
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(CHECK_SECONDS / 4)
    if child.poll() is None:
        child.kill()
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(_supervise(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
