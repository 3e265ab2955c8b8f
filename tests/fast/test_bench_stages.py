"""The parts of `hybrid bench stages` that need neither Spark nor a broker: memory, HTTP load, ratios and tables."""

import io
import sys
import time
from contextlib import contextmanager

import pytest
from rich.console import Console

from common.embedded.ports import HOST, find_free_port, wait_until_listening
from common.embedded.supervise import start_supervised
from loadtests.bench.http_load import Endpoint, NotAccepted, post_all
from loadtests.commands.bench_stages import markdown, results_table, stage_ratios
from loadtests.process_memory import PeakMemory, measure_memory

REFUSING = """
async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 422, "headers": [(b"content-length", b"3")]})
    await send({"type": "http.response.body", "body": b"bad"})
"""


@contextmanager
def serving(app, folder):
    port = find_free_port()
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--lifespan", "off"]
    with start_supervised(command, folder / "log", folder):
        wait_until_listening(port, 60)
        yield port


def test_every_body_is_posted_once_over_all_connections(tmp_path):
    with serving("loadtests.bench.echo_server:app", tmp_path) as port:
        times = post_all(Endpoint(HOST, port, "/v1/any/events", "text/plain"), [b"x" * size for size in range(200)], 4)
    assert len(times.latencies) == 200
    assert 0 < max(times.latencies) / 1000 <= times.seconds


def test_a_steady_load_sends_no_request_before_it_is_due_and_counts_from_then(tmp_path):
    with serving("loadtests.bench.echo_server:app", tmp_path) as port:
        times = post_all(Endpoint(HOST, port, "/v1/any/events", "text/plain"), [b"x"] * 41, 4, per_second=40)
    assert times.seconds >= 1.0  # the last is due after 40 fortieths
    assert len(times.latencies) == 41 and min(times.latencies) > 0


def test_an_answer_other_than_202_ends_the_load_and_is_quoted(tmp_path):
    (tmp_path / "refusing.py").write_text(REFUSING)
    with serving("refusing:app", tmp_path) as port, pytest.raises(ExceptionGroup) as failed:
        post_all(Endpoint(HOST, port, "/", "text/plain"), [b"x"] * 3, 1)
    [error] = failed.value.exceptions
    assert isinstance(error, NotAccepted) and "422" in str(error) and "bad" in str(error)


def test_the_peak_is_of_all_processes_and_of_any_moment(tmp_path):
    before = measure_memory()
    child = [sys.executable, "-c", "import time; held = b'x' * (200 << 20); time.sleep(600)"]
    with PeakMemory() as memory:
        with start_supervised(child, tmp_path / "log"):
            while memory.mib < before + 150:  # pytest's own limit ends this
                time.sleep(0.1)
        peak = memory.mib
        while measure_memory() > before + 100:
            time.sleep(0.1)
    assert memory.mib >= peak


def stage(per_second, **more):
    return {"events": 1000, "per_second": per_second, "peak_mib": 12.0, "files": None, "p50": None, "p99": None, **more}


def test_stages_are_compared_with_what_does_nothing():
    stage_figures = {
        "generator": stage(5), "consume alone": stage(200), "archive": stage(50, files=3),
        "echo, one by one": stage(10, p50=1.0, p99=2.0), "gateway, one by one": stage(8, p50=1.5, p99=3.0),
    }  # fmt: skip
    measured_ratios = stage_ratios(stage_figures)
    assert measured_ratios == {"archive / consume alone": 0.25, "gateway, one by one / echo, one by one": 0.8}
    machine = {"cores": 2, "memory_gib": 4, "system": "s", "python": "3", "load_average": [0]}
    results = {
        "vertical": "v",
        "stages": stage_figures,
        "ratios": measured_ratios,
        "machine": machine,
        "versions": {},
        "commit": None,
        "load_after": [0],
    }
    assert "| archive | 1,000 | 50 | 0.25 |  |  | 12 | 3 |" in markdown(results)


def test_a_terminal_of_80_columns_shows_millions_of_events_in_one_line():
    steady = "gateway, one by one, steady"
    stage_figures = {steady: stage(1_528_631, events=2_001_693, peak_mib=7_083.0, files=429, p50=132.6, p99=271.5)}
    screen = io.StringIO()
    Console(file=screen, width=80).print(
        results_table({"vertical": "v", "history_days": 14, "stages": stage_figures, "ratios": {}})
    )
    line = next(line for line in screen.getvalue().splitlines() if line.startswith("gateway"))
    assert line.split() == [*steady.split(), "2,001,693", "1,528,631", "132.6", "271.5", "7,083", "429"]
