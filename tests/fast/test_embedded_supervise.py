"""A supervised command ends with its parent, however that ends, and takes along what it has started."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from common.embedded.supervise import SupervisedProcess, start_supervised

# Starts a child that never ends by itself, says its process id, and waits.
PARENT = """
import sys, time
from pathlib import Path
from common.embedded.supervise import start_supervised
child = start_supervised(sys.argv[2:], Path(sys.argv[1]))
print(child.pid, flush=True)
time.sleep(600)
"""
FORKING_PARENT = PARENT.replace(
    "time.sleep",
    """
import os
worker = os.fork()
if worker:
    print(worker, flush=True)
time.sleep""",
)
STUBBORN = "trap '' TERM; while :; do sleep 0.1; done"


def wait_until(condition, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def child_of(pid):
    """The supervised command itself."""
    assert wait_until(lambda: psutil.Process(pid).children())
    return psutil.Process(pid).children()[0]


def test_the_exit_status_of_the_command_is_told(tmp_path):
    with start_supervised(["sh", "-c", "echo said; exit 3"], tmp_path / "log") as child:
        assert wait_until(lambda: child.exit_status() == 3)
    assert (tmp_path / "log").read_text() == "said\n"


def test_a_command_killed_by_a_signal_has_a_negative_status(tmp_path):
    with start_supervised(["sh", "-c", "kill -9 $$"], tmp_path / "log") as child:
        assert wait_until(lambda: child.exit_status() == -9)


def test_a_command_that_is_not_there_is_named_in_the_log(tmp_path):
    with start_supervised(["no-such-program"], tmp_path / "log") as child:
        assert wait_until(lambda: child.exit_status() == 127)
    assert "no-such-program" in (tmp_path / "log").read_text()


def test_stop_ends_the_command_and_may_be_repeated(tmp_path):
    child = start_supervised(["sleep", "600"], tmp_path / "log")
    command = child_of(child.pid)
    assert (child.stop(), child.stop()) == (-signal.SIGTERM, -signal.SIGTERM)
    assert not command.is_running()


def test_a_command_that_does_not_listen_is_killed_after_the_grace(tmp_path):
    child = start_supervised(["sh", "-c", STUBBORN], tmp_path / "log", grace=0.5)
    command = child_of(child.pid)
    time.sleep(0.3)  # until the shell has set its trap
    assert child.stop() == -signal.SIGKILL
    assert not command.is_running()


def test_the_command_is_out_of_reach_of_the_terminals_interrupt(tmp_path):
    with start_supervised(["sleep", "600"], tmp_path / "log") as child:
        assert os.getpgid(child_of(child.pid).pid) == child.pid != os.getpgid(0)


def test_a_parent_killed_without_warning_takes_the_command_with_it(tmp_path):
    command = [sys.executable, "-c", PARENT, tmp_path / "log", "sleep", "600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = child_of(int(parent.stdout.readline()))
        parent.kill()
    assert wait_until(lambda: not child.is_running())


def test_a_worker_that_the_parent_forked_does_not_keep_the_command_alive(tmp_path):
    command = [sys.executable, "-c", FORKING_PARENT, tmp_path / "log", "sleep", "600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child, worker = child_of(int(parent.stdout.readline())), int(parent.stdout.readline())
        parent.kill()
        parent.stdout.close()
    gone = wait_until(lambda: not child.is_running())
    os.kill(worker, signal.SIGKILL)
    assert gone


def test_a_supervisor_killed_without_warning_takes_the_command_with_it(tmp_path):
    child = start_supervised(["sleep", "600"], tmp_path / "log")
    command = child_of(child.pid)
    os.kill(child.pid, signal.SIGKILL)
    gone = wait_until(lambda: not command.is_running() or command.status() == psutil.STATUS_ZOMBIE)
    assert gone if sys.platform == "linux" else child.stop() and not command.is_running()
    assert child.exit_status() == -signal.SIGKILL == child.stop()


@pytest.mark.parametrize(
    "end", [SupervisedProcess.stop, SupervisedProcess.kill, lambda child: os.kill(child.pid, signal.SIGKILL)]
)
def test_what_the_command_has_started_ends_with_it(tmp_path, end):
    child = start_supervised(["sh", "-c", "sleep 600 & echo $!; exec sleep 600"], tmp_path / "log")
    assert wait_until(lambda: (tmp_path / "log").read_text().strip())
    below = psutil.Process(int((tmp_path / "log").read_text()))
    end(child)
    assert wait_until(lambda: child.exit_status() is not None)
    assert wait_until(lambda: not below.is_running() or below.status() == psutil.STATUS_ZOMBIE)


def test_what_the_command_has_started_ends_with_a_parent_that_is_killed(tmp_path):
    command = [sys.executable, "-c", PARENT, tmp_path / "log", "sh", "-c", "sleep 600 & echo $!; exec sleep 600"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert wait_until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").read_text().strip())
        below = psutil.Process(int((tmp_path / "log").read_text()))
        parent.kill()
    assert wait_until(lambda: not below.is_running() or below.status() == psutil.STATUS_ZOMBIE)
