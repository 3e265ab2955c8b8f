"""A data folder that an earlier version wrote is opened by this one, and everything in it goes on from where it stopped.

data/old-data-folder.tar.xz is what commit a4f84c8 left of two verticals, each streamed and archived for some seconds: tables,
checkpoints with state, a model, a published threshold, a token, and the embedded broker's topics (kept for ever, so that the
folder does not age). health_monitoring hides names with KEY. note.json says what was in it.
"""

import base64
import json
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from pyspark.sql import functions as F

from common import tables
from common.embedded.kafka import EmbeddedKafka
from common.gateway.tokens import TokenFile, Tokens
from common.installed import find_vertical
from common.kafka.connection import Connection
from common.kafka.producers import Producer
from common.kafka.reader import read_all
from common.kafka.topics import topic_names
from common.models.scoring import have_same_structure
from common.privacy.key_ids import KEY_NOTE, check_key
from common.privacy.pseudonyms import decrypt
from common.published.live_thresholds import thresholds
from common.published.reference_data import live_reference_data
from common.published.versions import BASELINE, in_force
from common.reconciliation.lineage import finished_ends
from common.settings import Settings, SettingsError, load
from common.streaming.archiving import run_archiving
from common.streaming.detection import run_detection
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.broker

PACKED = Path(__file__).parent / "data" / "old-data-folder.tar.xz"
KEY = base64.b64encode(bytes(range(32))).decode()
FINANCE, HEALTH = find_vertical("finance_fraud"), find_vertical("health_monitoring")
VERTICALS = pytest.mark.parametrize("vertical", [FINANCE, HEALTH], ids=lambda vertical: vertical.name)


@dataclass(frozen=True)
class Opened:
    """The folder, what its note says was in it, and the broker that runs in it again."""

    data: Path
    note: dict
    connection: Connection
    settings: Settings

    def workspace(self, vertical):
        return Workspace(self.data, vertical.name)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    data = tmp_path_factory.mktemp("old")
    with tarfile.open(PACKED) as packed:
        packed.extractall(data, filter="data")
    with EmbeddedKafka(data / "kafka", partitions=2) as kafka:
        settings = load(Settings, data=data, checkpoint_interval=5, archive_interval=1)
        yield Opened(data, json.loads((data / "note.json").read_text()), Connection(kafka.bootstrap_servers), settings)


@pytest.fixture(autouse=True)
def key_of_then(monkeypatch):
    monkeypatch.setenv("HYBRID_PSEUDONYM_KEY", KEY)


def send(opened, vertical, **changes):
    """An event of the folder's topic once more, as another: with these fields."""
    topic = topic_names(vertical).events
    for record in read_all(opened.connection, topic):
        event = orjson.loads(record.value) if record.value.startswith(b"{") else {}
        if event.get(vertical.event_id) and event.get(vertical.entity):
            break
    with Producer(opened.connection, linger=0) as producer:
        producer.send(topic, record.key, orjson.dumps(event | changes))


def in_clear(spark, vertical, raw):
    raw = bytes(raw)
    if vertical.pseudonymised:
        raw = spark.createDataFrame([(raw,)], "raw binary").select(decrypt(F.col("raw"))).first()[0]
    return bytes(raw).decode()


def checkpoint_id(workspace, query):
    return json.loads((Path(workspace.checkpoint(query.name)) / "metadata").read_text())["id"]


@VERTICALS
def test_all_its_tables_are_read(opened, spark, vertical):
    workspace, rows = opened.workspace(vertical), opened.note[vertical.name]["rows"]
    assert {name: tables.row_count(workspace.table(name)) for name in rows} == rows
    assert {name: tables.read_arrow(workspace.table(name)).num_rows for name in rows} == rows
    for name in ("events", "quarantine", "labels", "alerts"):  # those that Spark reads on a stream's behalf
        assert tables.read(spark, workspace.table(name)).count() == rows[name]


def test_what_was_learnt_published_and_allowed_is_in_force(opened, spark):
    folder = opened.workspace(FINANCE).tables
    learnt = live_reference_data(spark, folder, FINANCE)
    assert learnt.scoring is not None and have_same_structure(learnt.scoring, learnt.scoring)
    assert learnt.model.first().model_version == learnt.scoring.version
    assert learnt.baselines["card"].count() == opened.note["finance_fraud"]["rows"]["baselines_card"]
    published = {
        each.name: (each.value, each.changed_by.details["who"]) for each in thresholds(FINANCE, folder) if each.changed_by
    }
    assert published == {"amount_zscore": (4.5, "operator")}
    token = Tokens(TokenFile(opened.data)).find(f"Bearer {opened.note['token']}".encode())
    assert token is not None
    assert token.has_scope("finance_fraud", "read") and not token.has_scope("health_monitoring", "read")
    assert token.has_scope("health_monitoring", "write")


def test_what_is_quarantined_can_be_read_with_the_key_of_then_and_with_no_other(opened, spark, monkeypatch):
    workspace = opened.workspace(HEALTH)
    rows = tables.read(spark, workspace.table("quarantine")).orderBy("kafka_partition", "kafka_offset")
    found = rows.select("kafka_partition", "kafka_offset", "reason", decrypt(F.col("raw"))).limit(3).collect()
    assert [[*row[:3], bytes(row[3]).decode()] for row in found] == opened.note["quarantined"]
    check_key(HEALTH, workspace.folder)
    monkeypatch.setenv("HYBRID_PSEUDONYM_KEY", base64.b64encode(bytes(range(32, 64))).decode())
    with pytest.raises(SettingsError, match="another pseudonym key"):
        check_key(HEALTH, workspace.folder)
    note = workspace.folder / KEY_NOTE
    kept = note.read_text()
    note.unlink()
    with pytest.raises(SettingsError, match="another pseudonym key"):
        check_key(HEALTH, workspace.folder)
    note.write_text(kept)


@VERTICALS
def test_archive_and_detection_go_on_from_their_checkpoints(opened, spark, vertical, wait_for_next_batches):
    workspace, rows = opened.workspace(vertical), opened.note[vertical.name]["rows"]
    checkpoints = {query.name: checkpoint_id(workspace, query) for query in vertical.queries}
    then, before = datetime.now(UTC), finished_ends(workspace)
    send(opened, vertical, **{vertical.event_id: "new"})
    send(opened, vertical, **{vertical.event_id: "broken", vertical.event_time: "yesterday"})
    with (
        run_archiving(spark, deployed(vertical, workspace, settings=opened.settings, connection=opened.connection)) as archived,
        run_detection(spark, deployed(vertical, workspace, settings=opened.settings, connection=opened.connection)) as detecting,
    ):
        wait_for_next_batches(detecting)
        archived.drain()
        counts = archived.counts()

    # The new ones once each, and no old one again.
    assert (counts["events"], counts["quarantine"]) == (rows["events"] + 1, rows["quarantine"] + 1)
    assert counts["labels"] == rows["labels"]
    newest = tables.read(spark, workspace.table("quarantine")).orderBy(F.desc("ingest_time")).first()
    assert newest.reason != "duplicate" and "yesterday" in in_clear(spark, vertical, newest.raw)
    alerts = {row.alert_id for row in tables.read(spark, workspace.table("alerts")).collect()}
    assert set(opened.note[vertical.name]["alerts"]) <= alerts and counts["alerts"] == len(alerts)

    judged = tables.read_arrow(workspace.table("judged")).sort_by([("batch", "descending")]).to_pylist()
    judged = [row for row in judged if row["checkpoint"] and row["ended_at"] > then]
    assert {row["query"]: row["checkpoint"] for row in judged} == checkpoints
    first = {(row["query"], row["kafka_partition"]): row["start_offset"] for row in judged}
    assert first == before
    assert {row["baseline_version"] for row in judged} - {None} <= {in_force(workspace.tables, BASELINE).version}
