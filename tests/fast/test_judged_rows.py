"""The record of running queries, made fewer: whoever reads it finds out the same, at whatever moment that is done."""

from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql.pandas.types import to_arrow_schema

from common import tables
from common.installed import find_vertical
from common.published.live_thresholds import publish_settings
from common.reconciliation import lineage
from common.reconciliation.lineage import OffsetRange, finished_ends, read_ranges, settings_eras
from common.streaming.lineage_rows import BEYOND, JUDGED_SCHEMA, merge_rows
from common.workspace import Workspace

VERTICAL = find_vertical("finance_fraud")
QUERY = next(query for query in VERTICAL.queries if query.stateful)
SCHEMA = to_arrow_schema(JUDGED_SCHEMA, timezone="UTC")
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PARTITIONS = 2

# A batch: its records by partition, by how much the watermark moves, its versions, and whether it is killed before its report,
# or after it.
BATCH = st.tuples(
    st.tuples(*[st.integers(0, 3)] * PARTITIONS),
    st.integers(0, 1),
    st.sampled_from(["v1", "v2"]),
    st.sampled_from([None, "", "s1"]),
    st.sampled_from(["reported"] * 6 + ["unreported", "begun again", "new checkpoint"]),
)


def history(batches):
    """Rows as a query reports them, and for each partition by offset: what judged it last, as the rows say."""
    rows, judged = [{"query": "q", "ended_at": NOON}], [{} for _ in range(PARTITIONS)]
    checkpoint, number, at, watermark, reported = 0, 0, [0] * PARTITIONS, 0, set()
    for moment, (counts, moved, baseline, thresholds, fate) in enumerate(batches, 1):
        ended_at, ends = NOON + timedelta(seconds=moment), [a + count for a, count in zip(at, counts, strict=True)]
        watermark += moved
        said = {"baseline_version": baseline, "settings_version": thresholds, "watermark": NOON + timedelta(hours=watermark)}
        if fate != "unreported":
            for place, (start, end) in enumerate(zip(at, ends, strict=True)):
                rows.append({"query": "q", "checkpoint": f"c{checkpoint}", "batch": number, "kafka_partition": place,
                             "start_offset": start, "end_offset": end, "ended_at": ended_at, **said})  # fmt: skip
                # What no report was of counts to the next one; what is judged again is forgotten.
                judged[place] = {offset: by for offset, by in judged[place].items() if offset < start}
                judged[place] |= {offset: said for offset in range(end) if offset not in judged[place]}
            reported.update(range(PARTITIONS))
        if fate in ("begun again", "new checkpoint"):
            rows.append({"query": "q", "ended_at": ended_at})
        if fate == "new checkpoint":
            checkpoint, number, at, watermark, judged = checkpoint + 1, 0, [0] * PARTITIONS, 0, [{} for _ in range(PARTITIONS)]
        elif fate != "begun again":
            number, at = number + 1, ends
    return pa.Table.from_pylist(rows, schema=SCHEMA), judged


def by_offset(rows):
    found = [{} for _ in range(PARTITIONS)]
    for row in rows.to_pylist():
        if row["kafka_partition"] is not None:
            said = {name: row[name] for name in ("baseline_version", "settings_version", "watermark")}
            for offset in range(row["start_offset"], row["end_offset"]):
                assert offset not in found[row["kafka_partition"]], "judged twice"
                found[row["kafka_partition"]][offset] = said
    return found


@settings(max_examples=60, deadline=None)
@given(st.lists(BATCH, max_size=12), st.lists(st.integers(0, 12), max_size=3))
def test_rows_made_fewer_at_any_moments_say_of_each_offset_what_judged_it(batches, moments):
    rows, judged = history([*batches, ((0, 0), 0, "v1", "", "reported")])
    kept = rows.slice(0, 0)
    taken = 0
    for moment in sorted(moments):
        upto = min(rows.num_rows, 1 + moment * PARTITIONS)
        kept, taken = merge_rows(pa.concat_tables([kept, rows.slice(taken, upto - taken)])), max(taken, upto)
    kept = merge_rows(pa.concat_tables([kept, rows.slice(taken)]))
    assert by_offset(kept) == judged
    assert watermarks(kept) == watermarks(merge_rows(rows)) and ends(kept) == ends(merge_rows(rows))
    assert max(kept["ended_at"].to_pylist()) == max(rows["ended_at"].to_pylist())


def watermarks(rows):
    """The newest by thresholds."""
    found = {}
    for row in rows.to_pylist():
        if row["watermark"]:
            found[row["settings_version"]] = max(row["watermark"], found.get(row["settings_version"], NOON))
    return found


def ends(rows):
    """The farthest offset of each partition, 0 where none came."""
    return {row["kafka_partition"]: row["end_offset"] for row in rows.sort_by("end_offset").to_pylist() if row["checkpoint"]}


def busy(batches, watermarks=1):
    """Rows of a query of two partitions, of which the second stays empty."""
    for number in range(batches):
        for place in range(PARTITIONS):
            start = 0 if place else 10 * number
            yield {"query": QUERY.name, "checkpoint": "c", "batch": number, "kafka_partition": place, "start_offset": start,
                   "end_offset": 0 if place else start + 10, "baseline_version": "b", "settings_version": "",
                   "watermark": NOON + timedelta(hours=number // (batches // watermarks)),
                   "ended_at": NOON + timedelta(seconds=number)}  # fmt: skip


def test_a_query_under_the_same_versions_and_watermark_leaves_a_row_for_each_partition():
    rows = merge_rows(pa.Table.from_pylist([*busy(10_000, watermarks=2)], schema=SCHEMA)).to_pylist()
    ranges = sorted((row["kafka_partition"], row["start_offset"], row["end_offset"], row["watermark"].hour) for row in rows)
    assert ranges == [(0, 0, 50_000, 12), (0, 50_000, 100_000, 13), (1, 0, 0, 13)]


def test_a_watermark_that_moves_with_every_batch_leaves_a_row_a_minute_of_what_is_a_day_old():
    seconds, day = 3 * 86_400, 86_400
    ended_at = [NOON + timedelta(seconds=number) for number in range(seconds)]
    numbers = pa.array(range(seconds), pa.int64())
    columns = {
        "batch": numbers, "start_offset": numbers, "end_offset": pa.array(range(1, seconds + 1), pa.int64()),
        "kafka_partition": pa.array([0] * seconds, pa.int32()), "query": ["q"] * seconds, "checkpoint": ["c"] * seconds,
        "baseline_version": ["b"] * seconds, "settings_version": [""] * seconds, "ended_at": ended_at,
        "watermark": [moment - timedelta(hours=1) for moment in ended_at], "model_version": pa.nulls(seconds, pa.string()),
    }  # fmt: skip
    rows = pa.table([pa.array(columns[field.name], field.type) for field in SCHEMA], schema=SCHEMA)
    merged = merge_rows(rows)
    assert merged.num_rows <= day + 1 + 2 * day / 60 + 1
    newest = merged.filter(pc.greater_equal(merged["ended_at"], pa.scalar(ended_at[-1] - timedelta(days=1))))
    assert newest.num_rows == day + 1, "what is not a day old stands as it was"
    late = [start.as_py() - offset.as_py() for start, offset in zip(merged["end_offset"], merged["start_offset"], strict=True)]
    assert max(late) == 60 and merge_rows(merged).equals(merged)


@pytest.fixture
def workspace(tmp_path):
    workspace = Workspace(tmp_path, VERTICAL.name)
    tables.ensure_table(workspace.table("judged"), JUDGED_SCHEMA)
    return workspace


def test_whoever_reads_the_table_finds_the_same_in_rows_made_fewer(workspace):
    later = publish_settings(VERTICAL, workspace.tables, {"velocity": "8"}, "ann").version
    rows = [*busy(100, watermarks=4)]
    for row in rows[120:]:
        row["settings_version"] = None if row["batch"] % 3 else later
    rows.append({"query": "other", "ended_at": NOON})
    tables.append_rows(rows, JUDGED_SCHEMA, workspace.table("judged"))

    def read():
        return read_ranges(workspace, QUERY), settings_eras(workspace, QUERY), finished_ends(workspace)

    before = read()
    ranges, eras, ends = before
    assert OffsetRange(0, 0, 600, "b", None, "") in ranges and OffsetRange(1, 0, BEYOND, None, None, "") in ranges
    assert [(era.settings, era.watermark.hour) for era in eras] == [("", 14), (later, 15)]
    assert ends == {(QUERY.name, 0): 1000, (QUERY.name, 1): 0}
    tables.rewrite(workspace.table("judged"), merge_rows)
    assert tables.read_arrow(workspace.table("judged")).num_rows < 100
    assert read() == before


def test_rows_that_come_while_others_are_made_fewer_stay(workspace):
    path = workspace.table("judged")
    rows = [*busy(100)]
    tables.append_rows(rows[:100], JUDGED_SCHEMA, path)

    def slowly(found):
        tables.append_rows(rows[100:], JUDGED_SCHEMA, path)
        return merge_rows(found)

    tables.rewrite(path, slowly)
    assert tables.read_arrow(path).num_rows == 2 + 100
    assert finished_ends(workspace) == {(QUERY.name, 0): 1000, (QUERY.name, 1): 0}


def test_a_range_is_looked_for_in_each_bucket_that_it_has_a_part_in(monkeypatch):
    monkeypatch.setattr(lineage, "BUCKET_OFFSETS", 10)
    ranges = [(0, 0, 7), (0, 7, 10), (0, 10, 31), (0, 31, BEYOND), (1, 0, 40), (1, 40, BEYOND)]
    frame = pd.DataFrame(ranges, columns=["kafka_partition", "start_offset", "end_offset"]).assign(watermark=NOON, number=1)
    found = [
        (row["partition"], offset, row["start_offset"], row["end_offset"])
        for row in lineage._bucket_rows(frame, 35).to_pylist()
        for offset in range(10 * row["bucket"], 10 * row["bucket"] + 10)
        if row["start_offset"] <= offset < row["end_offset"] and offset <= 35
    ]
    assert sorted(found) == [
        (partition, offset, start, end)
        for partition in (0, 1)
        for offset in range(36)
        for of, start, end in ranges
        if of == partition and start <= offset < end
    ]
