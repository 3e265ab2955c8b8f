"""`hybrid bench VERTICAL` end to end, at a size that says nothing of speed."""

import json

import pytest

pytestmark = [pytest.mark.broker, pytest.mark.long]


@pytest.mark.timeout(900)
def test_latency_catch_up_and_recovery_are_measured(stages, tmp_path):
    short = ["--rates", "200", "--seconds", "5", "--warm-up", "1", "--repeats", "1", "--kills", "1", "--history-days", "12"]
    sizes = ["--events", "10000", "--population", "cards=300", "--population", "terminals=100"]
    code, printed = stages.finish(tmp_path, "bench", "finance_fraud", *sizes, *short, timeout=800)
    assert code == 0, printed
    [path] = tmp_path.glob("bench-*/bench.json")
    results = json.loads(path.read_text())
    assert [(path["path"], path["rate"]) for path in results["latency"]] == [("per event", 200), ("windowed", 200)]
    per_event, windowed = (path["after"]["count"] for path in results["latency"])
    assert per_event >= 0.99 * 5 * 200  # every event has its alert, once
    # Events of one card within a moment have one together, and on a busy machine a moment is long.
    assert windowed >= 100
    assert all(0 < path["after"]["p50"] <= path["after"]["p99"] for path in results["latency"])
    [archive] = results["archive_latency"]
    assert archive["rate"] == 200 and archive["after"]["count"] >= 0.9 * 5 * 200
    assert 0 < archive["after"]["p50"] <= archive["after"]["p99"]
    catch_up = results["catch_up"]
    assert catch_up["events"] >= 10_000 and all(speed > 0 for speed in catch_up["per_second"].values())
    assert all(catch_up["files"][path] > 0 and catch_up["steady"][path] > 0 for path in ("per event", "windowed"))
    for mib_by_kind in catch_up["held_mib"].values():
        assert mib_by_kind["Spark"] > mib_by_kind["own"] > 50 and mib_by_kind["broker"] > 50
    [kill] = results["recovery"]["kills"]
    assert 0 < kill["first"] <= kill["current"]
    assert len(results["ratios"]) == 6
    assert path.with_suffix(".md").exists()
