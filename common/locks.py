"""Locks between processes: one process at a time holds a file, in which it writes who it is. A killed process releases it."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from common.errors import UserError

RETRY_SECONDS = 0.2  # seconds
MAX_COMMAND_CHARACTERS = 200  # of the holder's command, in the message of LockHeld


class LockHeld(UserError):
    """Another process holds the lock; the message says which."""


def lock_file(path: Path, wait: float | None = None) -> IO[str]:
    """Lock the file at `path`, which is made where it does not exist; it is locked until it is closed or this process ends.

    wait: seconds to wait for another process that holds it; None: without end. Raises LockHeld after that.
    """
    file = path.open("a+")  # not emptied: it names its holder
    deadline = None if wait is None else time.monotonic() + wait
    try:
        while not _try_lock(file, can_wait=deadline is None):
            if deadline is not None and time.monotonic() >= deadline:
                raise LockHeld(_read_holder(file))
            time.sleep(RETRY_SECONDS)
    except BaseException:
        file.close()
        raise
    write_holder(file, os.getpid())
    return file


@contextmanager
def file_lock(path: Path, wait: float | None = None) -> Iterator[None]:
    """`lock_file` for the duration of the block."""
    with lock_file(path, wait):
        yield


def write_holder(file: IO[str], process: int) -> None:
    """Write into the file, for others, that `process` of our command holds the lock; a full disk is no error."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:MAX_COMMAND_CHARACTERS]
    with suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"process {process} ({command})\n".encode(errors="replace"))


def _try_lock(file: IO[str], can_wait: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if can_wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _read_holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "another process"
