"""Delta tables without a connector: what is committed counts once, and others can read it."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common import tables
from common.tables import writing

pytestmark = pytest.mark.files

PLACE = T.StructType().add("lat", "double").add("lon", "double")
SCHEMA = (
    T.StructType()
    .add("id", "string")
    .add("amount", "double")
    .add("seen", "timestamp")
    .add("raw", "binary")
    .add("place", PLACE)
    .add("event_day", "date")
)
FIRST, SECOND = date(2026, 1, 1), date(2026, 1, 2)
BY_AMOUNT = tables.MergeRule(["id"], "amount")


def row(name, day, amount=1.0):
    return name, amount, datetime(day.year, day.month, day.day, 12, tzinfo=UTC), b"\xff", (1.0, 2.0), day


ROWS = [row("a", FIRST), row("b", FIRST, 5.5), row("c", SECOND), ("d", None, None, None, None, SECOND)]


@pytest.fixture
def path(tmp_path):
    tables.ensure_table(tmp_path / "t", SCHEMA, ["event_day"])
    return tmp_path / "t"


def last_adds(path):
    log = max(Path(path, "_delta_log").glob("*.json"))
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    return [entry["add"] for entry in entries if "add" in entry], entries


def names(spark, path):
    return sorted(found.id for found in tables.read(spark, path).collect())


def test_rows_come_back_as_they_were(spark, path):
    assert tables.append(spark.createDataFrame(ROWS, SCHEMA), path, "q", 0) == 4
    back = tables.read(spark, path)
    assert back.schema == SCHEMA
    assert sorted(back.collect()) == sorted(spark.createDataFrame(ROWS, SCHEMA).collect())


def test_a_batch_counts_once_however_often_it_is_appended(spark, path):
    rows = spark.createDataFrame(ROWS, SCHEMA)
    assert [tables.append(rows, path, "q", 0), tables.append(rows, path, "q", 0), tables.append(rows, path, "q", 1)] == [4, 0, 4]
    assert tables.append(rows, path, "other query", 0) == 4
    assert tables.row_count(path) == 12


@pytest.mark.parametrize("step", ["write_files", "add_actions", "commit"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_at_any_step_then_a_retry_leaves_each_row_once(spark, path, monkeypatch, step, when):
    rows, real = spark.createDataFrame(ROWS, SCHEMA), getattr(writing, step)

    def dies(*args):
        if when == "after":
            real(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(writing, step, dies)
        tables.append(rows, path, "q", 7)
    committed = 4 if (step, when) == ("commit", "after") else 0
    assert tables.row_count(path) == committed
    assert tables.append(rows, path, "q", 7) == 4 - committed
    assert names(spark, path) == ["a", "b", "c", "d"]


def test_two_writers_of_the_same_batch_commit_it_once(spark, path):
    rows = spark.createDataFrame(ROWS, SCHEMA)
    with ThreadPoolExecutor(4) as pool:
        added = list(pool.map(lambda _: tables.append(rows, path, "q", 0), range(4)))
    assert sorted(added) == [0, 0, 0, 4]
    assert names(spark, path) == ["a", "b", "c", "d"]


def test_many_writers_wait_for_each_other(spark, path):
    rows = tables.read_arrow(path).schema.empty_table()
    rows = pa.Table.from_pylist([{"id": "a", "event_day": FIRST}], schema=rows.schema)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: tables.append_arrow(rows, path, f"q{number}", 0), range(40)))
    assert tables.row_count(path) == 40


def test_several_queries_may_create_a_table_at_once(tmp_path):
    for attempt in range(5):
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _, a=attempt: tables.ensure_table(tmp_path / str(a), SCHEMA, ["event_day"]), range(8)))
        assert tables.open_table(tmp_path / str(attempt)).version() == 0


def test_the_log_holds_statistics_and_partition_values(spark, path):
    tables.append(spark.createDataFrame(ROWS, SCHEMA).coalesce(1), path, "q", 3)
    adds, entries = last_adds(path)
    second = next(add for add in adds if add["partitionValues"] == {"event_day": "2026-01-02"})
    stats = json.loads(second["stats"])
    assert stats["numRecords"] == 2
    assert stats["minValues"] == {"id": "c", "amount": 1.0, "seen": "2026-01-02T12:00:00.000000Z"}
    assert stats["maxValues"] == {"id": "d", "amount": 1.0, "seen": "2026-01-02T12:00:00.000000Z"}
    assert stats["nullCount"] == {"id": 0, "amount": 1, "seen": 1, "raw": 1}
    assert second["path"].startswith("batches/q/3-")
    assert {"appId": "q", "version": 3}.items() <= next(entry["txn"] for entry in entries if "txn" in entry).items()


def test_a_value_that_is_no_bound_is_left_out_of_the_statistics(spark, path):
    odd = [("x" * 200, float("nan"), None, None, None, FIRST), ("y", 1.0, None, None, None, FIRST)]
    tables.append(spark.createDataFrame(odd, SCHEMA).coalesce(1), path, "q", 0)
    stats = json.loads(last_adds(path)[0][0]["stats"])
    assert not {"id", "amount", "seen"} & (set(stats["minValues"]) | set(stats["maxValues"]))
    assert tables.open_table(path).to_pyarrow_dataset(file_pruning_predicate="amount > 0.5").count_rows() == 2


def test_a_filter_on_the_day_reads_only_its_files(spark, path):
    for batch in range(3):
        tables.append(spark.createDataFrame(ROWS, SCHEMA).coalesce(1), path, "q", batch)
    assert len(tables.files(path)) == 6 and len(tables.files(path, [SECOND])) == 3
    assert len(tables.read(spark, path, days=[SECOND]).inputFiles()) == 3
    assert tables.row_count(path, [FIRST]) == tables.read(spark, path, days=[FIRST]).count() == 6
    later = tables.read(spark, path).where("event_day = '2026-01-01'").select("id")
    assert later.count() == 6 and files_scanned(later) == 3


def files_scanned(frame):
    frame.collect()
    plan = frame._jdf.queryExecution().executedPlan()
    while not plan.nodeName().startswith("Scan"):
        plan = plan.executedPlan() if plan.nodeName() == "AdaptiveSparkPlan" else plan.children().apply(0)
    return plan.metrics().apply("numFiles").value()


def test_an_empty_table_and_no_days_have_the_schema(spark, path):
    assert tables.read(spark, path).schema == SCHEMA and tables.read(spark, path).count() == 0
    tables.append(spark.createDataFrame(ROWS, SCHEMA), path)
    assert tables.read(spark, path, days=[]).count() == 0 == tables.read_arrow(path, days=[]).num_rows
    assert tables.read(spark, path, columns=["event_day", "id"]).columns == ["event_day", "id"]
    assert tables.append(spark.createDataFrame([], SCHEMA), path, "q", 0) == 0


def test_an_older_version_can_be_read(spark, path):
    tables.append(spark.createDataFrame(ROWS, SCHEMA), path, "q", 0)
    version = tables.open_table(path).version()
    tables.overwrite(spark.createDataFrame(ROWS[:1], SCHEMA), path)
    assert names(spark, path) == ["a"] and tables.row_count(path) == 1
    assert tables.read(spark, path, version=version).count() == 4 == tables.read_arrow(path, version=version).num_rows


def test_a_column_that_came_later_is_null_in_older_rows(spark, path):
    tables.append(spark.createDataFrame(ROWS[:1], SCHEMA), path, "q", 0)
    wider = T.StructType([*SCHEMA.fields[:1], T.StructField("note", T.StringType()), *SCHEMA.fields[1:]])
    for _ in range(2):
        tables.ensure_table(path, wider)
    assert tables.open_table(path).version() == 2, "what has the column is left alone"
    newer = spark.createDataFrame([("b", "new", *ROWS[1][1:])], wider)
    tables.append(newer.select(*tables.read(spark, path).columns), path, "q", 1)
    assert {found.id: found.note for found in tables.read(spark, path).collect()} == {"a": None, "b": "new"}
    events = tables.open_table(path).to_pyarrow_dataset()
    assert duckdb.sql("select id, note from events order by 1").fetchall() == [("a", None), ("b", "new")]
    assert events


def test_duckdb_reads_the_table(spark, path):
    tables.append(spark.createDataFrame(ROWS, SCHEMA), path, "q", 0)
    events = tables.open_table(path).to_pyarrow_dataset()
    found = duckdb.sql("select event_day, count(*), max(amount), max(seen) from events group by 1 order by 1").fetchall()
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert found == [(FIRST, 2, 5.5, noon[0]), (SECOND, 2, 1.0, noon[1])]
    assert events


@pytest.mark.parametrize("compacted", [False, True])
def test_a_partition_may_be_any_text(spark, tmp_path, compacted):
    odd = ["a b", "ü/x", "50%", "1+1", "k=v", "2026-03-01.20260301", None]
    schema = T.StructType().add("n", "integer").add("kind", "string")
    tables.ensure_table(tmp_path / "t", schema, ["kind"])
    for number in range(2):
        tables.append(spark.createDataFrame([(number, kind) for kind in odd], schema), tmp_path / "t", "q", number)
    if compacted:
        assert tables.compact(tmp_path / "t") > 0
    assert {found.kind for found in tables.read(spark, tmp_path / "t").collect()} == set(odd)
    assert set(tables.read_arrow(tmp_path / "t")["kind"].to_pylist()) == set(odd)


def test_columns_that_do_not_fit_are_refused_by_name(spark, path):
    rows = spark.createDataFrame(ROWS, SCHEMA)
    with pytest.raises(ValueError, match="columns \\['extra'\\] are in the rows and not in the table"):
        tables.append(rows.withColumnRenamed("amount", "extra"), path)
    with pytest.raises(ValueError, match="columns \\['event_day'\\], which cannot be null"):
        tables.append(rows.drop("event_day"), path)
    with pytest.raises(ValueError, match="partition column amount is double"):
        tables.ensure_table(path.parent / "other", SCHEMA, ["amount"])
    with pytest.raises(FileNotFoundError, match=r"no Delta table at .*nowhere"):
        tables.read(spark, path.parent / "nowhere")


@pytest.mark.parametrize(
    "name",
    [
        "a folder",
        "Jürgen",
        "a+b, c;d",
        "q?x",
        "h#1",
        "{a,b}",
        "st*r",
        "50%",
        "5% x",
        "c:d",
        "it's & 日本",
    ],
)
def test_a_folder_may_have_any_name(spark, tmp_path, name):
    path = tmp_path / name / "t"
    tables.ensure_table(path, SCHEMA, ["event_day"])
    for batch in range(2):
        assert tables.append(spark.createDataFrame(ROWS[:3], SCHEMA).coalesce(1), path, "q", batch) == 3
    assert tables.upsert(spark.createDataFrame([row("a", FIRST, 9.0), row("z", FIRST)], SCHEMA), path, BY_AMOUNT) == 1
    assert names(spark, path) == ["a", "a", "b", "b", "c", "c", "z"]
    assert tables.read(spark, path, days=[SECOND]).count() == 2 == tables.row_count(path, [SECOND])
    assert all(Path(file).exists() for file in tables.files(path))
    assert tables.compact(path) > 0
    assert tables.maintain_all(path.parent, 0) == 0
    assert len(names(spark, path)) == 7 == tables.read_arrow(path).num_rows
    tables.overwrite(spark.createDataFrame(ROWS[:1], SCHEMA), path)
    assert names(spark, path) == ["a"]
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["a%20b", "50%aB", "run[1]", "back\\slash", "tab\tx"])
def test_a_folder_that_the_library_takes_for_another_is_refused_in_words(spark, tmp_path, name):
    with pytest.raises(tables.UnusableFolder, match="choose another folder"):
        tables.ensure_table(tmp_path / name / "t", SCHEMA, ["event_day"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [T.StringType(), T.FloatType(), T.ArrayType(T.DoubleType())], ids=str)
def test_a_column_of_another_type_is_told_and_not_cast(path, kind):
    tables.ensure_table(path, SCHEMA, ["event_day"])
    changed = T.StructType([T.StructField(each.name, kind if each.name == "amount" else each.dataType) for each in SCHEMA])
    message = rf"column amount is double in the table, and {kind.simpleString()} is to be"
    with pytest.raises(tables.ColumnTypesDiffer, match=message):
        tables.ensure_table(path, changed, ["event_day"])


def test_a_table_that_is_made_anew_may_have_other_columns_then(spark, path):
    tables.append(spark.createDataFrame(ROWS, SCHEMA).coalesce(1), path, "q", 0)
    kinds = {each.name: each.dataType for each in SCHEMA} | {"amount": T.StringType()}
    as_text = T.StructType([T.StructField(name, kind) for name, kind in kinds.items()])
    rows = spark.createDataFrame(ROWS, SCHEMA).withColumn("amount", F.lit("text"))
    tables.ensure_table(path, as_text, ["event_day"], is_overwritten=True)
    tables.overwrite(rows, path)
    assert {row.amount for row in tables.read(spark, path).collect()} == {"text"}
    assert tables.row_count(path) == len(ROWS)


@pytest.mark.parametrize("lost", [1, 3])
def test_rows_that_are_not_seen_where_they_were_written_are_no_rows_of_none(spark, path, monkeypatch, lost):
    """As where executors write to a disk of their own: what was counted is what is committed, or nothing is."""
    tables.append(spark.createDataFrame(ROWS, SCHEMA), path, "q", 0)
    write = writing.write_files

    def written_elsewhere(*words):
        folder = write(*words)
        for file in sorted((path / folder).rglob("part-*"))[:lost]:
            file.unlink()
        return folder

    monkeypatch.setattr(writing, "write_files", written_elsewhere)
    rows = spark.createDataFrame([row("x", FIRST), row("y", SECOND), row("z", date(2026, 1, 3))], SCHEMA)
    for write_rows in (lambda: tables.append(rows.coalesce(1), path, "q", 1), lambda: tables.overwrite(rows.coalesce(1), path)):
        with pytest.raises(writing.RowsLost, match=rf"3 rows were written to its folder .*, and {3 - lost} are seen there"):
            write_rows()
    assert names(spark, path) == ["a", "b", "c", "d"]
    monkeypatch.undo()
    assert tables.append(rows, path, "q", 1) == 3, "the batch is not taken for one that was there"
    assert tables.append(rows.where("id = 'none'"), path, "q", 2) == 0


def test_a_column_that_somebody_added_stays_null(spark, path, caplog):
    tables.ensure_table(path, T.StructType([*SCHEMA.fields, T.StructField("reviewed_by", T.StringType())]))
    for batch in range(2):
        assert tables.append(spark.createDataFrame(ROWS[:2], SCHEMA), path, "q", batch) == 2
    tables.append_arrow(tables.read_arrow(path).drop_columns(["reviewed_by"]), path)
    tables.upsert(spark.createDataFrame([row("a", FIRST, 9.0), row("z", FIRST)], SCHEMA), path, BY_AMOUNT)
    assert {found.reviewed_by for found in tables.read(spark, path).collect()} == {None}
    assert names(spark, path) == sorted("abab" * 2 + "z")
    assert caplog.text.count("'reviewed_by'") == 1


@pytest.mark.parametrize("year", [1, 1899, 9999, 58_216])
def test_a_time_however_far_has_bounds_by_which_it_is_found_or_none(spark, path, year):
    far = spark.createDataFrame(ROWS[:1], SCHEMA).withColumn("seen", F.expr(f"make_timestamp({min(year, 9999)}, 6, 1, 0, 0, 0)"))
    if year > 9999:
        far = far.withColumn("seen", F.timestamp_micros(F.lit((year - 1970) * 31_556_952_000_000)))
    assert tables.append(far.coalesce(1), path, "q", 0) == 1
    low = json.loads(last_adds(path)[0][0]["stats"])["minValues"].get("seen")
    assert low == (None if year > 9999 else f"{year:04d}-06-01T00:00:00.000000Z")
    assert [found.id for found in tables.read(spark, path).select("id").collect()] == ["a"]
