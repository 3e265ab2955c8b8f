"""How much memory we and all that we started hold while something runs."""

import threading
from contextlib import suppress
from types import TracebackType

import psutil

EVERY_SECONDS = 0.5


class PeakMemory:
    """Use as a context manager; `mib` is then the largest sum seen, half a second apart.

    Counted is each process's proportional set size where the system knows it, so that what several share counts once, else its
    resident set size.
    """

    def __init__(self) -> None:
        self.mib = 0.0
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._watcher.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ended.set()
        self._watcher.join()

    def _watch(self) -> None:
        while True:
            self.mib = max(self.mib, held_mib())
            if self._ended.wait(EVERY_SECONDS):
                return


def held_mib(pid: int | None = None) -> float:
    """MiB that a process (None: this one) and all below it hold now."""
    held = 0
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.Error):  # one that has ended meanwhile holds nothing
                full = process.memory_full_info()
                held += getattr(full, "pss", 0) or full.rss
    return held / 2**20
