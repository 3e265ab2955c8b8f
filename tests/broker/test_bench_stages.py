"""`hybrid bench stages` end to end, at a size that says nothing of speed."""

import json

import pytest

pytestmark = [pytest.mark.broker, pytest.mark.long]


def test_every_stage_is_measured_and_compared(stages, tmp_path):
    options = ["--events", "10000", "--history-days", "12", "--population", "cards=300", "--population", "terminals=100"]
    code, printed = stages.finish(tmp_path, "bench", "stages", "finance_fraud", *options, timeout=400)
    assert code == 0, printed
    [path] = tmp_path.glob("stages-*/stages.json")
    results = json.loads(path.read_text())
    measured = results["stages"]
    assert measured["archive"]["events"] == measured["consume alone"]["events"] >= 10_000
    assert measured["archive"]["files"] >= 1 and measured["backfill"]["files"] >= 12
    assert measured["batch"]["events"] == measured["backfill"]["events"]
    assert measured["gateway, one by one"]["events"] < measured["gateway, 500 at once"]["events"]
    assert all(stage["per_second"] > 0 and stage["peak_mib"] > 50 for stage in measured.values())
    assert len(results["ratios"]) == 5
    assert path.with_suffix(".md").exists()
