"""Stream against history, and alerts against labels: what each comparison calls equal, late, missing, found."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import orjson
import pytest
from pyspark.sql import types as T

from common import tables
from common.archive.archive_tables import ALERTS_SCHEMA, LABELS_SCHEMA, QUARANTINE_SCHEMA, ensure_tables, events_schema
from common.archive.history import read_live_history
from common.batch.evaluation import best_plain_recall, evaluate
from common.installed import find_vertical
from common.published.live_thresholds import publish_settings
from common.published.reference_data import publish_baselines
from common.published.versions import baseline_path
from common.reconciliation.lineage import NoLineage, find_late_events, finished_ends, read_ranges
from common.reconciliation.reconcile import (
    compare_alerts,
    explain_extra,
    read_duplicates,
    recompute_alerts,
    recompute_as_named,
    reconcile,
)
from common.settings import load
from common.streaming.checkpoint_topics import TOPICS_SCHEMA
from common.streaming.lineage_rows import BEYOND, JUDGED_SCHEMA
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.files

VERTICAL = find_vertical("finance_fraud")
NOON = datetime(2020, 3, 2, 12, tzinfo=UTC)
ALERT = "alert_id string, rule string, entity_id string, event_time timestamp, score double, event string"


def alerts(spark, *rows):
    return spark.createDataFrame([(name, "velocity", "c1", NOON, score, event) for name, score, event in rows], ALERT)


def put(path, schema, *rows):
    tables.append_rows(list(rows), schema, path)


def archived(spark, vertical, rows):
    """Events as their table holds them, less the day; what rows leave out is null."""
    kept = [each for each in events_schema(vertical) if each.name != "event_day"]
    schema = T.StructType([T.StructField(each.name, each.dataType) for each in kept])
    return spark.createDataFrame([tuple(row.get(name) for name in schema.names) for row in rows], schema)


def test_each_kind_of_difference_has_its_name(spark):
    stream = alerts(spark, ("same", 6.0, '["a"]'), ("other", 6.0, '["b"]'), ("only_stream", 6.0, "c"), ("behind", 6.0, '["d"]'))
    batch = alerts(
        spark, ("same", 6.0, '["a"]'), ("other", 7.0, '["b"]'), ("only_batch", 6.0, "e"), ("behind", 7.0, '["d","late"]')
    )
    late = spark.createDataFrame([("late", "velocity", 9000.0)], "event_id string, rule string, late_seconds double")
    found = {row.alert_id: (row.status, row.late_seconds) for row in compare_alerts(stream, batch, late).collect()}
    assert found == {
        "same": ("equal", None),
        "other": ("score_differs", None),
        "only_stream": ("extra", None),
        "only_batch": ("missing", None),
        "behind": ("late", 9000),
    }


def test_an_alert_on_a_second_event_of_one_id_is_told_from_one_that_nothing_explains(spark, tmp_path):
    workspace = Workspace(tmp_path, VERTICAL.name)
    ensure_tables(VERTICAL, workspace)
    event = {"transaction_id": "t1", "card_id": "c1", "terminal_id": "m1", "amount": 9.5, "event_time": "2020-03-02T12:00:00Z"}
    place = {"topic": "t", "kafka_partition": 0, "kafka_offset": 7, "ingest_time": NOON, "ingest_day": NOON.date()}
    rows = [{"reason": "duplicate", "raw": orjson.dumps(event)}, {"reason": "bad_format", "raw": b"{"}]
    put(workspace.table("quarantine"), QUARANTINE_SCHEMA, *(place | row for row in rows))
    [found] = read_duplicates(spark, deployed(VERTICAL, workspace), ["transaction_id", "amount", "kafka_offset"]).collect()
    assert tuple(found) == ("t1", 9.5, 7)

    none = spark.createDataFrame([], "event_id string, rule string, late_seconds double")
    stream = alerts(spark, ("second", 6.0, "t1"), ("other score", 6.0, "t1"), ("alone", 6.0, "x"), ("same", 6.0, "y"))
    compared = compare_alerts(stream, alerts(spark, ("same", 6.0, "y")), none)
    repeated = alerts(spark, ("second", 6.0, "t1"), ("other score", 7.0, "t1"), ("same", 9.0, "y"), ("nowhere", 6.0, "z"))
    statuses = {row.alert_id: row.status for row in explain_extra(compared, repeated, "repeated_id").collect()}
    assert statuses == {"second": "repeated_id", "other score": "extra", "alone": "extra", "same": "equal"}


def test_late_is_what_was_behind_the_watermark_of_the_batch_that_came_to_it(spark, tmp_path):
    workspace = Workspace(tmp_path, "v")
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    batch = {"query": "by_card", "kafka_partition": 0, "ended_at": NOON}
    put(
        workspace.table("judged"),
        JUDGED_SCHEMA,
        *({"query": query.name, "ended_at": NOON} for query in VERTICAL.queries),
        {**batch, "batch": 0, "start_offset": 0, "end_offset": 2, "watermark": NOON - timedelta(days=1)},
        {**batch, "batch": 1, "start_offset": 2, "end_offset": 4, "watermark": NOON},
    )
    # By offset: before the watermark of the first batch never, of the second once; what lies beyond met the second's at least.
    events = spark.createDataFrame(
        [(str(offset), 0, offset, NOON - timedelta(hours=hours)) for offset, hours in enumerate((3, 3, 3, -1, 2))],
        "transaction_id string, kafka_partition int, kafka_offset long, event_time timestamp",
    )
    late = find_late_events(spark, deployed(VERTICAL, workspace), events).where("rule = 'velocity'").orderBy("event_id").collect()
    assert [(row.event_id, row.late_seconds) for row in late] == [("2", 3 * 3600.0), ("4", 2 * 3600.0)]


def test_every_offset_was_judged_once_by_the_last_attempt_and_beyond_by_what_was_in_force_then(tmp_path):
    workspace, query = Workspace(tmp_path, "v"), VERTICAL.queries[0]
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    batch = {"query": query.name, "kafka_partition": 0, "model_version": None}
    put(
        workspace.table("judged"),
        JUDGED_SCHEMA,
        {"query": query.name, "ended_at": NOON},
        {**batch, "batch": 0, "start_offset": 0, "end_offset": 10, "baseline_version": "v1", "ended_at": NOON},
        {**batch, "batch": 1, "start_offset": 10, "end_offset": 15, "baseline_version": "v1", "ended_at": NOON},
        {
            **batch,
            "batch": 1,
            "start_offset": 10,
            "end_offset": 20,
            "baseline_version": "v2",
            "ended_at": NOON + timedelta(minutes=1),
        },
    )
    ranges = [(each.start, each.end, each.baseline) for each in read_ranges(workspace, query)]
    assert sorted(ranges) == [(0, 10, "v1"), (10, 20, "v2"), (20, BEYOND, None)]


def test_a_new_checkpoint_judges_all_anew(tmp_path):
    workspace, query = Workspace(tmp_path, "v"), VERTICAL.queries[0]
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    batch = {"query": query.name, "kafka_partition": 0, "batch": 0, "start_offset": 0}
    old, new = {"checkpoint": "a", "baseline_version": "v1"}, {"checkpoint": "b", "baseline_version": "v2"}
    later = NOON + timedelta(minutes=1)
    put(
        workspace.table("judged"),
        JUDGED_SCHEMA,
        {**batch, **old, "end_offset": 10, "ended_at": NOON},
        {**batch, **old, "batch": 1, "start_offset": 10, "end_offset": 90, "ended_at": NOON},
        {"query": query.name, "ended_at": later},
        {**batch, **new, "end_offset": 40, "ended_at": later},
    )
    ranges = [(each.start, each.end, each.baseline) for each in read_ranges(workspace, query)]
    assert ranges == [(0, 40, "v2"), (40, BEYOND, None)]
    assert finished_ends(workspace) == {(query.name, 0): 40}


def test_a_batch_that_a_kill_left_unreported_counts_as_judged_like_the_next(tmp_path):
    workspace, query = Workspace(tmp_path, "v"), VERTICAL.queries[0]
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    batch = {"query": query.name, "kafka_partition": 0, "ended_at": NOON}
    put(
        workspace.table("judged"),
        JUDGED_SCHEMA,
        {**batch, "batch": 0, "start_offset": 0, "end_offset": 10, "baseline_version": "v1"},
        {**batch, "batch": 2, "start_offset": 25, "end_offset": 30, "baseline_version": "v2"},
    )
    ranges = [(each.start, each.end, each.baseline) for each in read_ranges(workspace, query)]
    assert ranges == [(0, 10, "v1"), (10, 30, "v2"), (30, BEYOND, None)]


def purchase(card, number, offset):
    """Card transactions two minutes apart, as they are archived."""
    return {
        "transaction_id": f"{card}-{number}",
        "card_id": card,
        "terminal_id": "m1",
        "amount": 50.0,
        "kafka_partition": 0,
        "kafka_offset": offset,
        "event_time": NOON + timedelta(minutes=2 * number),
        "ingest_time": NOON,
    }


def test_a_window_is_judged_by_the_last_thresholds_that_saw_it_grow(spark, tmp_path):
    workspace = Workspace(tmp_path, VERTICAL.name)
    windowed = replace(VERTICAL, queries=tuple(query for query in VERTICAL.queries if query.name == "by_card"))
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    eight, three = (publish_settings(windowed, workspace.tables, {"velocity": value}, "ann").version for value in ("8", "3"))
    batch = {"query": "by_card", "kafka_partition": 0, "ended_at": datetime.now(UTC)}
    before = [("stops", 6), ("grows on", 6), ("falls short", 6), ("too few", 4), ("later enough", 4)]
    raised, lowered = [("grows on", 7), ("grows on", 8), ("falls short", 7)], [("later enough", 5)]
    came = [(card, number) for card, count in before for number in range(1, count + 1)]
    eras = ["" for _ in came] + [eight for _ in raised] + [three for _ in lowered]
    put(
        workspace.table("judged"),
        JUDGED_SCHEMA,
        *({**batch, "batch": n, "start_offset": n, "end_offset": n + 1, "settings_version": era} for n, era in enumerate(eras)),
        # Nothing to judge, as of events that a query leaves out: it makes no difference.
        {**batch, "batch": len(eras), "start_offset": len(eras), "end_offset": len(eras) + 9, "settings_version": None},
    )
    rows = [purchase(card, number, offset) for offset, (card, number) in enumerate(came + raised + lowered)]
    events = archived(spark, windowed, rows)
    alerts = recompute_alerts(spark, deployed(windowed, workspace), events).collect()
    found = {(alert.entity_id, alert.score, alert.threshold) for alert in alerts}
    assert found == {("stops", 6, 6), ("grows on", 8, 8), ("falls short", 6, 6), ("later enough", 5, 3)}


def test_an_alert_of_a_batch_that_began_again_under_other_baselines_is_told_from_one_that_nothing_explains(spark, tmp_path):
    workspace = Workspace(tmp_path, VERTICAL.name)
    per_event = replace(VERTICAL, queries=tuple(query for query in VERTICAL.queries if query.name == "per_event"))
    risky, harmless = (baselines_with(spark, workspace, risk) for risk in (0.9, 0.0))
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    again = {"query": "per_event", "batch": 0, "kafka_partition": 0, "start_offset": 0, "end_offset": 2}
    put(workspace.table("judged"), JUDGED_SCHEMA, {**again, "baseline_version": harmless, "ended_at": datetime.now(UTC)})
    events, rules = archived(spark, per_event, [purchase("c1", 0, 0), purchase("c1", 1, 1)]), load(VERTICAL.settings)
    assert recompute_alerts(spark, deployed(per_event, workspace, rules), events).collect() == []

    stored = "alert_id string, event string, versions struct<baseline:string,model:string>"
    told = spark.createDataFrame([("x", "c1-0", (risky, None)), ("y", "c1-1", (harmless, None))], stored)
    [alert] = recompute_as_named(spark, deployed(per_event, workspace, rules), events, told).collect()
    assert (alert.rule, alert.event, alert.score) == ("terminal_risk", "c1-0", 0.9)


def baselines_with(spark, workspace, risk):
    card, terminal = VERTICAL.baselines["card"], VERTICAL.baselines["terminal"]
    known = {"terminal_id": "m1", "terminal_count_7d": 50, "terminal_risk_7d": risk}
    learnt = {
        "card": spark.createDataFrame([], card.schema),
        "terminal": spark.createDataFrame([tuple(known.get(name) for name in terminal.schema.names)], terminal.schema),
    }
    return publish_baselines(learnt, VERTICAL, workspace.tables, "2020-03-02").version


def test_a_batch_that_began_while_baselines_were_being_written_read_the_ones_before(spark, tmp_path):
    workspace = Workspace(tmp_path, VERTICAL.name)
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    before, _ = (baselines_with(spark, workspace, risk) for risk in (0.1, 0.9))
    last_written = tables.open_table(baseline_path(workspace.tables, "terminal")).history(1)[0]["timestamp"]
    ended = datetime.fromtimestamp(last_written / 1000, UTC)
    batch = {"query": "per_event", "kafka_partition": 0, "batch": 0, "start_offset": 0, "end_offset": 4, "ended_at": ended}
    put(workspace.table("judged"), JUDGED_SCHEMA, batch | {"baseline_version": before})
    reported, under_way = read_ranges(workspace, VERTICAL.queries[0])
    assert (reported.end, under_way.start) == (4, 4)
    assert under_way.baseline == before


def test_what_came_through_an_earlier_topic_of_that_name_is_not_compared(spark, tmp_path):
    workspace = Workspace(tmp_path, VERTICAL.name)
    ensure_tables(VERTICAL, workspace)
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    started = NOON + timedelta(days=2)
    put(workspace.table("judged"), JUDGED_SCHEMA, *({"query": query.name, "ended_at": started} for query in VERTICAL.queries))
    place = {"topic": f"{VERTICAL.name}.events", "kafka_partition": 0, "kafka_offset": 3, "ingest_time": NOON}
    day = {"event_time": NOON, "event_day": NOON.date()}
    event = {"transaction_id": "t1", "card_id": "c1", "terminal_id": "m1", "amount": 9.5}
    put(workspace.table("events"), events_schema(VERTICAL), place | day | event)
    put(
        workspace.table("alerts"),
        ALERTS_SCHEMA,
        place | day | {"alert_id": "a", "rule": "velocity", "entity_id": "c1", "score": 6.0, "event": '["t1"]'},
    )
    tables.ensure_table(workspace.table("topics"), TOPICS_SCHEMA)
    for name, since, found in (("first", NOON - timedelta(1), {("velocity", "extra"): 1}), ("second", NOON + timedelta(1), {})):
        topic = {
            "name": f"{VERTICAL.name}.events",
            "cluster": "c",
            "partitions": 2,
            "id": name,
            "since": since,
            "noted_at": since,
        }
        put(workspace.table("topics"), TOPICS_SCHEMA, topic, topic | {"name": "other", "since": NOON})
        assert reconcile(spark, deployed(VERTICAL, workspace)).counts == found


def test_a_query_that_never_ran_is_named(tmp_path):
    with pytest.raises(NoLineage, match="query per_event has judged nothing yet"):
        read_ranges(Workspace(tmp_path, "v"), VERTICAL.queries[0])


def test_what_waits_for_a_watermark_is_judged_by_the_thresholds_that_it_closed_under(spark, tmp_path):
    shop = find_vertical("retail_behavior")
    shop = replace(shop, queries=tuple(query for query in shop.queries if query.name == "by_session"))
    workspace = Workspace(tmp_path, shop.name)
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    higher = publish_settings(shop, workspace.tables, {"cart_value": "100"}, "ann").version
    batch, one = {"query": "by_session", "kafka_partition": 0, "ended_at": datetime.now(UTC)}, NOON + timedelta(hours=1)
    put(
        workspace.table("judged"),
        JUDGED_SCHEMA,
        {**batch, "batch": 0, "start_offset": 0, "end_offset": 4, "watermark": NOON, "settings_version": ""},
        {**batch, "batch": 1, "start_offset": 4, "end_offset": 5, "watermark": one, "settings_version": higher},
    )
    # Carts that fall silent half an hour after their last event; all came in the first batch.
    carts = [("closed before", -1, 80.0), ("closed after", 0, 80.0), ("dear enough", 0, 120.0), ("still open", 5, 500.0)]
    usual = {"event_type": "add_to_cart", "product_id": "p1", "quantity": 1, "kafka_partition": 0, "ingest_time": NOON}
    rows = [
        {**usual, "event_id": who, "visitor_id": who, "price": price, "event_time": NOON + timedelta(hours=at), "kafka_offset": n}
        for n, (who, at, price) in enumerate(carts)
    ]
    events = archived(spark, shop, rows)
    alerts = recompute_alerts(spark, deployed(shop, workspace), events).collect()
    assert {(alert.entity_id, alert.threshold) for alert in alerts} == {("closed before", 60), ("dear enough", 100)}


def test_evaluation_counts_an_alert_as_right_and_an_event_as_found_when_they_name_each_other(spark, tmp_path):
    workspace = Workspace(tmp_path, VERTICAL.name)
    ensure_tables(VERTICAL, workspace)
    day = {"event_time": NOON, "event_day": date(2020, 3, 2), "ingest_time": NOON}
    event = {"card_id": "c1", "terminal_id": "m1", "amount": 1.0, "kafka_partition": 0, "kafka_offset": 0, **day}
    put(
        workspace.table("events"),
        events_schema(VERTICAL),
        *({**event, "transaction_id": name} for name in ("fraud", "late fraud", "missed", "honest")),
        {**event, "transaction_id": "backfilled", "kafka_partition": -1},
    )
    label = {"entity_id": "c1", "scenario": "velocity", "event_time": NOON, "known_time": NOON}
    cases = {"fraud": "a", "late fraud": "a", "missed": "b", "backfilled": "c"}
    labels = [{**label, "event_id": name, "case_id": case} for name, case in cases.items()]
    put(workspace.table("labels"), LABELS_SCHEMA, *labels)
    alert = {
        "rule": "velocity",
        "entity_id": "c1",
        "kafka_partition": 0,
        "kafka_offset": 0,
        "first_event_time": NOON + timedelta(seconds=90),
        **day,
    }
    put(
        workspace.table("alerts"),
        ALERTS_SCHEMA,
        {**alert, "alert_id": "right", "event": '["honest","fraud"]'},
        {**alert, "alert_id": "wrong", "event": "honest"},
    )
    result = evaluate(VERTICAL, *read_live_history(spark, workspace))
    assert {rule.rule: (rule.alerts, rule.right) for rule in result.rules if rule.alerts} == {"velocity": (2, 1)}
    assert (result.overall.alerts, result.overall.precision) == (2, 0.5)
    found = {each.scenario: each for each in result.scenarios if each.cases}
    velocity = found.pop("velocity")
    assert not found
    assert (velocity.cases, velocity.found_cases, velocity.first_rule, velocity.median_seconds) == (2, 1, "velocity", 90.0)
    assert velocity.of_its_rules.precision == 0.5
    # One card, one day, one alert that was wrong.
    assert result.false_alerts_per_entity_day == 1.0


def test_the_best_plain_threshold_is_chosen_with_hindsight_and_takes_all_events_of_one_score():
    scores = np.array([9.0, 8.0, 7.0, 7.0, 1.0, np.nan])
    labelled = np.array([True, True, True, False, False, True])
    case = np.array(["a", "b", "c", None, None, "e"], object)
    # From 8 on: 2 of 2 right. From 7 on: 3 of 4, too few.
    assert best_plain_recall(scores, labelled, case) == 2 / 4
    assert best_plain_recall(scores, np.zeros(6, bool), case) == 0.0
    assert best_plain_recall(scores, labelled, np.full(6, None)) is None
