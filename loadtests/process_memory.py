"""How much memory we and all that we started hold while something runs."""

import threading
from contextlib import suppress
from types import TracebackType

import psutil

EVERY_SECONDS = 0.5
BROKERS_CLASS = "kafka.Kafka"


class PeakMemory:
    """Use as a context manager; `mib` is then the largest sum seen, half a second apart, and `by_kind` who held it.

    Counted is each process's proportional set size where the system knows it, so that what several share counts once, else its
    resident set size.
    """

    def __init__(self) -> None:
        self.mib = 0.0
        self.by_kind = dict[str, float]()
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
            held = held_by_kind()
            if (total := sum(held.values())) > self.mib:
                self.mib, self.by_kind = total, held
            if self._ended.wait(EVERY_SECONDS):
                return


def held_mib(pid: int | None = None) -> float:
    """MiB that a process (None: this one) and all below it hold now."""
    return sum(held_by_kind(pid).values())


def held_by_kind(pid: int | None = None) -> dict[str, float]:
    """The same of the process itself ("own"), of "Spark" and "broker" where it started such, and of all else ("workers")."""
    held = dict.fromkeys(("own", "Spark", "broker", "workers"), 0.0)
    with suppress(psutil.Error):
        top = psutil.Process(pid)
        for process in (top, *top.children(recursive=True)):
            with suppress(psutil.Error):  # one that has ended meanwhile holds nothing
                full = process.memory_full_info()
                held["own" if process == top else _kind(process)] += (getattr(full, "pss", 0) or full.rss) / 2**20
    return held


def _kind(process: psutil.Process) -> str:
    if "java" not in process.name():
        return "workers"
    return "broker" if BROKERS_CLASS in process.cmdline() else "Spark"
