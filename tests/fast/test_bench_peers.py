"""The parts of `hybrid bench peers` and `hybrid bench batch` that need no broker: ids, ratios, tables, parsing."""

import hashlib
import json
import math
import sys

import pandas as pd
import pytest
import typer

from loadtests.bench.peers import batch, card_rules
from loadtests.bench.peers.comparison import Found, differing, markdown, results_of
from loadtests.bench.peers.environments import NotInstalled, run
from loadtests.bench.peers.measurements import ALERT_ID, Ledger
from loadtests.bench.peers.peer import OURS, PEERS, UnknownPeer, chosen, pinned_version
from loadtests.bench.peers.reference import EVERY_EVENT, CardJob, Thresholds, differences, expected_alerts
from loadtests.bench.peers.transactions import POPULATION, transactions
from loadtests.bench.results import compared, markdown_table, measured_on, middle, ratios
from loadtests.commands.bench_batch import sizes_in

SMALL = POPULATION.model_copy(update={"cards": 50, "terminals": 100})
JOB = CardJob(Thresholds(velocity=3, amount_cents=50_000, zscore=1.4, least_events=3))


def rows(*each):
    found = pd.DataFrame(each, columns=["card_id", "amount", "event_time"])
    return found.assign(event_time=pd.to_datetime(found["event_time"], utc=True))


def test_an_alert_is_named_after_rule_card_and_window_alone():
    known = hashlib.sha256(b"card_job|velocity|C1|1577836800").hexdigest()[:32]
    assert card_rules.alert_id("velocity", "C1", 1577836800) == known
    assert card_rules.window_start("2020-01-01T00:09:59.999Z", 600) == 1577836800
    assert card_rules.window_start("2020-01-01T00:10:00.000Z", 600) == 1577837400


def test_a_windows_alerts_follow_from_its_aggregates():
    job, totals = JOB.values(), card_rules.NOTHING
    for amount in (10.0, 10.0, 40.0):
        totals = card_rules.added(totals, card_rules.cents(amount))
    assert totals == (3, 6_000, 1_000**2 * 2 + 4_000**2, 4_000)
    velocity, zscore = card_rules.alerts(job, "C1", 0, totals)
    assert (velocity["rule"], velocity["score"], velocity["mean"]) == ("velocity", 3.0, 20.0)
    assert zscore["score"] == pytest.approx((40 - 20) / zscore["deviation"])
    assert zscore["deviation"] == pytest.approx(math.sqrt(200))


def test_equal_amounts_have_no_zscore():
    job = JOB.values() | {"velocity": 99}
    assert card_rules.alerts(job, "C1", 0, (3, 3_000, 3_000_000, 1_000)) == []


def test_the_reference_finds_what_any_prefix_of_a_window_reached():
    found = expected_alerts(
        rows(
            ("C1", 10.0, "2020-01-01T00:00:01Z"),
            ("C1", 10.0, "2020-01-01T00:00:02Z"),
            ("C1", 40.0, "2020-01-01T00:09:59Z"),  # z 1.414 of three; of six below it is less
            ("C1", 40.0, "2020-01-01T00:09:59Z"),
            ("C1", 500.0, "2020-01-01T00:10:00Z"),  # the next window
            ("C2", 499.99, "2020-01-01T00:00:01Z"),
        ),
        JOB,
    )
    named = card_rules.alert_id
    assert found == {named("velocity", "C1", 1577836800), named("zscore", "C1", 1577836800), named("amount", "C1", 1577837400)}


def test_the_reference_agrees_with_the_rules_event_by_event():
    sent = transactions(3, 5_000, SMALL)
    job, windows, found = CardJob(), {}, set()
    for card, amount, time in sent.columns.itertuples(index=False):
        key = card, card_rules.window_start(time.isoformat(), job.window_seconds)
        windows[key] = card_rules.added(windows.get(key, card_rules.NOTHING), card_rules.cents(amount))
        found |= {alert["alert_id"] for alert in card_rules.alerts(job.values(), *key, windows[key])}
    assert len(found) > 50
    assert expected_alerts(sent.columns, job) == found


def test_every_event_is_answered_by_the_alert_that_counts_it():
    sent = transactions(3, 50, SMALL)
    ledger = Ledger(sent, CardJob(EVERY_EVENT))
    for row in range(50):
        ledger.note_sent(row, now=float(row))
    seen = sent.columns
    busiest = seen["card_id"].value_counts().index[0]
    starts = {card_rules.window_start(time.isoformat(), 600) for time in seen.loc[seen["card_id"] == busiest, "event_time"]}
    for start in starts:
        ledger.note_alert(card_rules.alert_id("velocity", busiest, start), 99, now=60.0)
        ledger.note_alert(card_rules.alert_id("velocity", busiest, start), 99, now=70.0)  # repeated: nothing is left to answer
    expected = [(float(row), (60 - row) * 1000.0) for row in seen.index[seen["card_id"] == busiest]]
    assert sorted(ledger.answered) == expected
    assert ledger.summary(border=25.0).sent == 25


def test_differences_are_told_by_id():
    found = differences({"a", "b"}, {"b", "c"})
    assert (found.missing, found.unexpected) == (["a"], ["c"])
    assert not differences({"a"}, {"a"})


def test_alert_ids_are_read_from_every_engines_json():
    name = "0123456789abcdef" * 2
    for text in (f'{{"alert_id":"{name}","rule":"x"}}', f'{{"alert_id": "{name}"}}'):
        assert ALERT_ID.match(text.encode())[1].decode() == name
    assert ALERT_ID.match(b'{"rule":"x"}') is None


def test_medians_and_ratios_leave_out_what_was_not_measured():
    rounds = {"ours": [{"p50": 2.0}, {"p50": 4.0}, {"p50": 3.0}], "flink": [{"p50": None}, {"p50": 6.0}], "quix": [{"p50": None}]}
    assert compared(rounds, ["p50"], OURS)["p50"] == {
        "median": {"ours": 3.0, "flink": 6.0, "quix": None}, "ratio": {"ours": 1.0, "flink": 2.0, "quix": None},
    }
    assert middle([float("nan"), None]) is None
    assert ratios({"flink": 2.0}, OURS) == {"flink": None}


def test_a_run_fails_when_ours_differ_and_not_when_others_do():
    same = {"per_second": 10.0, "steady": 20.0, "updates": 3, "missing": [], "unexpected": [], "expected": 2}
    found = Found()
    found.catch_up["ours"].append(same)
    found.catch_up["flink"].append(same | {"per_second": None, "missing": ["abc"]})
    assert not found.ours_differ
    assert differing(found) == ["flink, round 1: 1 of 2 missing: abc"]
    found.catch_up["ours"].append(same | {"unexpected": ["def"]})
    assert found.ours_differ


def test_what_was_found_so_far_is_kept(tmp_path):
    found = Found()
    found.latency["ours"].append({"p50": 2.0})
    found.keep(tmp_path)
    assert json.loads((tmp_path / "rounds.json").read_text())["latency"] == {"ours": [{"p50": 2.0}]}


def test_the_report_names_engines_agreement_and_what_was_not_measured():
    found = Found()
    round_of = {"per_second": 1_000.0, "steady": 2_000.0, "updates": 3, "missing": [], "unexpected": [], "expected": 2}
    found.catch_up["ours"].append(round_of)
    found.catch_up["flink"].append(round_of | {"per_second": 500.0, "missing": ["abc"]})
    found.latency["ours"].append({"p50": 2.0, "p95": 3.0, "p99": 4.0, "count": 9, "sent": 9, "answered": 1.0})
    found.not_measured["quix"] = "ERROR: no such version\nmore"
    machine = measured_on({peer.package: peer.version for peer in PEERS})
    results = results_of(found, CardJob(), **machine, events=100, rate=10.0, repeats=1, load_after=[0, 0, 0])
    assert results["ratios"] == {"per_second / flink": 2.0, "steady / flink": 1.0}
    told = markdown(results, list(PEERS), found)
    ours, flink = (next(line for line in told.splitlines() if line.startswith(f"| {name}")) for name in ("hybrid", "Flink"))
    assert "| 1,000 | 1.00 |" in ours and ours.endswith("| yes |")
    assert "| 500 | 0.50 |" in flink and flink.endswith("| no |")
    assert "quix: not measured: ERROR: no such version\n" in told
    assert "flink, round 1: 1 of 2 missing: abc" in told


def test_engines_are_chosen_by_name_and_ours_is_always_among_them():
    assert [peer.name for peer in chosen("loop, flink")] == ["ours", "flink", "loop"]
    with pytest.raises(UnknownPeer, match="unknown engine storm: known are ours, flink"):
        chosen("storm")


def test_every_engine_has_a_script_and_its_version_is_pinned_with_hashes():
    for peer in (*PEERS, *batch.BATCH_PEERS):
        assert peer.script.exists()
        assert peer.version[0].isdigit()
        if peer.requirements:
            text = peer.requirements.read_text()
            assert "--hash=sha256:" in text
            assert "://" not in text
    assert pinned_version("a==1\nquixstreams-x==9\nquixstreams==3.28.1 ; x \\\n", "quixstreams") == "3.28.1"


def test_an_environment_that_cannot_be_made_says_why(tmp_path):
    log, said = tmp_path / "log", "print('Collecting'); print('ERROR: No matching distribution'); print(); raise SystemExit(1)"
    with log.open("w") as output, pytest.raises(NotInstalled, match=r"^ERROR: No matching distribution \(all of it: .*log\)"):
        run([sys.executable, "-c", said], output, log)


def test_sizes_are_read_from_a_list():
    assert sizes_in("1e6, 2500") == [1_000_000, 2_500]
    for wrong in ("", "many", "0"):
        with pytest.raises(typer.BadParameter):
            sizes_in(wrong)


def test_daily_totals_are_compared_count_by_count():
    ours = pd.DataFrame({
        "day": pd.to_datetime(["2026-01-01"] * 2), "terminal_id": ["T1", "T2"], "count": [1, 2], "total": [1.0, 3.0],
        "mean": [1.0, 1.5], "deviation": [float("nan"), 0.5],
    })
    assert batch.difference(ours, ours.copy()) == ""
    assert batch.difference(ours, ours.assign(total=[1.0, 3.0 + 1e-12])) == ""
    assert batch.difference(ours, ours.assign(count=[1, 3])) == "1 counts differ"
    assert batch.difference(ours, ours.assign(mean=[1.0, 1.6])) == "1 of mean differ"
    assert batch.difference(ours, ours[:1]) == "other days or terminals: 1 rows, ours 2"


def test_markdown_tables_align_figures_to_the_right():
    assert markdown_table(["engine", "p50"], [["ours", "2.0"]]) == "| engine | p50 |\n| --- | ---: |\n| ours | 2.0 |"
