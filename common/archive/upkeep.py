"""Upkeep of tables beside the streams that write them: in a thread of its own, so that no batch waits and none fails for it."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from common import tables
from common.failures import in_words

LOG = logging.getLogger(__name__)

EVERY = 100.0  # seconds
GRACE = 1.0  # seconds that a compaction gets to end; one that is left, or dies with us, was never committed


@contextmanager
def upkeep(paths: Sequence[str], retention_hours: int, every: float = EVERY) -> Iterator[None]:
    """Maintain the tables at once and every so many seconds, until the block ends.

    Whatever goes wrong with one is logged once, until it went well again, and is tried again the next time.
    """
    ending = threading.Event()
    thread = threading.Thread(target=_keep_up, args=(paths, retention_hours, every, ending), name="upkeep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(GRACE)


def _keep_up(paths: Sequence[str], retention_hours: int, every: float, ending: threading.Event) -> None:
    failing: set[str] = set()
    while not ending.is_set():
        for path in paths:
            if ending.is_set():
                return
            try:
                tables.maintain(path, retention_hours=retention_hours, ending=ending)
                failing.discard(path)
            except BaseException as problem:  # what the library for Delta tables breaks down with is no Exception
                if path not in failing:
                    LOG.warning("no upkeep of %s, which is tried again every %.0f s: %s", path, every, in_words(problem))
                failing.add(path)
        ending.wait(every)
