"""Which versions are in force, and the Python data source that reads them for streams.

Spark starts a Python worker for every read and lets it import this module: so it imports little, and nothing of the core.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from pyspark.sql import types as T
from pyspark.sql.datasource import DataSource, DataSourceReader
from pyspark.sql.pandas.types import to_arrow_schema

BASELINE, MODEL, CHALLENGER, SETTINGS = "baseline", "model", "challenger", "settings"


@dataclass(frozen=True)
class Version:
    """One row of the versions table.

    details: what its kind needs (a model's structure, parameters and metrics; the thresholds that differ from the
    environment's, and who changed them).
    """

    kind: str
    version: str
    as_of: str
    created_at: datetime
    details: dict[str, Any]


def versions(folder: str) -> list[Version]:
    """All publications, oldest first; empty when nothing was published yet."""
    path = f"{folder}/versions"
    if not DeltaTable.is_deltatable(path):
        return []
    rows = DeltaTable(path).to_pyarrow_table().to_pylist()
    found = [Version(**(row | {"details": json.loads(row["details"])})) for row in rows]
    return sorted(found, key=lambda version: version.created_at)


def in_force(folder: str, kind: str) -> Version | None:
    """The newest version of `kind`."""
    return newest(versions(folder), kind)


def newest(published: list[Version], kind: str) -> Version | None:
    """The last of `kind`."""
    return next((version for version in reversed(published) if version.kind == kind), None)


def baseline_path(folder: str, name: str) -> str:
    return f"{folder}/baselines_{name}"


class LearntSource(DataSource):
    """Python data source `hybrid_learnt`: options folder and name; the rows of the version now in force."""

    @classmethod
    def name(cls) -> str:
        return "hybrid_learnt"

    def reader(self, schema: T.StructType) -> DataSourceReader:
        return LearntReader(self.options["folder"], self.options["name"], schema)


class LearntReader(DataSourceReader):
    """Reads one baseline, the model or the thresholds, in the version in force at the moment of reading."""

    def __init__(self, folder: str, name: str, schema: T.StructType):
        self.folder, self.baseline, self.schema = folder, name, schema

    def read(self, partition: Any) -> Iterator[pa.RecordBatch]:
        schema = to_arrow_schema(self.schema, timezone="UTC")
        rows = {MODEL: _model_rows, SETTINGS: _settings_rows}.get(self.baseline, _baseline_rows)
        yield from rows(self.folder, self.baseline, schema).to_batches()


def _model_rows(folder: str, name: str, schema: pa.Schema) -> pa.Table:
    model = in_force(folder, MODEL)
    rows = [] if model is None else [{"model_version": model.version, "model_parameters": model.details["parameters"]}]
    return pa.Table.from_pylist(rows, schema=schema)


def _settings_rows(folder: str, name: str, schema: pa.Schema) -> pa.Table:
    changed = in_force(folder, SETTINGS)
    rows = [] if changed is None else [{"settings_version": changed.version, **changed.details["values"]}]
    return pa.Table.from_pylist(rows, schema=schema)


def _baseline_rows(folder: str, name: str, schema: pa.Schema) -> pa.Table:
    baseline = in_force(folder, BASELINE)
    if baseline is None:
        return schema.empty_table()
    table = DeltaTable(baseline_path(folder, name))
    there = {field.name for field in table.schema().fields}
    rows = table.to_pyarrow_table(
        filters=[("baseline_version", "=", baseline.version)], columns=[each for each in schema.names if each in there])
    # What an older baseline did not learn yet is null until the next batch run.
    for field in schema:
        rows = rows if field.name in there else rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows.select(schema.names).cast(schema)
