"""Reads which versions are in force, for batch and, by a Python data source, for running queries.

Spark starts a Python worker for every read and lets it import this module: so it imports little, and nothing of the core.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from pyspark.sql import types as T
from pyspark.sql.datasource import DataSource, DataSourceReader
from pyspark.sql.pandas.types import to_arrow_schema

# What reading them raises while they cannot be read. ValueError: a file of the table, or a row's JSON, is cut short.
UNREADABLE_VERSIONS = (DeltaError, OSError, ValueError)
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
    return versions_in(DeltaTable(path)) if DeltaTable.is_deltatable(path) else []


def versions_in(table: DeltaTable) -> list[Version]:
    """All publications in an opened versions table, oldest first, as they were when it was opened."""
    rows = table.to_pyarrow_table(columns=[field.name for field in fields(Version)]).to_pylist()  # somebody may have added others
    all_versions = [Version(**(row | {"details": json.loads(row["details"])})) for row in rows]
    return sorted(all_versions, key=lambda version: version.created_at)


def in_force(folder: str, kind: str) -> Version | None:
    """The newest version of `kind`."""
    return newest(versions(folder), kind)


def newest(all_versions: list[Version], kind: str) -> Version | None:
    """The last version of `kind`."""
    return next((version for version in reversed(all_versions) if version.kind == kind), None)


def shape_of(model: dict[str, Any]) -> str:
    """A hash of a model's structure, from its details: a running query is built for one; only parameters may change under it."""
    return hashlib.sha256(json.dumps([model["structure"], model["features"]]).encode()).hexdigest()


def baseline_path(folder: str, name: str) -> str:
    return f"{folder}/baselines_{name}"


class InForceSource(DataSource):
    """Python data source `hybrid_in_force`: options folder, name and, for a model, shape; rows of the version in force."""

    @classmethod
    def name(cls) -> str:
        return "hybrid_in_force"

    def reader(self, schema: T.StructType) -> DataSourceReader:
        return InForceReader(self.options["folder"], self.options["name"], schema, self.options.get("shape", ""))


class InForceReader(DataSourceReader):
    """Reads one baseline, the model or the thresholds, in the version in force at the moment of reading.

    shape: the newest model of this structure is read. A query that scores with another one until it is restarted would take that
    model's parameters for its own.
    """

    def __init__(self, folder: str, name: str, schema: T.StructType, shape: str = ""):
        self.folder, self.baseline, self.schema, self.shape = folder, name, schema, shape

    def read(self, partition: Any) -> Iterator[pa.RecordBatch]:
        schema = to_arrow_schema(self.schema, timezone="UTC")
        if self.baseline == MODEL:
            rows = _model_rows(self.folder, self.shape, schema)
        elif self.baseline == SETTINGS:
            rows = _settings_rows(self.folder, schema)
        else:
            rows = _baseline_rows(self.folder, self.baseline, schema)
        yield from rows.to_batches()


def _model_rows(folder: str, shape: str, schema: pa.Schema) -> pa.Table:
    model = newest([model for model in versions(folder) if model.kind == MODEL and shape_of(model.details) == shape], MODEL)
    rows = [] if model is None else [{"model_version": model.version, "model_parameters": model.details["parameters"]}]
    return pa.Table.from_pylist(rows, schema=schema)


def _settings_rows(folder: str, schema: pa.Schema) -> pa.Table:
    change = in_force(folder, SETTINGS)
    rows = [] if change is None else [{"settings_version": change.version, **change.details["values"]}]
    return pa.Table.from_pylist(rows, schema=schema)


def _baseline_rows(folder: str, name: str, schema: pa.Schema) -> pa.Table:
    baseline = in_force(folder, BASELINE)
    if baseline is None:
        return schema.empty_table()
    table = DeltaTable(baseline_path(folder, name))
    names = {field.name for field in table.schema().fields}
    rows = table.to_pyarrow_table(
        filters=[("baseline_version", "=", baseline.version)], columns=[name for name in schema.names if name in names]
    )
    # What an older baseline did not learn yet is null until the next batch run.
    for field in schema:
        rows = rows if field.name in names else rows.append_column(field, pa.nulls(len(rows), field.type))
    return rows.select(schema.names).cast(schema)
