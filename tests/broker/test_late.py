"""An event behind the watermark: kept, counted, judged by batch, and its alert added to the table once."""

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from common import tables
from common.installed import find_vertical
from common.kafka.producers import Producer
from common.kafka.topics import end_offsets, ensure_topics, topic_names
from common.reconciliation.late_alerts import add_late_alerts
from common.reconciliation.lineage import finished_ends
from common.reconciliation.reconcile import reconcile
from common.settings import Settings, load
from common.streaming.archiving import run_archiving
from common.streaming.detection import run_detection
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.broker

AFTERNOON = datetime(2020, 3, 2, 14, tzinfo=UTC)


@pytest.fixture
def place(broker, vertical_name, tmp_path):
    whole = find_vertical("finance_fraud")
    windowed = tuple(query for query in whole.queries if query.name == "by_card")  # the others have no watermark
    vertical = replace(whole, name=vertical_name, queries=windowed)
    ensure_topics(broker, vertical, partitions=1)
    settings = load(Settings, data=tmp_path, checkpoint_interval=5, archive_interval=1)
    return vertical, Workspace(tmp_path, vertical.name), settings, load(vertical.settings)


def send(broker, vertical, card, *times):
    with Producer(broker, linger=0) as producer:
        for at in times:
            event = {
                "transaction_id": f"{card} {at:%d %H:%M}",
                "card_id": card,
                "terminal_id": "t",
                "amount": 50.0,
                "event_time": f"{at:%Y-%m-%dT%H:%M:%S}.000Z",
            }
            producer.send(topic_names(vertical).events, card.encode(), orjson.dumps(event))


def wait_until_judged(broker, vertical, workspace):
    deadline = time.monotonic() + 120
    wanted = {(query.name, 0): end_offsets(broker, topic_names(vertical).events)[0] for query in vertical.queries}
    while finished_ends(workspace) != wanted:
        assert time.monotonic() < deadline, (finished_ends(workspace), wanted)
        time.sleep(0.5)


def test_an_alert_that_only_the_watermark_lost_joins_the_table_once(spark, broker, place, wait_for_next_batches):
    vertical, workspace, settings, rules = place
    burst = [AFTERNOON + timedelta(minutes=number) for number in range(6)]
    with run_detection(spark, deployed(vertical, workspace, rules, settings=settings, connection=broker)) as detecting:
        send(broker, vertical, "c1", *burst[:5])
        send(broker, vertical, "c2", AFTERNOON + timedelta(days=3))
        wait_until_judged(broker, vertical, workspace)
        wait_for_next_batches(detecting)
        wait_for_next_batches(detecting)  # Spark leaves out what is behind the watermark of the batch before
        send(broker, vertical, "c1", burst[5], burst[5])  # the second is a duplicate
        wait_until_judged(broker, vertical, workspace)
        detecting.keep_running()
        [behind] = detecting.log.watermarks.queries_behind()
        assert (behind.query, behind.records) == ("by_card", 2) and behind.watermark > AFTERNOON
    with run_archiving(spark, deployed(vertical, workspace, settings=settings, connection=broker)) as archived:
        archived.drain()
    assert archived.counts() == {"events": 7, "quarantine": 1, "labels": 0, "alerts": 0}
    for added in (1, 0):
        result = reconcile(spark, deployed(vertical, workspace, rules))
        assert result.counts == {("velocity", "late"): 1} and result.agrees
        late = add_late_alerts(spark, deployed(vertical, workspace, rules))
        assert (late.events, late.alerts, late.added) == (1, 1, added)
    assert reconcile(spark, deployed(vertical, workspace, rules), since=AFTERNOON + timedelta(days=1)).counts == {}
    runs = tables.read_arrow(workspace.table("reconciliations")).to_pylist()
    assert [(run["rule"], run["status"], run["alerts"]) for run in runs] == [("velocity", "late", 1)] * 2
    [alert] = tables.read_arrow(workspace.table("alerts")).to_pylist()
    assert (alert["rule"], alert["entity_id"], alert["score"], alert["kafka_offset"]) == ("velocity", "c1", 6.0, -1)

    with run_detection(
        spark, deployed(vertical, workspace, rules, settings=settings, connection=broker)
    ):  # it grows by another that comes too late
        send(broker, vertical, "c1", AFTERNOON + timedelta(minutes=6))
        wait_until_judged(broker, vertical, workspace)
    with run_archiving(spark, deployed(vertical, workspace, settings=settings, connection=broker)) as archived:
        archived.drain()
    assert reconcile(spark, deployed(vertical, workspace, rules)).counts == {("velocity", "late"): 1}
    assert add_late_alerts(spark, deployed(vertical, workspace, rules)).added == 0
    [alert] = tables.read_arrow(workspace.table("alerts")).to_pylist()
    assert (alert["score"], alert["kafka_offset"]) == (7.0, -1)
