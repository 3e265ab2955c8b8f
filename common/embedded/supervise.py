"""A child process that never outlives us: a small supervisor beside it ends it when the pipe from us closes, however we end.

The same on Linux and macOS, SIGKILL of the parent included. SIGKILL of the supervisor takes the command along at once on Linux,
elsewhere when the parent looks or stops it. Run as a file, this module is the supervisor.
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
LOOK_EVERY = 0.2  # seconds
PR_SET_PDEATHSIG = 1  # of Linux's prctl


class Supervised:
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
        """SIGKILL to the command; returns when it is gone."""
        import psutil  # not above: the supervisor itself gets by on the standard library

        if self.exit_status() is None:
            for command in psutil.Process(self.pid).children():
                command.kill()
            self._process.wait()
            self._end_group()

    def _end_group(self) -> None:
        """What is left of the supervisor's group, once the supervisor has ended or will not: as the command, if it was killed.

        To be done as soon as that is noticed: later the number may be another group's.
        """
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def __enter__(self) -> "Supervised":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def supervised(
    command: Sequence[str],
    log: Path,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    grace: float = GRACE_SECONDS,
    keep_open: Sequence[int] = (),
) -> Supervised:
    """Starts `command` in `folder`, its output appended to `log`, in a session of its own: Ctrl-C in the terminal is for us.

    `keep_open` are file descriptors that stay open as long as the command runs, for instance of a locked file.
    """
    supervisor = [sys.executable, "-I", __file__, str(os.getpid()), str(grace), *command]
    with log.open("ab") as output:
        process = subprocess.Popen(
            supervisor, cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output,
            start_new_session=True, pass_fds=keep_open,
        )
    return Supervised(process, command, grace)


def _supervise(parent: int, grace: float, command: Sequence[str]) -> int:
    """Runs `command` until it ends, standard input closes, `parent` is gone or we are asked to end; the exit status."""
    asked_to_end = []

    def note(number: int, _: FrameType | None) -> None:
        asked_to_end.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, note)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_ending_with(os.getpid()))
    except OSError as error:
        os.write(2, f"cannot start {command[0]}: {error}\n".encode())
        return 127
    # A forked worker of the parent may hold our pipe open beyond the parent's end, so we look at who our parent is, too.
    while child.poll() is None and not asked_to_end and os.getppid() == parent and not _closed(0):
        pass
    status = _end(child, grace)
    if os.getppid() != parent:  # nobody waits for our status and then ends what the command has left
        os.killpg(0, signal.SIGKILL)
    return status


def _ending_with(supervisor: int) -> Callable[[], None] | None:
    """What a child does before it becomes the command: asks Linux to be killed when the supervisor is, itself by SIGKILL.

    Elsewhere it lives on until whoever started the supervisor looks, or stops it.
    """
    if sys.platform != "linux":
        return None
    control = ctypes.CDLL(None).prctl  # here: a forked child does as little as it can

    def ask() -> None:
        control(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != supervisor:  # it was killed in between
            os._exit(1)

    return ask


def _closed(pipe: int) -> bool:
    """Whether the other end is closed; waits a moment to find out."""
    readable, _, _ = select.select([pipe], [], [], LOOK_EVERY)
    return bool(readable) and not os.read(pipe, 1024)


def _end(child: "subprocess.Popen[bytes]", grace: float) -> int:
    if child.poll() is None:
        child.terminate()
    deadline = time.monotonic() + grace
    while child.poll() is None and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY / 4)
    if child.poll() is None:
        child.kill()
    status = child.wait()
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    sys.exit(_supervise(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
