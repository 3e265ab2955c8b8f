"""Compacts and vacuums tables beside the streams that write them, in a thread of its own: no batch waits or fails for it."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from common import tables
from common.failures import describe_failure

LOG = logging.getLogger(__name__)

INTERVAL_SECONDS = 100.0
GRACE_SECONDS = 1.0  # that a compaction gets to end; one that is left, or dies with us, was never committed


@contextmanager
def upkeep(paths: Sequence[str], retention_hours: int, interval: float = INTERVAL_SECONDS) -> Iterator[None]:
    """Maintain the tables at once and every so many seconds, until the block ends.

    Whatever goes wrong with one is logged once, until it went well again, and is tried again the next time.
    """
    ending = threading.Event()
    thread = threading.Thread(target=_keep_up, args=(paths, retention_hours, interval, ending), name="upkeep", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(GRACE_SECONDS)


def _keep_up(paths: Sequence[str], retention_hours: int, interval: float, ending: threading.Event) -> None:
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
                    reason = describe_failure(problem)
                    LOG.warning("no upkeep of %s, which is tried again every %.0f s: %s", path, interval, reason)
                failing.add(path)
        ending.wait(interval)
