"""The challenger on the stream: scored on what comes, never alerted, compared on labels, and put in force without a restart."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from common import tables
from common.batch.model_comparison import compare_models
from common.installed import find_vertical
from common.kafka.producers import Producer
from common.kafka.reader import read_all
from common.kafka.topics import ensure_topics, topic_names
from common.models.training import TrainedModel
from common.published.model_registry import promote, publish_model
from common.published.reference_data import publish_baselines
from common.settings import Settings, load
from common.streaming.archiving import run_archiving
from common.streaming.detection import run_detection
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.broker

VERTICAL = replace(find_vertical("finance_fraud"), name="shadowed_fraud")
TOPICS = topic_names(VERTICAL)
NOON = datetime(2020, 3, 2, 12, tzinfo=UTC)  # a Monday
STRUCTURE = "GET(model_parameters, 0) * `is_weekend` + GET(model_parameters, 1) * `is_night`"
# One takes weekends for fraud, the other nights.
WEEKENDS = TrainedModel(("is_weekend", "is_night"), STRUCTURE, (0.9, 0.1))
NIGHTS = TrainedModel(("is_weekend", "is_night"), STRUCTURE, (0.1, 0.9))


def iso(at):
    return at.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def send(broker, name, at, fraud=False):
    card = f"card-of-{name}"
    event = {"transaction_id": name, "card_id": card, "terminal_id": "m1", "amount": 50.0, "event_time": iso(at)}
    with Producer(broker, linger=0) as producer:
        producer.send(TOPICS.events, card.encode(), orjson.dumps(event))
        if fraud:
            label = {
                "event_id": name,
                "entity_id": card,
                "scenario": "velocity",
                "case_id": name,
                "event_time": iso(at),
                "known_time": iso(at + timedelta(days=7)),
            }
            producer.send(TOPICS.labels, card.encode(), orjson.dumps(label))


def scored(broker):
    """The model's alerts: event and model version."""
    alerts = [orjson.loads(record.value) for record in read_all(broker, TOPICS.alerts)]
    return {(alert["event"], alert["versions"]["model"]) for alert in alerts if alert["rule"] == "model_score"}


def wait_until(found, what, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found():
            return
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds} s for {what}")


def test_a_challenger_is_scored_beside_the_champion_and_takes_over_without_a_restart(
    spark, broker, tmp_path, wait_for_next_batches
):
    ensure_topics(broker, VERTICAL, partitions=2)
    workspace = Workspace(tmp_path, VERTICAL.name)
    settings = load(Settings, data=tmp_path, checkpoint_interval=5, archive_interval=1)
    publish_baselines(
        {name: spark.createDataFrame([], baseline.schema) for name, baseline in VERTICAL.baselines.items()},
        VERTICAL, workspace.tables, "2020-03-02")  # fmt: skip
    publish_model(WEEKENDS, "2020-03-02", workspace.tables)
    with (
        run_archiving(spark, deployed(VERTICAL, workspace, settings=settings, connection=broker)) as archived,
        run_detection(spark, deployed(VERTICAL, workspace, settings=settings, connection=broker)) as detecting,
    ):
        detecting.follow_model()
        assert detecting.shadow is None
        runs = {each.query.name: each.streaming.runId for each in detecting.running}
        send(broker, "before", NOON)
        publish_model(NIGHTS, "2020-03-02", workspace.tables)
        detecting.follow_model()
        shadow = detecting.shadow
        assert shadow.isActive
        wait_until(lambda: shadow.lastProgress, "the shadow's first batch")
        send(broker, "honest weekend", NOON - timedelta(days=1))
        send(broker, "honest day", NOON)
        send(broker, "stolen at night", NOON - timedelta(hours=10), fraud=True)
        path = workspace.table("shadow")
        wait_until(lambda: tables.row_count(path) == 3, "three scored events")
        wait_until(lambda: scored(broker), "an alert")
        assert scored(broker) == {("honest weekend", WEEKENDS.version)}, "the challenger raises no alert"
        archived.drain()
        assert compare_models(spark, deployed(VERTICAL, workspace)) is None, "no label is known yet"
        send(broker, "a week later", NOON + timedelta(days=8))
        wait_until(lambda: tables.row_count(path) == 4, "a fourth scored event")
        archived.drain()
        compared = compare_models(spark, deployed(VERTICAL, workspace))
        assert (compared.events, compared.challenger["average_precision"]) == (3, 1.0)
        assert compared.is_better(0.01)
        rows = {(row.champion_version, row.challenger_version) for row in tables.read(spark, path).collect()}
        assert rows == {(WEEKENDS.version, NIGHTS.version)}

        promote(workspace.tables, "ann")
        assert not detecting.follow_model(), "a model of the same structure needs no restart"
        assert detecting.shadow is None and not shadow.isActive
        wait_for_next_batches(detecting)
        send(broker, "at night again", NOON - timedelta(hours=9))
        wait_until(lambda: ("at night again", NIGHTS.version) in scored(broker), "an alert of the new champion")
        detecting.keep_running()
        assert {each.query.name: each.streaming.runId for each in detecting.running} == runs
