"""The drivers that `hybrid chaos` kills and starts again."""

import os
import subprocess

import psutil
import pytest

from loadtests.chaos.drivers import Driver


@pytest.fixture
def ended_process():
    """A process that has just ended. Spark's Java has such children all the time: it starts `chmod` for files that it makes."""
    brief = subprocess.Popen(["sleep", "60"])
    process = psutil.Process(brief.pid)
    brief.kill()
    brief.wait()
    return process


@pytest.mark.parametrize("process_kind", ["java", "python"])
def test_a_child_that_ended_by_itself_meanwhile_is_no_error(tmp_path, monkeypatch, ended_process, process_kind):
    driver = Driver("archive", ["sh", "-c", "echo at work; sleep 60"], "at work", tmp_path / "log", dict(os.environ), lambda: 0)
    children = driver._children
    monkeypatch.setattr(driver, "_children", lambda: [ended_process, *children()])
    driver.start()
    assert driver.wait_until_ready()
    started = children()
    assert started
    driver.kill(process_kind)
    assert driver.survivors == 0 and not any(process.is_running() for process in started)
