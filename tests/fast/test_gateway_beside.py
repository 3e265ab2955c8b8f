"""The gateway beside `serve`, where it cannot be started: for want of memory, open files or room, or of a log to write to."""

import subprocess
import time

import pytest

from common.gateway import child_process as module
from common.gateway.address import Address
from common.gateway.child_process import GatewayProcess
from common.kafka.connection import Connection
from common.settings import Settings


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """A gateway that ends at once, told what it says; not entered yet."""
    monkeypatch.setattr(module, "FIRST_RESTART_SECONDS", 0.02)
    monkeypatch.setattr(module, "_build_command", lambda *_: ["false"])
    said = []
    address, connection = Address("127.0.0.1", 1), Connection("127.0.0.1:1")
    return GatewayProcess("finance_fraud", address, connection, Settings(data=tmp_path), said.append), said


def keep_running_until(beside, holds, seconds=20):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        beside.keep_running()
        time.sleep(0.01)


def test_a_gateway_that_cannot_be_started_is_told_and_tried_again_ever_later(beside, tmp_path):
    beside, said = beside
    log = tmp_path / "gateway.log"
    log.mkdir()  # cannot be written to
    with beside:
        keep_running_until(beside, lambda: len(said) == 3)
        assert all("cannot be started" in line and "gateway.log" in line for line in said)
        assert [line.split(" in ")[-1].split(" s")[0] for line in said] == ["0.04", "0.08", "0.16"]
        log.rmdir()
        keep_running_until(beside, lambda: beside.pid is not None)
        keep_running_until(beside, lambda: len(said) == 4)
        assert "ended with status 1" in said[3]
        log.unlink()
        log.mkdir()
        keep_running_until(beside, lambda: len(said) == 5)
        assert "cannot be started" in said[4]


def test_no_memory_for_a_process_is_no_end_either(beside, monkeypatch):
    beside, said = beside

    def fail(*_, **__):
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", fail)
        with beside:
            keep_running_until(beside, lambda: len(said) == 2)
    assert "Cannot allocate memory" in said[0] and beside.pid is None
