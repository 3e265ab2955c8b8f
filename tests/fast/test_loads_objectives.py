"""Objectives: read from one file, compared with what was measured; and what the gateway's answers count as."""

import pytest

from common.installed import find_vertical, vertical_names
from loadtests.http_verdict import classify_answer
from loadtests.objectives import (
    LOAD_ONLY,
    LoadFigures,
    ObjectivesError,
    check_objectives,
    missed_objectives,
    read_objectives,
    verdict_line,
)
from loadtests.options import OBJECTIVES
from loadtests.query_lag import AtMost


def write_objectives(tmp_path, text):
    path = tmp_path / "objectives.toml"
    path.write_text(text)
    return path


def test_a_verticals_own_objectives_go_before_the_default(tmp_path):
    path = write_objectives(tmp_path, "[default]\nrecall = 0.5\npace = 0.9\n[finance_fraud]\nrecall = 0.7\n")
    assert read_objectives(path, "finance_fraud") == LoadFigures(recall=0.7, pace=0.9)
    assert read_objectives(path, "energy_grid") == LoadFigures(recall=0.5, pace=0.9)


@pytest.mark.parametrize("name", vertical_names())
def test_every_installed_vertical_has_objectives(name):
    objectives = read_objectives(OBJECTIVES, find_vertical(name).name)
    assert None not in (objectives.alert_p99_ms, objectives.lag_records, objectives.error_share, objectives.recall)


@pytest.mark.parametrize(
    ("text", "message"),
    [("[default]\nrecal = 1\n", "unknown objective 'recal'"), ("[default]\nrecall = 'x'\n", "not a number"), ("[", "objectives")],
)
def test_a_file_that_cannot_be_read_as_objectives_is_refused_by_name(tmp_path, text, message):
    with pytest.raises(ObjectivesError, match=message):
        read_objectives(write_objectives(tmp_path, text), "finance_fraud")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ObjectivesError, match="nowhere"):
        read_objectives(tmp_path / "nowhere", "finance_fraud")


def test_what_is_missed_is_named_and_what_is_just_met_is_not():
    objectives = LoadFigures(alert_p99_ms=100, lag_records=10, error_share=0.01, pace=0.9, recall=0.5)
    assert missed_objectives(objectives, LoadFigures(100, 10, 0.01, 0.9, 0.5)) == []
    lines = missed_objectives(objectives, LoadFigures(101, 11, 0.02, 0.8, 0.4))
    assert [line.split(":")[0] for line in lines] == ["alert_p99_ms", "lag_records", "error_share", "pace", "recall"]
    assert lines[0] == "alert_p99_ms: 101, at most 100 asked"
    assert lines[4] == "recall: 0.4, at least 0.5 asked"
    lines = missed_objectives(LoadFigures(lag_records=20_000), LoadFigures(lag_records=27_370))
    assert lines == ["lag_records: 27,370, at most 20,000 asked"]


def test_what_was_not_measured_is_missed_unless_nobody_looked():
    objectives = LoadFigures(alert_p99_ms=100, error_share=0.01)
    assert missed_objectives(objectives, LoadFigures(error_share=0.0)) == ["alert_p99_ms: not measured, at most 100 asked"]
    assert missed_objectives(objectives, LoadFigures(error_share=0.0), LOAD_ONLY) == []


def test_an_unknown_lag_has_not_held_unless_it_cannot_be_as_much_as_asked():
    objectives = LoadFigures(lag_records=20_000)
    assert missed_objectives(objectives, LoadFigures(lag_records=AtMost(20_000))) == []
    assert missed_objectives(objectives, LoadFigures(lag_records=AtMost(24_203))) == [
        "lag_records: unknown, somewhere up to 24,203, at most 20,000 asked"
    ]


def test_the_verdict_is_one_line_with_each_objective():
    objectives = LoadFigures(lag_records=20_000, error_share=0.01, recall=0.9)
    failed = verdict_line(check_objectives(objectives, LoadFigures(lag_records=AtMost(24_203), error_share=0.0)))
    assert failed == (
        "FAIL: lag_records: unknown, somewhere up to 24,203, at most 20,000 asked; recall: not measured, at least 0.9 asked. "
        "Held: error_share: 0, at most 0.01 asked"
    )
    pass_line = verdict_line(check_objectives(objectives, LoadFigures(lag_records=AtMost(17), error_share=0.0, recall=0.95)))
    assert pass_line.startswith("PASS: all objectives held: lag_records: at most 17, at most 20,000 asked; error_share: 0")
    assert verdict_line([]).startswith("PASS")


def test_what_is_not_asked_for_cannot_be_missed():
    assert missed_objectives(LoadFigures(), LoadFigures(alert_p99_ms=1e9, recall=0.0)) == []


@pytest.mark.parametrize(
    ("status", "flawed", "name", "fails"),
    [
        (202, 0, "202 accepted", False), (422, 1, "422 refused", False), (422, 0, "422 refused", True),
        (429, 0, "429 throttled", True), (503, 0, "503 unavailable", True), (0, 0, "no answer", True), (500, 0, "500", True),
    ],
)  # fmt: skip
def test_answers_are_told_apart(status, flawed, name, fails):
    row, problem = classify_answer(status, flawed)
    assert (row, problem is not None) == (name, fails)
