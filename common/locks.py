"""Locks between processes: a file that one of them holds at a time, and that says which. One that is killed lets go."""

import fcntl
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from common.errors import UserError

LOOK_EVERY = 0.2  # seconds
LONGEST = 200  # characters of a command that are told


class Held(UserError):
    """Another process holds the lock; the message says which."""


def lock(path: Path, wait: float | None = None) -> IO[str]:
    """The file at `path`, which is made if need be, locked until it is closed or its process ends.

    wait: how many seconds for another process to let go; None: for good. Raises Held after that.
    """
    file = path.open("a+")  # not emptied: who holds it stands in it
    deadline = None if wait is None else time.monotonic() + wait
    try:
        while not _taken(file, can_wait=deadline is None):
            if deadline is not None and time.monotonic() >= deadline:
                raise Held(_holder(file))
            time.sleep(LOOK_EVERY)
    except BaseException:
        file.close()
        raise
    note_holder(file, os.getpid())
    return file


@contextmanager
def locked(path: Path, wait: float | None = None) -> Iterator[None]:
    """`lock` for as long as the block lasts."""
    with lock(path, wait):
        yield


def note_holder(file: IO[str], process: int) -> None:
    """Write down for others that this process holds the lock, as part of our command; where there is room for it."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:LONGEST]
    with suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), f"process {process} ({command})\n".encode(errors="replace"))


def _taken(file: IO[str], can_wait: bool) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if can_wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _holder(file: IO[str]) -> str:
    file.seek(0)
    return file.read().strip() or "another process"
