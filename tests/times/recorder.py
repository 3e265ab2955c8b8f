"""A pytest plugin, loaded by `make test-times`: of each phase of each test its seconds, processor time and sleep."""

import os
import threading
import time
from contextlib import suppress

import psutil
import pytest
from sitecustomize import note

slept = {"seconds": 0.0}
real_sleep = time.sleep


def counted_sleep(seconds):
    real_sleep(seconds)
    if threading.current_thread() is threading.main_thread():
        slept["seconds"] += seconds


def processor_seconds():
    """Of this process and all below it; those that ended are in their parent's account."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    time.sleep = counted_sleep
    before, asleep, began = processor_seconds(), slept["seconds"], time.monotonic()
    try:
        return (yield)
    finally:
        time.sleep = real_sleep
        note(
            kind="test",
            test=item.nodeid,
            seconds=time.monotonic() - began,
            cpu=processor_seconds() - before,
            slept=slept["seconds"] - asleep,
        )


def pytest_runtest_logreport(report):
    if "PYTEST_XDIST_WORKER" in os.environ or not hasattr(report, "node"):
        note(kind="phase", test=report.nodeid, phase=report.when, seconds=report.duration, outcome=report.outcome)
