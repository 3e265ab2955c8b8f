"""Thresholds that change under running queries: taken up without a restart, state kept, on record, and refused when bad."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from common import tables
from common.installed import find_vertical
from common.kafka.producers import Producer
from common.kafka.reader import read_all
from common.kafka.topics import ensure_topics, topic_names
from common.published.live_thresholds import publish_settings, rules_version
from common.published.reference_data import publish_baselines
from common.published.versions import SETTINGS, in_force
from common.reconciliation.reconcile import reconcile
from common.settings import Settings, SettingsError, load
from common.streaming.archiving import run_archiving
from common.streaming.detection import run_detection
from common.streaming.queries import REAL_TIME
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.broker

VERTICAL = replace(find_vertical("finance_fraud"), name="tuned_fraud")
RULES = load(VERTICAL.settings)
TOPICS = topic_names(VERTICAL)
NOON = datetime(2020, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def place(broker, tmp_path_factory):
    ensure_topics(broker, VERTICAL, partitions=2)
    data = tmp_path_factory.mktemp("data")
    return broker, Workspace(data, VERTICAL.name), load(Settings, data=data, checkpoint_interval=5, archive_interval=1)


def send(broker, card, first, last):
    """Purchases of a card, numbers `first` to `last`, two minutes apart."""
    with Producer(broker, linger=0) as producer:
        for number in range(first, last + 1):
            at = (NOON + timedelta(minutes=2 * number)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
            event = {"transaction_id": f"{card}-{number}", "card_id": card, "terminal_id": "m1", "amount": 50.0, "event_time": at}
            producer.send(TOPICS.events, card.encode(), orjson.dumps(event))


def bursts(broker):
    """The newest update of each card's velocity alert of the window from noon on, by number of purchases behind it."""
    alerts = [orjson.loads(record.value) for record in read_all(broker, TOPICS.alerts)]
    return {alert["alert_id"]: alert for alert in alerts if alert["rule"] == "velocity"}.values()


def wait_for(broker, score, threshold, seconds=60):
    """The alerts of this score and threshold, once there are any."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := [each for each in bursts(broker) if (each["score"], each["threshold"]) == (score, threshold)]:
            return found
        time.sleep(0.5)
    raise AssertionError(f"waited {seconds} s for a score of {score}; there are {list(bursts(broker))}")


def test_a_threshold_changes_under_a_running_window_and_history_judges_as_the_stream_did(spark, place, wait_for_next_batches):
    broker, workspace, settings = place
    publish_baselines(
        {name: spark.createDataFrame([], baseline.schema) for name, baseline in VERTICAL.baselines.items()},
        VERTICAL, workspace.tables, "2020-03-02")  # fmt: skip
    with (
        run_archiving(spark, deployed(VERTICAL, workspace, settings=settings, connection=broker)) as archived,
        run_detection(spark, deployed(VERTICAL, workspace, RULES, settings=settings, connection=broker)) as detecting,
    ):
        assert {each.mode for each in detecting.running} == {REAL_TIME}
        runs = {each.query.name: each.streaming.runId for each in detecting.running}
        for card, purchases in (("goes-on", 6), ("stops", 6), ("falls-short", 6), ("too-few", 4), ("later", 4)):
            send(broker, card, 1, purchases)
        before = wait_for(broker, 6, 6)
        assert {alert["versions"]["rules"] for alert in before} == {rules_version(VERTICAL, RULES)}

        raised = publish_settings(VERTICAL, workspace.tables, {"velocity": "8"}, "ann")
        for bad in ({"velocity": "-1"}, {"velocity": "many"}, {"velocity": "nan"}, {"card_window": "1 hour"}, {"velocty": "7"}):
            with pytest.raises(SettingsError):
                publish_settings(VERTICAL, workspace.tables, bad, "ben")
        assert in_force(workspace.tables, SETTINGS) == replace(raised, created_at=in_force(workspace.tables, SETTINGS).created_at)
        wait_for_next_batches(detecting)
        send(broker, "falls-short", 7, 7)
        send(broker, "goes-on", 7, 8)
        alerts = wait_for(broker, 8, 8)
        assert {alert["versions"]["rules"] for alert in alerts} == {f"{rules_version(VERTICAL, RULES)}+{raised.version}"}
        # Six of its purchases came before the change: the state was kept.
        assert orjson.loads(alerts[0]["event"]) == [f"goes-on-{number}" for number in range(1, 9)]

        publish_settings(VERTICAL, workspace.tables, {"velocity": "3"}, "ann")
        wait_for_next_batches(detecting)
        send(broker, "later", 5, 5)
        wait_for(broker, 5, 3)
        detecting.keep_running()
        assert {each.query.name: each.streaming.runId for each in detecting.running} == runs, "no query was restarted"
        wait_for_next_batches(detecting)  # the batches that judged these end, and go on record
        archived.drain()

    scores = {(alert["entity_id"], alert["score"], alert["threshold"]) for alert in bursts(broker)}
    assert scores == {("goes-on", 8, 8), ("stops", 6, 6), ("falls-short", 6, 6), ("later", 5, 3)}
    observed = tables.read(spark, workspace.table("judged")).where("query = 'by_card'").select("settings_version").distinct()
    assert {row.settings_version for row in observed.collect()} - {None} >= {"", raised.version}
    result = reconcile(spark, deployed(VERTICAL, workspace, RULES))
    assert result.agrees, result.differences.collect()
    assert sum(result.counts.values()) == len(bursts(broker))
