"""A checkpoint is read by a query only that keeps what the one that wrote it kept."""

import pytest
from pyspark.sql import functions as F

from common import contract
from common.installed import find_vertical
from common.published.reference_data import MODEL_SCHEMA, ReferenceData, join_reference_data
from common.settings import load
from common.streaming.state import NOTE_FILE, OtherState, check_state, state_structure

pytestmark = pytest.mark.files

VERTICAL = find_vertical("finance_fraud")
RECORD = "key binary, value binary, topic string, partition int, offset long, timestamp timestamp"


@pytest.fixture(scope="module")
def events(spark, tmp_path_factory):
    """Transactions of a stream over an empty folder."""
    return contract.valid_events(spark.readStream.schema(RECORD).parquet(str(tmp_path_factory.mktemp("empty"))), VERTICAL)


def built(spark, events, name, **changes):
    """A query of the vertical under settings that differ from its own."""
    rules = load(VERTICAL.settings).model_copy(update=changes)
    [query] = [query for query in VERTICAL.queries if query.name == name]
    baselines = {
        name: spark.createDataFrame([], each.schema.add("baseline_version", "string"))
        for name, each in VERTICAL.baselines.items()
    }
    learnt = ReferenceData(baselines, spark.createDataFrame([], MODEL_SCHEMA))
    return query.build(join_reference_data(events, learnt, VERTICAL, query, rules), rules)


def test_the_same_query_and_one_with_another_threshold_go_on(spark, events, tmp_path):
    for changes in ({}, {}, {"velocity": 99}):
        check_state(built(spark, events, "by_card", **changes), str(tmp_path / "by_card"))


def test_a_query_that_keeps_nothing_may_change(spark, events, tmp_path):
    for number in (1, 2):
        check_state(events.withColumn("more", F.lit(number)), str(tmp_path / "per_event"))


def test_another_window_is_refused(spark, events, tmp_path):
    check_state(built(spark, events, "by_card"), str(tmp_path / "by_card"))
    with pytest.raises(OtherState, match=r"by_card holds what another version of the rules"):
        check_state(built(spark, events, "by_card", card_window="6 hours"), str(tmp_path / "by_card"))


def test_another_field_in_a_collected_set_is_refused(spark, events, tmp_path):
    """Spark takes it, and reads the bytes of one as the other."""
    windows = events.groupBy(F.window("event_time", "10 minutes"))
    check_state(windows.agg(F.collect_set(F.struct("card_id"))), str(tmp_path / "set"))
    with pytest.raises(OtherState):
        check_state(windows.agg(F.collect_set(F.struct("card_id", "amount"))), str(tmp_path / "set"))


def test_columns_that_differ_in_a_number_only_are_two(spark, events):
    week, month = (events.withColumn(name, F.lit(1)).groupBy("card_id").agg(F.max(name).alias("m")) for name in ("n_7d", "n_30d"))
    assert state_structure(week) != state_structure(month)


def test_a_kill_while_the_structure_is_written_leaves_nothing_that_refuses(spark, events, tmp_path):
    checkpoint = tmp_path / "by_card"
    checkpoint.mkdir()
    (checkpoint / f"_{NOTE_FILE}.unfinished").write_text("half of i")
    for _ in range(2):
        check_state(built(spark, events, "by_card"), str(checkpoint))
    assert not (checkpoint / f"_{NOTE_FILE}.unfinished").exists()
    assert (checkpoint / NOTE_FILE).stat().st_size
