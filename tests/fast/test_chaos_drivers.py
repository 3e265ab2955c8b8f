"""What `hybrid chaos` kills."""

import os
import subprocess

import psutil
import pytest

from loadtests.chaos.drivers import Driver


@pytest.fixture
def gone():
    """A process that was there a moment ago, as Spark's Java has them all the time: it starts `chmod` for files that it makes."""
    brief = subprocess.Popen(["sleep", "60"])
    process = psutil.Process(brief.pid)
    brief.kill()
    brief.wait()
    return process


@pytest.mark.parametrize("half", ["java", "python"])
def test_a_child_that_ended_by_itself_meanwhile_is_no_error(tmp_path, monkeypatch, gone, half):
    driver = Driver("archive", ["sh", "-c", "echo at work; sleep 60"], "at work", tmp_path / "log", dict(os.environ), lambda: 0)
    family = driver._family
    monkeypatch.setattr(driver, "_family", lambda: [gone, *family()])
    driver.start()
    assert driver.wait_until_ready()
    started = family()
    assert started
    driver.kill(half)
    assert driver.outlived == 0 and not any(each.is_running() for each in started)
