"""Locks between processes: the error names the holder, and a killed process releases its lock."""

import os
import subprocess
import sys
import threading
import time

import pytest

from common.locks import LockHeld, file_lock, lock_file
from common.workspace import FolderInUse, Workspace

HOLDER = """
import sys, time
from pathlib import Path
from common.locks import file_lock
with file_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "lock"), "detect"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_who_is_refused_is_told_by_which_process_and_command_and_one_that_is_killed_lets_go(tmp_path, holder):
    for _ in range(2):
        with pytest.raises(LockHeld, match=f"process {holder.pid} .*detect"):
            lock_file(tmp_path / "lock", wait=0)
    holder.kill()
    with lock_file(tmp_path / "lock", wait=10), pytest.raises(LockHeld, match=f"process {os.getpid()} "):
        lock_file(tmp_path / "lock", wait=0)


def test_who_waits_gets_it_when_it_is_let_go(tmp_path, holder):
    threading.Timer(0.3, holder.kill).start()
    started = time.monotonic()
    with file_lock(tmp_path / "lock"):
        assert time.monotonic() - started > 0.2


def test_of_the_same_work_a_second_is_refused_and_other_work_is_not(tmp_path):
    workspace = Workspace(tmp_path, "v")
    with workspace.lock("batch"), workspace.lock("detect"):
        held = f"batch of v runs in .* already, as process {os.getpid()} .*: wait for its end"
        with pytest.raises(FolderInUse, match=held), workspace.lock("batch"):
            pass
    with workspace.lock("batch"):
        pass


def test_a_full_disk_keeps_nobody_from_a_lock(tmp_path, no_room):
    with no_room(), file_lock(tmp_path / "lock"), pytest.raises(LockHeld, match="another process"):
        lock_file(tmp_path / "lock", wait=0)
