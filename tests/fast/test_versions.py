"""Which version is in force, whatever the clock did between publications."""

from datetime import UTC, datetime, timedelta

from deltalake import Field
from deltalake.schema import PrimitiveType
from pyspark.sql import types as T

from common import clock, tables
from common.published.reference_data import put_in_force
from common.published.versions import BASELINE, MODEL, InForceReader, Version, baseline_path, in_force, shape_of, versions

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def published(folder, name, at, kind=BASELINE):
    return put_in_force(Version(kind, name, "2026-03-01", at, {}), str(folder))


def test_a_clock_that_is_set_back_does_not_bring_an_old_version_back(tmp_path):
    published(tmp_path, "first", NOON)
    later = published(tmp_path, "second", NOON - timedelta(hours=3))
    assert in_force(str(tmp_path), BASELINE) == later
    assert [each.version for each in versions(str(tmp_path))] == ["first", "second"]
    assert later.created_at > NOON


def test_a_version_keeps_its_time_while_clocks_go_forward(tmp_path):
    published(tmp_path, "first", NOON)
    assert published(tmp_path, "second", NOON + timedelta(hours=3), MODEL).created_at == NOON + timedelta(hours=3)


def test_after_is_now_unless_that_is_before():
    begun = datetime.now(UTC)
    assert begun <= clock.now_after(None) <= datetime.now(UTC)
    assert begun <= clock.now_after(begun - timedelta(days=1)) <= datetime.now(UTC)
    ahead = begun + timedelta(days=1)
    assert clock.now_after(ahead) > ahead


def test_what_an_older_baseline_did_not_learn_yet_is_null(tmp_path):
    learnt = T.StructType().add("card_id", "string").add("count", "long").add("baseline_version", "string")
    path = baseline_path(str(tmp_path), "card")
    tables.ensure_table(path, learnt, ["baseline_version"])
    tables.append_rows([{"card_id": "c1", "count": 3, "baseline_version": "first"}], learnt, path)
    published(tmp_path, "first", NOON)
    now = T.StructType().add("card_id", "string").add("median", "double").add("count", "long").add("baseline_version", "string")
    [batch] = InForceReader(str(tmp_path), "card", now).read(None)
    assert batch.to_pylist() == [{"card_id": "c1", "median": None, "count": 3, "baseline_version": "first"}]


def test_a_query_gets_the_numbers_of_a_model_of_its_own_shape_only(tmp_path):
    numbers = T.StructType().add("model_version", "string").add("model_parameters", T.ArrayType(T.DoubleType()))
    line = {"structure": "a + b", "features": ["x"], "parameters": [1.0, 2.0]}
    steeper, other = {**line, "parameters": [3.0, 4.0]}, {"structure": "a * b", "features": ["x"], "parameters": [5.0, 6.0]}
    for version, details in (("line", line), ("steeper", steeper), ("other", other)):
        put_in_force(Version(MODEL, version, "2026-03-01", NOON, details), str(tmp_path))

    def read(of_shape):
        return [row for batch in InForceReader(str(tmp_path), MODEL, numbers, of_shape).read(None) for row in batch.to_pylist()]

    assert read(shape_of(line)) == [{"model_version": "steeper", "model_parameters": [3.0, 4.0]}]
    assert read(shape_of(other)) == [{"model_version": "other", "model_parameters": [5.0, 6.0]}]
    assert read("") == []  # a query that was built without a model


def test_a_column_that_somebody_added_keeps_nothing_from_being_read_or_published(tmp_path):
    published(tmp_path, "first", NOON)
    tables.open_table(tmp_path / "versions").alter.add_columns([Field("remark", PrimitiveType("string"))])
    assert [each.version for each in versions(str(tmp_path))] == ["first"]
    assert published(tmp_path, "second", NOON + timedelta(hours=1)) == in_force(str(tmp_path), BASELINE)
