"""What `detect` says while it runs: each thing once, when it is new, and what it cannot see."""

import json
from collections import deque
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
from deltalake.exceptions import DeltaError
from hypothesis import given
from hypothesis import strategies as st

from common.installed import find_vertical, vertical_names
from common.monitoring.alert_watch import AlertTally, percentiles
from common.monitoring.blind_rules import missing_version_lines
from common.monitoring.cooldown import Cooldown
from common.monitoring.stage_report import StageReport, archived_line
from common.published.reference_data import put_in_force
from common.published.versions import BASELINE, MODEL, Version
from common.streaming.progress import QueryProgress

FINANCE = find_vertical("finance_fraud")


def progress(rows, watermark="1970-01-01T00:00:00.000Z", dropped=(0,), timestamp="2026-11-28T19:27:03.771Z"):
    """As Spark 4.3 reports a real-time query."""
    operators = [{"operatorName": "StatefulStreamlineAggregate", "numRowsDroppedByWatermark": each} for each in dropped]
    return {"timestamp": timestamp, "batchDuration": 5_000, "numInputRows": rows, "eventTime": {"watermark": watermark},
            "stateOperators": operators}  # fmt: skip


class Lines(list):
    def new(self):
        said, self[:] = list(self), []
        return said


@pytest.fixture
def stage(tmp_path):
    """A report on a vertical for which nothing was learnt, and all that it says."""
    watch = SimpleNamespace(tally=AlertTally(), cooldown=Cooldown(0.0), latency=lambda since: percentiles(milliseconds))
    milliseconds: list[float] = []
    queries, lines = {"per_event": QueryProgress(), "by_card": QueryProgress()}, Lines()
    return SimpleNamespace(
        report=StageReport(FINANCE, str(tmp_path), watch, queries, lines.append),
        folder=str(tmp_path), tally=watch.tally, milliseconds=milliseconds, queries=queries, lines=lines,
    )  # fmt: skip


def alert(number):
    return {"event_time": "2020-02-17T07:38:01.000Z", "severity": "major", "rule": "velocity", "entity_id": f"C{number}",
            "reasons": "[6] in 20 minutes"}  # fmt: skip


def test_alerts_are_told_once_each_and_of_many_at_once_the_newest_and_how_many_more(stage):
    stage.tally.unprinted.extend(map(alert, range(3)))
    stage.report.say_alerts()
    assert stage.lines.new() == [f"2020-02-17T07:38:01 major velocity C{n}: [6] in 20 minutes" for n in range(3)]
    stage.report.say_alerts()
    assert stage.lines.new() == []
    stage.tally.unprinted.extend(map(alert, range(100)))
    stage.report.say_alerts()
    *shown, last = stage.lines.new()
    assert [line.split()[3] for line in shown] == [f"C{n}:" for n in range(80, 100)]
    assert last.startswith("and 80 alerts")


def test_what_it_is_blind_to_is_told_until_it_is_learnt(stage):
    stage.report.say_all()
    said = " ".join(stage.lines.new())
    assert "no baselines yet" in said and "hybrid trends finance_fraud" in said
    assert "no model yet" in said and "hybrid train finance_fraud" in said
    stage.report.say_all()
    assert stage.lines.new() == []
    put_in_force(Version(BASELINE, "v1", "2020-01-01", datetime.now(UTC), {}), stage.folder)
    stage.report.say_all()
    assert [line for line in stage.lines.new() if "in force now" in line]
    put_in_force(Version(MODEL, "m1", "2020-01-01", datetime.now(UTC), {}), stage.folder)
    assert missing_version_lines(FINANCE, stage.folder) == []


def test_versions_that_cannot_be_read_are_told_once_and_end_nothing(stage):
    put_in_force(Version(BASELINE, "v1", "2020-01-01", datetime.now(UTC), {}), stage.folder)
    stage.report.say_all()
    stage.lines.new()
    [commit] = Path(stage.folder, "versions", "_delta_log").glob("*1.json")
    whole = commit.read_text()
    commit.write_text("{")
    stage.report.say_all()
    assert [line for line in stage.lines.new() if "the published versions cannot be read" in line]
    stage.report.say_all()
    assert stage.lines.new() == []
    commit.write_text(whole)
    stage.report.say_all()
    assert stage.lines.new() == []


def test_versions_of_which_a_file_is_half_written_are_told_once_and_end_nothing(stage):
    put_in_force(Version(BASELINE, "v1", "2020-01-01", datetime.now(UTC), {}), stage.folder)
    [file] = Path(stage.folder, "versions").glob("*.parquet")
    whole = file.read_bytes()
    for harm in (whole[:100], b""):
        file.write_bytes(harm)
        stage.report.say_all()
        stage.report.say_all()
        assert len([line for line in stage.lines.new() if "the published versions cannot be read" in line]) == 1
        file.write_bytes(whole)
        stage.report.say_all()
        stage.lines.new()


def test_versions_whose_details_are_no_json_are_told_and_end_nothing(stage, monkeypatch):
    put_in_force(Version(BASELINE, "v1", "2020-01-01", datetime.now(UTC), {}), stage.folder)
    monkeypatch.setattr("common.published.versions.json.loads", lambda _: json.JSONDecoder().decode("{"))
    stage.report.say_all()
    assert "the published versions cannot be read: JSONDecodeError" in " ".join(stage.lines.new())


@pytest.mark.parametrize("problem", [DeltaError("the log is broken"), OSError("gone")])
def test_tables_that_cannot_be_counted_are_told(problem):
    def broken():
        raise problem

    assert "cannot be read" in archived_line(broken) and str(problem) in archived_line(broken)


def test_records_that_are_no_alerts_are_told(stage):
    stage.tally.unreadable = 7
    stage.report.say_all()
    assert "7 records in the topic that are no alerts" in stage.lines.new()[-1]


@pytest.mark.parametrize("name", vertical_names())
def test_each_vertical_names_the_queries_that_wait_for_what_it_learns(tmp_path, name):
    vertical = find_vertical(name)
    lines = missing_version_lines(vertical, str(tmp_path))
    assert len(lines) == bool(vertical.baselines) + bool(vertical.model)
    for query in vertical.queries:
        assert (query.name in " ".join(lines)) == bool(query.baselines or query.model)


def test_how_much_was_judged_is_known_when_a_batch_has_ended(stage):
    stage.report.say_all()
    assert "per_event not known before its first checkpoint" in stage.lines.new()[-1]
    stage.queries["per_event"].update(progress(12_000))
    stage.queries["per_event"].update(progress(92))
    stage.queries["by_card"].update(progress(11_900, watermark="2020-01-24T02:37:42.917Z"))
    stage.report.say_all()
    [line] = stage.lines.new()
    assert "per_event 12,092 (at 19:27:08 UTC)" in line
    assert "by_card 11,900 (at 19:27:08 UTC, watermark 2020-01-24 02:37:42)" in line
    stage.queries["by_card"].update(progress(0, watermark="2020-01-24T02:37:42.917Z", timestamp="2026-11-28T20:00:00.000Z"))
    stage.report.say_all()
    assert stage.lines.new() == [], "an idle query has nothing new to tell"


def test_what_came_behind_the_watermark_is_told_whenever_more_did(stage):
    stage.report.say_all()
    stage.lines.new()
    own = stage.queries["by_card"]
    own.update(progress(5, "2026-11-27T19:26:46.000Z", dropped=(7, 3)))
    own.update(progress(5, "2026-11-27T19:26:46.000Z", dropped=(2,), timestamp="2026-11-28T20:00:00.000Z"))
    stage.report.say_all()
    said = stage.lines.new()[0]
    assert "query by_card is blind to events behind its watermark, 2026-11-27 19:26:46: 12 left out since 19:27:03 UTC" in said
    assert "hybrid reconcile finance_fraud" in said
    own.update(progress(5, "2026-11-27T19:26:46.000Z"))
    stage.report.say_all()
    assert not [line for line in stage.lines.new() if "blind" in line]


def test_alerts_of_what_came_before_are_told_apart(stage):
    stage.tally.alerts["velocity"], stage.tally.earlier = 2, 40
    stage.milliseconds += [5.0, 9.0]
    stage.report.say_all()
    assert "2 alerts, 0 updates held back by the cooldown; 40 alerts of events that came before this start" in stage.lines[-1]
    assert stage.lines[-1].endswith("; p50 9.0 ms, p99 9.0 ms")


@given(st.lists(st.tuples(st.integers(-1, 10**6), st.lists(st.integers(-1, 100), max_size=3)), max_size=20))
def test_a_standing_is_the_sum_of_what_was_reported(reports):
    standing = QueryProgress()
    for rows, dropped in reports:
        standing.update(progress(rows, dropped=dropped))
    assert standing.records == sum(max(0, rows) for rows, _ in reports)
    assert (standing.behind_since is None) == (standing.behind == 0)
    assert standing.watermark is None, "before the first event there is none"


def test_untold_alerts_are_bounded():
    assert isinstance(AlertTally().unprinted, deque) and AlertTally().unprinted.maxlen
