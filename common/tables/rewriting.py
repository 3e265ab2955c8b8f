"""One rewriter of a table at a time.

delta-rs takes files that a compaction replaced for still there when another compaction, a merge or an overwrite of the same
files commits after it (delta-rs#3982): both stand, and rows count twice. Appends replace nothing and need no turn.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.locks import file_lock
from common.tables.log import uri

LOCK = ".rewriting.lock"
_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


@contextmanager
def rewriting(path: str | Path) -> Iterator[None]:
    """Waits for its turn: among all processes for a table in a file system, among this one's threads in an object store."""
    place = uri(path)
    with _turns[place]:
        if "://" in place:
            yield
            return
        with file_lock(Path(place) / LOCK):
            yield
