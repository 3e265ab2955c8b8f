"""The parts of `hybrid bench peers` and `hybrid bench batch` that need no broker: ids, ratios, tables, parsing."""

import hashlib
import json
import math
import sys

import pandas as pd
import pytest
import typer

from loadtests.bench.peers import batch, card_rules
from loadtests.bench.peers.comparison import EngineRounds, difference_lines, markdown, results_of
from loadtests.bench.peers.environments import NotInstalled, run_logged
from loadtests.bench.peers.measurements import ALERT_ID, CardLedger
from loadtests.bench.peers.peer import OURS, PEERS, UnknownPeer, parse_peers, pinned_version
from loadtests.bench.peers.reference import EVERY_EVENT, CardJob, Thresholds, compare_ids, expected_alerts
from loadtests.bench.peers.transactions import POPULATION, generate_transactions
from loadtests.bench.results import compare_engines, markdown_table, measurement_context, median_of, ratios_to_base
from loadtests.commands.bench_batch import parse_sizes

SMALL = POPULATION.model_copy(update={"cards": 50, "terminals": 100})
JOB = CardJob(Thresholds(velocity=3, amount_cents=50_000, zscore=1.4, least_events=3))


def frame(*rows):
    transactions = pd.DataFrame(rows, columns=["card_id", "amount", "event_time"])
    return transactions.assign(event_time=pd.to_datetime(transactions["event_time"], utc=True))


def test_an_alert_is_named_after_rule_card_and_window_alone():
    expected_id = hashlib.sha256(b"card_job|velocity|C1|1577836800").hexdigest()[:32]
    assert card_rules.alert_id("velocity", "C1", 1577836800) == expected_id
    assert card_rules.window_start("2020-01-01T00:09:59.999Z", 600) == 1577836800
    assert card_rules.window_start("2020-01-01T00:10:00.000Z", 600) == 1577837400


def test_a_windows_alerts_follow_from_its_aggregates():
    job, totals = JOB.values(), card_rules.EMPTY_TOTALS
    for amount in (10.0, 10.0, 40.0):
        totals = card_rules.add_amount(totals, card_rules.to_cents(amount))
    assert totals == (3, 6_000, 1_000**2 * 2 + 4_000**2, 4_000)
    velocity, zscore = card_rules.raise_alerts(job, "C1", 0, totals)
    assert (velocity["rule"], velocity["score"], velocity["mean"]) == ("velocity", 3.0, 20.0)
    assert zscore["score"] == pytest.approx((40 - 20) / zscore["deviation"])
    assert zscore["deviation"] == pytest.approx(math.sqrt(200))


def test_equal_amounts_have_no_zscore():
    job = JOB.values() | {"velocity": 99}
    assert card_rules.raise_alerts(job, "C1", 0, (3, 3_000, 3_000_000, 1_000)) == []


def test_the_reference_finds_what_any_prefix_of_a_window_reached():
    ids = expected_alerts(
        frame(
            ("C1", 10.0, "2020-01-01T00:00:01Z"),
            ("C1", 10.0, "2020-01-01T00:00:02Z"),
            ("C1", 40.0, "2020-01-01T00:09:59Z"),  # z 1.414 of three; of six below it is less
            ("C1", 40.0, "2020-01-01T00:09:59Z"),
            ("C1", 500.0, "2020-01-01T00:10:00Z"),  # the next window
            ("C2", 499.99, "2020-01-01T00:00:01Z"),
        ),
        JOB,
    )
    windows = ("velocity", 1577836800), ("zscore", 1577836800), ("amount", 1577837400)
    assert ids == {card_rules.alert_id(rule, "C1", start) for rule, start in windows}


def test_the_reference_agrees_with_the_rules_event_by_event():
    transactions = generate_transactions(3, 5_000, SMALL)
    job, windows, ids = CardJob(), {}, set()
    for card, amount, time in transactions.columns.itertuples(index=False):
        key = card, card_rules.window_start(time.isoformat(), job.window_seconds)
        windows[key] = card_rules.add_amount(windows.get(key, card_rules.EMPTY_TOTALS), card_rules.to_cents(amount))
        ids |= {alert["alert_id"] for alert in card_rules.raise_alerts(job.values(), *key, windows[key])}
    assert len(ids) > 50
    assert expected_alerts(transactions.columns, job) == ids


def test_every_event_is_answered_by_the_alert_that_counts_it():
    transactions = generate_transactions(3, 50, SMALL)
    ledger = CardLedger(transactions, CardJob(EVERY_EVENT))
    for row in range(50):
        ledger.note_sent(row, b"", now=float(row))
    columns = transactions.columns
    busiest = columns["card_id"].value_counts().index[0]
    starts = {card_rules.window_start(time.isoformat(), 600) for time in columns.loc[columns["card_id"] == busiest, "event_time"]}
    for start in starts:
        ledger.note_alert(card_rules.alert_id("velocity", busiest, start), 99, now=60.0)
        ledger.note_alert(card_rules.alert_id("velocity", busiest, start), 99, now=70.0)  # repeated: nothing is left to answer
    expected = [(float(row), (60 - row) * 1000.0) for row in columns.index[columns["card_id"] == busiest]]
    assert sorted(ledger.latencies) == expected
    assert ledger.summary(warm_up_end=25.0).sent_count == 25


def test_differences_are_listed_by_id():
    differences = compare_ids({"a", "b"}, {"b", "c"})
    assert (differences.missing, differences.unexpected) == (["a"], ["c"])
    assert not compare_ids({"a"}, {"a"})


def test_alert_ids_are_read_from_every_engines_json():
    name = "0123456789abcdef" * 2
    for text in (f'{{"alert_id":"{name}","rule":"x"}}', f'{{"alert_id": "{name}"}}'):
        assert ALERT_ID.match(text.encode())[1].decode() == name
    assert ALERT_ID.match(b'{"rule":"x"}') is None


def test_medians_and_ratios_leave_out_what_was_not_measured():
    rounds = {"ours": [{"p50": 2.0}, {"p50": 4.0}, {"p50": 3.0}], "flink": [{"p50": None}, {"p50": 6.0}], "quix": [{"p50": None}]}
    assert compare_engines(rounds, ["p50"], OURS)["p50"] == {
        "median": {"ours": 3.0, "flink": 6.0, "quix": None},
        "ratio": {"ours": 1.0, "flink": 2.0, "quix": None},
    }
    assert median_of([float("nan"), None]) is None
    assert ratios_to_base({"flink": 2.0}, OURS) == {"flink": None}


def test_a_run_fails_when_ours_differ_and_not_when_others_do():
    same = {"per_second": 10.0, "steady": 20.0, "updates": 3, "missing": [], "unexpected": [], "expected": 2}
    rounds = EngineRounds()
    rounds.catch_up["ours"].append(same)
    rounds.catch_up["flink"].append(same | {"per_second": None, "missing": ["abc"]})
    assert not rounds.ours_differ
    assert difference_lines(rounds) == ["flink, round 1: 1 of 2 missing: abc"]
    rounds.catch_up["ours"].append(same | {"unexpected": ["def"]})
    assert rounds.ours_differ


def test_the_rounds_so_far_are_saved(tmp_path):
    rounds = EngineRounds()
    rounds.latency["ours"].append({"p50": 2.0})
    rounds.save(tmp_path)
    assert json.loads((tmp_path / "rounds.json").read_text())["latency"] == {"ours": [{"p50": 2.0}]}


def test_the_report_names_engines_agreement_and_what_was_not_measured():
    rounds = EngineRounds()
    figures = {"per_second": 1_000.0, "steady": 2_000.0, "updates": 3, "missing": [], "unexpected": [], "expected": 2}
    rounds.catch_up["ours"].append(figures)
    rounds.catch_up["flink"].append(figures | {"per_second": 500.0, "missing": ["abc"]})
    rounds.latency["ours"].append({"p50": 2.0, "p95": 3.0, "p99": 4.0, "count": 9, "sent": 9, "answered": 1.0})
    rounds.not_measured["quix"] = "ERROR: no such version\nmore"
    machine = measurement_context({peer.package: peer.version for peer in PEERS})
    results = results_of(rounds, CardJob(), **machine, events=100, rate=10.0, repeats=1, load_after=[0, 0, 0])
    assert results["ratios"] == {"per_second / flink": 2.0, "steady / flink": 1.0}
    text = markdown(results, list(PEERS), rounds)
    ours, flink = (next(line for line in text.splitlines() if line.startswith(f"| {name}")) for name in ("hybrid", "Flink"))
    assert "| 1,000 | 1.00 |" in ours and ours.endswith("| yes |")
    assert "| 500 | 0.50 |" in flink and flink.endswith("| no |")
    assert "quix: not measured: ERROR: no such version\n" in text
    assert "flink, round 1: 1 of 2 missing: abc" in text


def test_engines_are_chosen_by_name_and_ours_is_always_among_them():
    assert [peer.name for peer in parse_peers("loop, flink")] == ["ours", "flink", "loop"]
    with pytest.raises(UnknownPeer, match="unknown engine storm: known are ours, flink"):
        parse_peers("storm")


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
    log, script = tmp_path / "log", "print('Collecting'); print('ERROR: No matching distribution'); print(); raise SystemExit(1)"
    with log.open("w") as output, pytest.raises(NotInstalled, match=r"^ERROR: No matching distribution \(all of it: .*log\)"):
        run_logged([sys.executable, "-c", script], output, log)


def test_sizes_are_read_from_a_list():
    assert parse_sizes("1e6, 2500") == [1_000_000, 2_500]
    for wrong in ("", "many", "0"):
        with pytest.raises(typer.BadParameter):
            parse_sizes(wrong)


def test_daily_totals_are_compared_count_by_count():
    ours = pd.DataFrame(
        {
            "day": pd.to_datetime(["2026-01-01"] * 2),
            "terminal_id": ["T1", "T2"],
            "count": [1, 2],
            "total": [1.0, 3.0],
            "mean": [1.0, 1.5],
            "deviation": [float("nan"), 0.5],
        }
    )
    assert batch.describe_difference(ours, ours.copy()) == ""
    assert batch.describe_difference(ours, ours.assign(total=[1.0, 3.0 + 1e-12])) == ""
    assert batch.describe_difference(ours, ours.assign(count=[1, 3])) == "1 counts differ"
    assert batch.describe_difference(ours, ours.assign(mean=[1.0, 1.6])) == "1 of mean differ"
    assert batch.describe_difference(ours, ours[:1]) == "other days or terminals: 1 rows, ours 2"


def test_markdown_tables_align_figures_to_the_right():
    assert markdown_table(["engine", "p50"], [["ours", "2.0"]]) == "| engine | p50 |\n| --- | ---: |\n| ours | 2.0 |"
