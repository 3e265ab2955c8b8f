"""Lets one rewriter of a table work at a time.

When a compaction, a merge or an overwrite commits after another compaction of the same files, delta-rs takes the files that the
first replaced for current ones (delta-rs#3982): the results of both stay, and rows count twice. Appends replace nothing and need
no lock.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.locks import file_lock
from common.tables.log import absolute_uri

LOCK_FILE = ".rewriting.lock"
_thread_locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def rewrite_lock(path: str | Path) -> Iterator[None]:
    """Waits for the lock: of all processes for a table in a file system, of this process's threads for one in an object store."""
    location = absolute_uri(path)
    with _thread_locks[location]:
        if "://" in location:
            yield
            return
        with file_lock(Path(location) / LOCK_FILE):
            yield
