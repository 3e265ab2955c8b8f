"""Real invoices through replay and contract as a user sends them: every row of the file ends in one place, with its reason."""

import collections

import pandas as pd
import pytest
from pyspark.sql import functions as F

from common import contract
from common.archive.archive_tables import PARTITION, RECORD
from common.archive.duplicates import find_repetitions, without_duplicates
from common.replay.file_replay import plan_replay, replay_file
from common.replay.mapping import parse_mapping
from retail_behavior import VERTICAL

pytestmark = [pytest.mark.files, pytest.mark.usefixtures("compiled")]

MAPPING = (
    "event_id=InvoiceNo+StockCode+Quantity+InvoiceDate+UnitPrice+CustomerID+Description", "event_type==purchase",
    "visitor_id=CustomerID", "session_id=InvoiceNo", "product_id=StockCode", "store_id=Country", "quantity=Quantity",
    "price=UnitPrice", "event_time=InvoiceDate",
)  # fmt: skip


class RecordingProducer:
    """What would have been sent to a broker."""

    def __init__(self):
        self.sent = collections.defaultdict(list)

    def send_many(self, topic, keys, values):
        self.sent[topic].extend(zip(keys, values, strict=True))

    def flush(self): ...


@pytest.fixture(scope="module")
def invoices(shared_data):
    return shared_data / "retail" / "online_retail_2010-12_to_2011-09.parquet"


@pytest.fixture(scope="module")
def parsed_rows(spark, invoices, tmp_path_factory):
    """Every row of the file, replayed: its event, and its reason where it is no valid one or has been seen before."""
    producer = RecordingProducer()
    counts = replay_file(plan_replay(VERTICAL, invoices, parse_mapping(MAPPING)), producer)
    [(topic, sent)] = producer.sent.items()
    assert topic == "retail_behavior.events" and counts.events == counts.rows == len(sent)
    table = pd.DataFrame({"key": [key for key, _ in sent], "value": [value for _, value in sent], "offset": range(len(sent))})
    path = str(tmp_path_factory.mktemp("invoices") / "records.parquet")
    table.to_parquet(path)
    records = spark.read.parquet(path).selectExpr(
        "key", "value", "'events' as topic", "0 as partition", "offset", "timestamp'2026-01-01' as timestamp"
    )
    parsed = contract.parse(records, VERTICAL).withColumn(PARTITION, F.to_date("event_time")).persist()
    valid, invalid = parsed.where("reason IS NULL"), parsed.where("reason IS NOT NULL")
    stored = valid.select("event_id", PARTITION, *RECORD).limit(0)
    rows = without_duplicates(valid, find_repetitions(valid, stored, "event_id"), "event_id").unionByName(invalid).persist()
    yield rows
    rows.unpersist()
    parsed.unpersist()


@pytest.fixture(scope="module")
def expected(invoices):
    """The same by hand: the first thing wrong with each row of the file."""
    rows = pd.read_parquet(invoices)
    reason = pd.Series("", rows.index)
    wrong = {
        "missing_field": rows["CustomerID"].isna(),
        "bad_format": rows["InvoiceNo"].str.startswith("C"),
        "out_of_range": (rows["Quantity"] < 1) | (rows["UnitPrice"] <= 0),
    }
    for name, is_wrong in wrong.items():
        reason[(reason == "") & is_wrong] = name
    reason[(reason == "") & rows[reason == ""].duplicated().reindex(rows.index, fill_value=False)] = "duplicate"
    return reason.value_counts().to_dict()


def test_every_row_ends_in_events_or_in_quarantine_with_its_reason(parsed_rows, expected):
    counted = {row.reason or "": row["count"] for row in parsed_rows.groupBy("reason").count().collect()}
    print(counted)
    assert counted == expected
    assert sum(counted.values()) == 370_931
    assert set(counted) == {"", "missing_field", "bad_format", "out_of_range", "duplicate"}


def test_each_trap_of_the_file_is_told_from_the_others(parsed_rows):
    by_reason = (
        parsed_rows.where("reason IS NOT NULL")
        .groupBy("reason")
        .agg(
            F.count_if(F.col("session_id").startswith("C")).alias("cancelled"),
            F.count("*").alias("all"),
            F.count_if(F.col("visitor_id").isNull()).alias("nameless"),
            F.count_if(F.col("price") <= 0).alias("free"),
            F.count_if(F.col("detail").contains("price") | F.col("detail").contains("quantity")).alias("explained"),
        )
    )
    rows = {row.reason: row for row in by_reason.collect()}
    assert rows["bad_format"].cancelled == rows["bad_format"]["all"] > 6_000
    assert rows["missing_field"].nameless == rows["missing_field"]["all"] == 98_056
    assert rows["out_of_range"].explained == rows["out_of_range"]["all"] > 0
    assert rows["duplicate"].free == rows["duplicate"].cancelled == rows["duplicate"].nameless == 0


def test_what_is_accepted_keeps_what_the_file_says(parsed_rows, invoices):
    rows = pd.read_parquet(invoices).drop_duplicates()
    is_sale = ~rows["InvoiceNo"].str.startswith("C") & (rows["Quantity"] > 0) & (rows["UnitPrice"] > 0)
    valid = rows[rows["CustomerID"].notna() & is_sale]
    accepted = (
        parsed_rows.where("reason IS NULL")
        .agg(F.sum("quantity"), F.sum(F.col("quantity") * F.col("price")), F.countDistinct("visitor_id"), F.max("quantity"))
        .first()
    )
    assert accepted[0] == valid["Quantity"].sum()
    assert accepted[1] == pytest.approx((valid["Quantity"] * valid["UnitPrice"]).sum())
    assert accepted[2] == valid["CustomerID"].nunique()
    assert accepted[3] == valid["Quantity"].max()
