"""A benchmark's ratios beside those of an earlier run."""

import json

import pytest
import typer

from loadtests.bench.regression import NotComparable, compare_ratios, read_ratios
from loadtests.bench.steady_load import SteadyLoad
from loadtests.commands import bench
from loadtests.commands.bench_results import read_earlier_ratios, report_changes

OPTIONS = {"vertical": "finance_fraud", "events": 1000}


def write_results(tmp_path, **changed):
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(OPTIONS | {"ratios": {"windowed / python loop": 0.4}} | changed))
    return path


def test_the_ratios_of_the_same_benchmark_are_read(tmp_path):
    assert read_ratios(write_results(tmp_path), **OPTIONS) == {"windowed / python loop": 0.4}


@pytest.mark.parametrize("changed", [{"events": 2000}, {"vertical": None}, {"ratios": None}, {"ratios": {"windowed": "fast"}}])
def test_another_run_or_file_is_refused_with_its_name(tmp_path, changed):
    with pytest.raises(NotComparable, match=r"bench\.json"):
        read_earlier_ratios(write_results(tmp_path, **changed), **OPTIONS)


def test_what_is_not_there_or_not_json_is_refused(tmp_path):
    for content in (None, "[]", "{", "\x00"):
        path = tmp_path / "other.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(NotComparable, match=r"other\.json"):
            read_ratios(path)


@pytest.mark.parametrize(("now", "is_worse"), [(0.5, False), (0.33, False), (0.31, True), (0.0, True), (float("nan"), True)])
def test_a_ratio_that_fell_by_more_than_a_fifth_is_worse(now, is_worse):
    [change] = compare_ratios({"a": 0.4}, {"a": now})
    assert change.is_worse is is_worse


def test_a_ratio_of_one_run_only_is_listed_and_not_worse():
    changes = compare_ratios({"gone": 1.0}, {"new": 2.0})
    summaries = [(change.name, change.relative_change, change.is_worse) for change in changes]
    assert summaries == [("gone", None, False), ("new", None, False)]


def test_the_command_ends_with_1_where_a_ratio_is_worse():
    report_changes({}, {"a": 0.1})
    report_changes({"a": 0.1}, {"a": 0.1})
    with pytest.raises(typer.Exit) as ended:
        report_changes({"a": 0.4, "b": 1.0}, {"a": 0.1, "b": 1.0})
    assert ended.value.exit_code == 1


def test_results_are_written_as_markdown():
    after = {"count": 1234, "p50": 1.23, "p95": None, "p99": 45.0}
    yardsticks = {"bare Spark": 300_000.0, "Spark parsing": 150_000.0, "python loop": 100_000.0}
    speed = yardsticks | {"windowed": 40_000.0}
    memory = {"windowed": {"own": 300.4, "Spark": 2000.0, "broker": 45.6}}
    catch_up = {"per_second": speed, "events": 1_000, "held_mib": memory}
    catch_up |= {"steady": {"windowed": 50_000.0}, "files": {"windowed": 21}}
    results = {
        "vertical": "finance_fraud", "catch_up": catch_up,
        "latency": [{"path": "windowed", "rate": 1000.0, "after": after, "peak_mib": 3000.4}],
        "archive_latency": [{"rate": 5000.0, "after": after, "peak_mib": 4000.4}], "archive_interval": 5,
        "recovery": {"rate": 1000.0, "kills": [{"first": 9.0, "current": 12.0}, {"first": 11.0, "current": None}]},
        "machine": {"cores": 2, "memory_gib": 24.0, "system": "Linux", "python": "3.11", "load_average": [0.1, 0.2, 0.3]},
        "versions": {"pyspark": "4.3.0"}, "commit": None, "load_after": [1.0, 1.0, 1.0],
        "ratios": bench.catch_up_ratios(catch_up),
    }  # fmt: skip
    text = bench.markdown(results)
    assert "| windowed | 1,000 | 1,234 | 1.2 | - | 45.0 | 3,000 |" in text
    assert "micro-batches 5 s or more apart" in text and "| 5,000 | 1,234 | 1.2 | - | 45.0 | 4,000 |" in text
    assert "| windowed | 40,000 | 0.13 | 0.27 | 0.40 | 50,000 | 21 |" in text
    assert "| path | all | own | Spark | broker |" in text and "| windowed | 2,346 | 300 | 2,000 | 46 |" in text
    assert "| python loop | 100,000 | - | - | - | - | - |" in text
    assert "| of an event sent after that | 2 | 0 | 10.0 | 11.0 |" in text
    assert "| within a second of its event | 2 | 1 | 12.0 | 12.0 |" in text
    assert "pyspark 4.3.0" in text


def test_rates_are_read_in_order_and_what_is_none_is_refused():
    assert bench.parse_loads("5000, 1000,1000", 3, 4) == [SteadyLoad(1000, 3, 4), SteadyLoad(5000, 3, 4)]
    for text in ("", "fast", "0", "1000;5000", "1e9", "nan"):
        with pytest.raises(typer.BadParameter):
            bench.parse_loads(text, 3, 4)
