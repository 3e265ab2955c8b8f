"""What every vertical promises the core, whoever wrote it. The verticals are found by themselves."""

import os
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path

import orjson
import pyarrow as pa
import pytest
from pydantic import ValidationError
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from common import contract
from common.alerts import ALERT_SCHEMA, to_kafka
from common.archive.archive_tables import LABELS_SCHEMA, events_schema
from common.closed_windows import only_closed
from common.contract import check_contract
from common.installed import example_names, find_vertical, vertical_names
from common.privacy.pseudonyms import with_pseudonyms
from common.published.live_thresholds import live_settings, publish_settings, rules_version
from common.published.reference_data import MODEL_SCHEMA, ReferenceData, join_reference_data
from common.settings import SettingsError, load
from loadtests.bench.output_records import id_column, measured_queries, read_id, read_newest_event, with_lowest_threshold

pytestmark = pytest.mark.files

DAY = date(2020, 3, 2)
SLICES = (30, 300, 1500, 5000)  # after so many events a micro-batch ends, and after the last the stream


@pytest.fixture(scope="module", params=[*vertical_names(), *example_names()])
def vertical(request):
    return find_vertical(request.param)


@pytest.fixture(scope="module")
def population(vertical):
    return vertical.population(**vertical.small)


@pytest.fixture(scope="module")
def messages(vertical, population):
    """Three days as a producer would send them, dirt and all."""
    return [chunk.messages for chunk in vertical.generate(7, DAY, 3, population, True)]


@pytest.fixture(scope="module")
def records(spark, messages, tmp_path_factory):
    """The messages as Kafka's records, in a file that a stream can read too."""
    rows = [
        (bytearray(key), bytearray(value), "events", 0, offset)
        for offset, (key, value) in enumerate(
            (key, value) for part in messages for key, value in zip(part.keys, part.values, strict=True)
        )
    ]
    frame = spark.createDataFrame(rows, "key binary, value binary, topic string, partition int, offset long")
    path = str(tmp_path_factory.mktemp("records") / "all")
    frame.withColumn("timestamp", F.lit("2021-01-01").cast("timestamp")).repartition(4, "offset").write.parquet(path)
    return path


def frame_of(spark, parts, schema):
    return spark.createDataFrame(pa.concat_tables(parts).cast(to_arrow_schema(schema, timezone="UTC")), schema)


@pytest.fixture(scope="module")
def history(spark, vertical, population):
    """Forty days of valid events and their labels before DAY."""
    days = [vertical.generate_day(7, DAY - timedelta(days=back), population) for back in range(1, 41)]
    events = frame_of(spark, [day.events for day in days], vertical.event_schema)
    labels = frame_of(spark, [day.labels for day in days], LABELS_SCHEMA)
    missing = {
        field.name: F.lit(None).cast(field.dataType) for field in events_schema(vertical) if field.name not in events.columns
    }
    events = events.withColumns(missing).select(*with_pseudonyms(vertical, events_schema(vertical).names))
    complete = events.withColumn("event_day", F.to_date(vertical.event_time)).persist()
    yield complete, labels.persist()
    complete.unpersist()


@pytest.fixture(scope="module")
def learnt(spark, vertical, history):
    frames = {
        name: rows.select(*vertical.baselines[name].schema.names, F.lit("v1").alias("baseline_version")).persist()
        for name, rows in vertical.learn(*history, [DAY]).items()
    }
    return ReferenceData(frames, spark.createDataFrame([], MODEL_SCHEMA))


def judged(vertical, learnt, events, settings=None):
    """Alerts of all queries over events."""
    settings = settings or load(vertical.settings)
    return {
        query.name: query.build(join_reference_data(events, learnt, vertical, query, settings), settings)
        for query in vertical.queries
        if query.raises_alerts
    }


@pytest.fixture(scope="module")
def in_history(spark, vertical, records, learnt, compiling):
    """The records' valid events as a table, and the alerts of all queries over it."""
    with compiling():
        events = contract.valid_events(spark.read.parquet(records), vertical).persist()
        alerts = {name: each.persist() for name, each in judged(vertical, learnt, events).items()}
    yield events, alerts
    for frame in (events, *alerts.values()):
        frame.unpersist()


def test_its_contract_compiles_and_requires_what_the_core_needs(vertical):
    check_contract(vertical.event_schema, vertical.contract, (vertical.event_id, vertical.entity, vertical.event_time))
    required = {e["kwargs"]["column"] for e in vertical.contract if e["type"] == "expect_column_values_to_not_be_null"}
    assert {vertical.event_id, vertical.entity, vertical.event_time} <= required


def test_the_same_seed_gives_the_same_bytes(vertical, population, messages):
    again = [chunk.messages for chunk in vertical.generate(7, DAY, 3, population, True)]
    other = [chunk.messages for chunk in vertical.generate(8, DAY, 3, population, True)]
    assert [part.values.tolist() for part in again] == [part.values.tolist() for part in messages]
    assert [part.values.tolist() for part in other] != [part.values.tolist() for part in messages]


def test_labels_name_events_and_travel_apart_from_them(vertical, population):
    day = vertical.generate_day(7, DAY, population)
    assert set(day.labels["event_id"].to_pylist()) <= set(day.events[vertical.event_id].to_pylist())
    assert day.events.column_names == vertical.event_schema.names
    assert set(day.labels["scenario"].to_pylist()) <= {scenario.name for scenario in vertical.scenarios}


def test_every_message_is_accepted_or_rejected_with_a_reason_as_the_generator_meant_it(
    spark, vertical, messages, records, compiling
):
    with compiling():
        rejected = {row.kafka_offset: row.reason for row in contract.parse(spark.read.parquet(records), vertical).collect()}
    flaws = [flaw for part in messages for flaw in part.flaw]
    assert len(rejected) == len(flaws)
    wrong = {
        (flaw, rejected[offset]) for offset, flaw in enumerate(flaws) if (rejected[offset] is None) != (flaw in ("", "duplicate"))
    }
    assert not wrong


def test_every_threshold_is_a_setting_that_the_environment_can_move(vertical, monkeypatch):
    prefix = vertical.settings.model_config["env_prefix"]
    for rule in vertical.rules:
        assert isinstance(getattr(load(vertical.settings), rule.threshold), int | float)
    first = vertical.rules[0].threshold
    monkeypatch.setenv(f"{prefix}{first.upper()}", "0.25")
    assert getattr(load(vertical.settings), first) == 0.25
    monkeypatch.setenv(f"{prefix}{first.upper()}X", "1")
    with pytest.raises(SettingsError, match=first.upper()):
        load(vertical.settings)


def test_settings_cannot_be_changed(vertical):
    with pytest.raises(ValidationError):
        setattr(load(vertical.settings), vertical.rules[0].threshold, 1.0)


def test_every_rule_says_what_it_scores_and_is_named_once(vertical):
    names = [rule.name for rule in vertical.rules]
    assert len(set(names)) == len(names)
    assert all(rule.score.__doc__ for rule in vertical.rules)


def test_a_baseline_knows_nothing_of_its_own_day_or_later(spark, vertical, population, history, compiling):
    events, labels = history
    cut = events.where(F.col("event_day") < F.lit(DAY - timedelta(days=5)))
    known = labels.where(F.col("known_time") <= F.lit(DAY - timedelta(days=5)).cast("timestamp"))
    with compiling():
        before, after = (
            {name: rows.drop("as_of").collect() for name, rows in vertical.learn(*given, [DAY - timedelta(days=5)]).items()}
            for given in ((events, labels), (cut, known))
        )
    assert before.keys() == after.keys()
    for name, rows in before.items():
        assert rows
        assert _rounded(rows) == _rounded(after[name])


def test_alerts_have_the_shared_shape_and_one_row_per_id(in_history):
    for alerts in in_history[1].values():
        assert alerts.columns == ALERT_SCHEMA.names
        rows = alerts.dropDuplicates().collect()
        assert len({row.alert_id for row in rows}) == len(rows)
        assert all(row.score >= row.threshold and row.entity_id and row.event and row.reasons for row in rows)


def test_a_published_threshold_judges_as_the_same_one_from_the_environment(spark, vertical, in_history, learnt, tmp_path):
    settings = load(vertical.settings)
    lower = {name: 0.9 * getattr(settings, name) for name in vertical.live_thresholds}
    published = publish_settings(vertical, str(tmp_path), {name: str(value) for name, value in lower.items()}, "ann")
    live = live_settings(spark, vertical, str(tmp_path), settings)
    events, _ = in_history
    from_environment = judged(vertical, learnt, events, settings.model_copy(update=lower))
    found = 0
    for name, alerts in judged(vertical, learnt, events, live).items():
        rows = alerts.collect()
        assert _told(rows) == _told(from_environment[name].collect()), name
        is_live = {rule.name for rule in vertical.rules if rule.threshold in lower}
        versions = {row.versions.rules for row in rows if row.rule in is_live}
        assert versions <= {f"{rules_version(vertical, settings)}+{published.version}"}
        found += len(rows)
    assert found > 0


def test_what_the_measured_paths_find_is_traced_to_an_event(vertical, in_history, learnt):
    """As `hybrid bench` does it, by a rule that always speaks."""
    assert measured_queries(vertical)
    events, _ = in_history
    known = {row[0] for row in events.select(vertical.event_id).collect()}
    for query in measured_queries(vertical).values():
        settings = with_lowest_threshold(load(vertical.settings), query)
        found = query.build(join_reference_data(events, learnt, vertical, query, settings), settings)
        ids = {row[0] for row in found.select(id_column(vertical, query)).collect()}
        values = [bytes(row.value, "utf-8") for row in to_kafka(found).collect()]
        assert values, query.name
        assert {read_id(vertical, query, value) for value in values} == ids
        assert {read_newest_event(vertical, query, value) for value in values} <= known


def test_stream_and_batch_raise_the_same_alerts(spark, vertical, records, in_history, learnt, tmp_path, compiling):
    """Over the same records; a stream's last update of an alert is what batch computes."""
    with compiling():
        assert_same_alerts(spark, vertical, records, *in_history, learnt, tmp_path)


def test_what_a_stream_says_of_the_first_few_events_history_says_of_all(spark, vertical, messages, learnt, tmp_path):
    """A window with an event or two in it raises nothing that batch, which sees it full, does not know."""
    values, newest = [], ""
    for value in (value for flaw, value in zip(messages[0].flaw, messages[0].values, strict=True) if not flaw):
        time = orjson.loads(value)[vertical.event_time]
        if time >= newest:  # what is late a stream may leave to history
            newest = time
            values.append(bytearray(value))
    path = str(tmp_path / "slices")
    for number, (first, last) in enumerate(pairwise((0, *SLICES))):
        rows = [(None, value, "events", 0, first + row) for row, value in enumerate(values[first:last])]
        frame = spark.createDataFrame(rows, "key binary, value binary, topic string, partition int, offset long")
        frame = frame.withColumn("timestamp", F.lit("2021-01-01").cast("timestamp")).coalesce(1)
        before = set(Path(path).glob("*.parquet"))
        frame.write.mode("append").parquet(path)
        [written] = set(Path(path).glob("*.parquet")) - before
        os.utime(written, (number, number))  # a stream takes the oldest file first
    stored = contract.valid_events(spark.read.parquet(path), vertical)
    assert_same_alerts(spark, vertical, path, stored, judged(vertical, learnt, stored), learnt, tmp_path, maxFilesPerTrigger=1)


def assert_same_alerts(spark, vertical, records, stored, batch, learnt, folder, **options):
    source = spark.readStream.schema(spark.read.parquet(records).schema).options(**options)
    stream = contract.valid_events(source.parquet(records), vertical)
    found = 0
    for query in vertical.queries:
        if not query.raises_alerts:
            continue
        closed = only_closed(query, batch[query.name], stored, load(vertical.settings))
        expected = {row.alert_id: row.score for row in closed.collect()}
        updates: dict = {}
        alerts = query.build(
            join_reference_data(stream, learnt, vertical, query, load(vertical.settings)), load(vertical.settings)
        )
        running = (
            alerts.writeStream.outputMode(query.output_mode)
            .option("checkpointLocation", str(folder / query.name))
            .foreachBatch(lambda rows, number, kept=updates: kept.update({row.alert_id: row.score for row in rows.collect()}))
            .trigger(availableNow=True)
            .start()
        )
        running.awaitTermination()
        assert updates == pytest.approx(expected), query.name
        found += len(expected)
    assert found > 0


def _told(rows):
    return sorted((row.alert_id, row.score, row.threshold, row.severity, row.event) for row in rows)


def _rounded(rows):
    return sorted(tuple(round(value, 6) if isinstance(value, float) else value for value in row) for row in rows)
