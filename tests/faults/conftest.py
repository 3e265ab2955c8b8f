"""A machine's clock that is set ahead and back under running processes."""

import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

JUMPS = {40: 3 * 3600, 75: -3600, 110: 40 * 60}  # by seconds from the beginning: how many the clock is ahead then


@pytest.fixture
def jumping_clock(tmp_path: Path, program: Callable[[str, str], str]) -> Iterator[dict[str, str]]:
    """Environment of processes whose clock of day jumps until the test ends: by a library put before the system's, on Linux."""
    library, moved = tmp_path / "moved_clock.so", tmp_path / "moved"
    compiler = program("cc", "gcc libc6-dev")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, Path(__file__).with_name("moved_clock.c"), "-ldl"], check=True)
    moved.write_bytes(struct.pack("q", 0))
    stop, began = threading.Event(), time.monotonic()

    def jump() -> None:
        # Written in place, where the processes have it mapped.
        with moved.open("r+b", buffering=0) as file:
            for at, ahead in JUMPS.items():
                if stop.wait(began + at - time.monotonic()):
                    return
                file.seek(0)
                file.write(struct.pack("q", ahead))

    jumping = threading.Thread(target=jump)
    jumping.start()
    try:
        yield {**os.environ, "LD_PRELOAD": str(library), "MOVED_CLOCK": str(moved)}
    finally:
        stop.set()
        jumping.join()
