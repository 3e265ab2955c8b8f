"""What names a person is nowhere in what the archive keeps, and its hash is the one that RFC 2104 says."""

import base64
import hmac
import json
from pathlib import Path

import pytest
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common import contract
from common.archive.archive import Batch, keep_events, keep_labels
from common.archive.archive_tables import ensure_tables
from common.privacy.keys import ID_BYTES, KEY_BYTES, Key
from common.privacy.pseudonyms import decrypt, encrypt_deterministically, entity_pseudonym, key_id, pseudonym
from common.vertical import Vertical
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = pytest.mark.files

KEY, OTHER = bytes(range(KEY_BYTES)), bytes(range(100, 100 + KEY_BYTES))
KINDS = {"reading_id": "string", "patient_id": "string", "heart_rate": "double", "event_time": "timestamp"}
SCHEMA = T.StructType()
for name, kind in KINDS.items():
    SCHEMA.add(name, kind)
NOT_NULL = [
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": name}}
    for name in ("reading_id", "patient_id", "event_time")
]
SHORT = {"column": "patient_id", "min_value": 1, "max_value": 20}
LENGTH = {"type": "expect_column_value_lengths_to_be_between", "kwargs": SHORT}
PLANTED = "Ottilie Quastenflosser"
NOON = "2026-01-01T12:00:00Z"


@pytest.fixture(scope="module")
def ward():
    nothing = dict.fromkeys(("title", "settings", "population", "generate_day", "dirty_fields", "learn", "trends"))
    return Vertical(
        name="ward",
        event_schema=SCHEMA,
        contract=(*NOT_NULL, LENGTH),
        event_id="reading_id",
        entity="patient_id",
        queries=(),
        baselines={},
        pseudonymised=("patient_id",),
        **nothing,
    )


@pytest.fixture(autouse=True)
def own_key(monkeypatch):
    monkeypatch.setenv("HYBRID_PSEUDONYM_KEY", base64.b64encode(KEY).decode())


def records(spark, *values):
    rows = [(PLANTED.encode(), value, "ward.events", 0, offset) for offset, value in enumerate(values)]
    frame = spark.createDataFrame(rows, "key binary, value binary, topic string, partition int, offset long")
    return frame.withColumn("timestamp", F.lit("2026-01-01 12:00:01").cast("timestamp"))


def event(patient, **other):
    return json.dumps({"reading_id": "r1", "patient_id": patient, "heart_rate": 70.0, "event_time": NOON} | other).encode()


def test_a_pseudonym_is_the_hmac_of_the_text_and_null_stays_null(spark):
    rows = spark.createDataFrame([("Ada",), ("",), ("ä" * 300,), (None,)], "name string")
    found = [row[0] for row in rows.select(pseudonym(F.col("name"), Key(KEY))).collect()]
    assert found == [hmac.new(KEY, text.encode(), "sha256").hexdigest()[:24] for text in ("Ada", "", "ä" * 300)] + [None]


def test_nothing_that_the_archive_keeps_names_a_person(spark, ward, tmp_path):
    broken = [
        event(PLANTED),
        event("Ada", heart_rate=PLANTED),
        event("Ada", **{PLANTED: 1}),
        PLANTED.encode(),
        event("Ada")[:-3] + PLANTED.encode(),
        event("Ada", event_time=PLANTED),
        event("Ada", event_time="2036-01-01T00:00:00Z"),
    ]
    workspace = Workspace(tmp_path, ward.name)
    ensure_tables(ward, workspace)
    parsed = contract.parse(records(spark, event("Ada"), *broken), ward)
    kept = keep_events(parsed, Batch("q", 0), deployed(ward, workspace))
    assert (kept.rows, kept.quarantined) == (1, 7)
    label = json.dumps({"event_id": "r1", "entity_id": "Ada", "scenario": "x", "event_time": NOON, "known_time": NOON}).encode()
    assert keep_labels(records(spark, label, PLANTED.encode()), Batch("l", 0), deployed(ward, workspace)).rows == 1
    written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    # Parquet compresses: the tables are read as well.
    rows = [
        spark.read.parquet(*(str(path) for path in Path(workspace.table(name)).rglob("*.parquet"))).collect()
        for name in ("events", "quarantine", "labels")
    ]
    for said in (written, repr(rows).encode()):
        assert PLANTED.encode() not in said
        assert b"Ada" not in said
    name = spark.range(1).select(entity_pseudonym(ward, F.lit("Ada"))).first()[0]
    assert {rows[0][0].patient_id, rows[2][0].entity_id} == {name}


def test_quarantined_bytes_can_be_read_again_with_the_key_and_a_retry_makes_the_same_ones(spark, ward):
    raw = event(PLANTED)
    first, again = (contract.parse(records(spark, raw, raw), ward).collect() for _ in range(2))
    assert [row.raw for row in first] == [row.raw for row in again]
    assert first[0].raw != first[1].raw
    back = spark.createDataFrame([(bytes(first[0].raw),)], "raw binary").select(decrypt(F.col("raw"))).first()[0]
    assert bytes(back) == raw


def test_a_place_that_two_records_have_gives_no_nonce_twice(spark):
    """As after a topic was made anew, on a second cluster, and on every embedded broker of a machine."""
    rows = spark.createDataFrame([(bytearray(text),) for text in (b"one", b"two", b"one")], "value binary")
    place = [F.lit("ward.events"), F.lit(0), F.lit(7)]
    bytes_ = [
        bytes(row.hidden) for row in rows.select(encrypt_deterministically(F.col("value"), *place).alias("hidden")).collect()
    ]
    assert bytes_[0] == bytes_[2], "a retry is the same"
    assert bytes_[0][:12] != bytes_[1][:12]
    hidden = rows.select(encrypt_deterministically(F.col("value"), *place).alias("hidden"))
    assert [bytes(row[0]) for row in hidden.select(decrypt(F.col("hidden"))).collect()] == [b"one", b"two", b"one"]


def test_after_a_rotation_old_bytes_are_read_and_new_ones_are_under_the_new_key(spark, monkeypatch):
    rows = spark.createDataFrame([(bytearray(b"one"),)], "value binary")
    old = rows.select(encrypt_deterministically(F.col("value"), F.lit("place")).alias("hidden")).collect()
    # As it was before the key's id stood with the bytes: nonce, text and tag alone.
    oldest = [(bytes(old[0].hidden)[ID_BYTES:],)]
    monkeypatch.setenv("HYBRID_PSEUDONYM_FORMER_KEYS", base64.b64encode(KEY).decode())
    monkeypatch.setenv("HYBRID_PSEUDONYM_KEY", base64.b64encode(OTHER).decode())
    new = rows.select(encrypt_deterministically(F.col("value"), F.lit("place")).alias("hidden")).collect()
    kept = spark.createDataFrame([*map(tuple, old), *oldest, *map(tuple, new)], "hidden binary")
    assert [bytes(row[0]) for row in kept.select(decrypt(F.col("hidden"))).collect()] == [b"one"] * 3
    assert [bytes(row[0]) for row in kept.select(key_id(F.col("hidden"))).collect()][::2] == [Key(KEY).id, Key(OTHER).id]
    monkeypatch.delenv("HYBRID_PSEUDONYM_FORMER_KEYS")
    changed = bytes(new[0].hidden)[:-1] + bytes([new[0].hidden[-1] ^ 1])
    kept = kept.union(spark.createDataFrame([(changed,), (b"",), (b"short",), (None,)], "hidden binary"))
    found = [row[0] and bytes(row[0]) for row in kept.select(decrypt(F.col("hidden"))).collect()]
    assert found == [None, None, b"one", None, None, None, None]
