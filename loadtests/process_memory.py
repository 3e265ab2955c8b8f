"""Measures the memory that this process and all processes below it hold while something runs."""

import threading
from contextlib import suppress
from types import TracebackType

import psutil

SAMPLE_SECONDS = 0.5
BROKER_CLASS = "kafka.Kafka"  # the main class in the broker's command line


class PeakMemory:
    """Use as a context manager; `mib` is then the largest sum of samples half a second apart, and `by_kind` who held it.

    Counted is each process's proportional set size where the system gives it, so that memory which several processes share
    counts once; else the resident set size.
    """

    def __init__(self) -> None:
        self.mib = 0.0
        self.by_kind = dict[str, float]()
        self._stop = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> "PeakMemory":
        self._sampler.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._sampler.join()

    def _sample(self) -> None:
        while True:
            mib_by_kind = measure_memory_by_kind()
            if (total := sum(mib_by_kind.values())) > self.mib:
                self.mib, self.by_kind = total, mib_by_kind
            if self._stop.wait(SAMPLE_SECONDS):
                return


def measure_memory(pid: int | None = None) -> float:
    """MiB that a process (None: this one) and all processes below it hold now."""
    return sum(measure_memory_by_kind(pid).values())


def measure_memory_by_kind(pid: int | None = None) -> dict[str, float]:
    """MiB of the process itself ("own"), of the "Spark" and "broker" that it started, and of all others below it ("workers")."""
    mib_by_kind = dict.fromkeys(("own", "Spark", "broker", "workers"), 0.0)
    with suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with suppress(psutil.Error):  # one that has ended meanwhile holds nothing
                memory = process.memory_full_info()
                mib_by_kind["own" if process == root else _kind_of(process)] += (getattr(memory, "pss", 0) or memory.rss) / 2**20
    return mib_by_kind


def _kind_of(process: psutil.Process) -> str:
    if "java" not in process.name():
        return "workers"
    return "broker" if BROKER_CLASS in process.cmdline() else "Spark"
