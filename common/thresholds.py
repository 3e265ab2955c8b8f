"""Thresholds as a column of the rows that rules judge: those of a settings object, or ones that change while a stream runs."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

THRESHOLDS, RULES_VERSION, SETTINGS_VERSION = "thresholds", "rules_version", "settings_version"


@dataclass(frozen=True)
class LiveSettings:
    """Settings as a running query reads them: thresholds come from `changes`, with `fixed` behind them, the rest from `fixed`.

    changes: at most one row, settings_version and a column for each threshold that can change, null where none was
    published; a stream reads it again at every checkpoint interval. rules_version: what the rules were when the query started.
    """

    fixed: Any
    changes: DataFrame
    rules_version: str

    def __getattr__(self, name: str) -> Any:
        if name in self.changes.columns:
            raise AttributeError(f"{name} can change while the query runs: read it with common.thresholds.threshold({name!r})")
        return getattr(self.fixed, name)


def with_thresholds(rows: DataFrame, thresholds: Iterable[str], settings: Any) -> DataFrame:
    """Rows with the named thresholds of `settings`, for `threshold`; with LiveSettings also `rules_version`.

    Call it after a query's aggregation: an aggregation drops columns that were joined before it.
    """
    if THRESHOLDS in rows.columns:
        return rows
    names = sorted(set(thresholds))
    if not isinstance(settings, LiveSettings):
        return rows.withColumn(THRESHOLDS, F.struct(*[F.lit(float(getattr(settings, name))).alias(name) for name in names]))
    live = [name for name in names if name in settings.changes.columns]
    fixed = {name: F.lit(float(getattr(settings.fixed, name))) for name in names}
    if not live:
        return rows.withColumns({THRESHOLDS: _struct(fixed), RULES_VERSION: F.lit(settings.rules_version)})
    rows = rows.join(F.broadcast(settings.changes.select(SETTINGS_VERSION, F.struct(*live).alias("changed"))), how="left")
    if rows.isStreaming:
        # Each batch reports in its progress what it judged by: reconcile needs to know. Null: it had nothing to judge.
        rows = rows.observe(THRESHOLDS, F.max(F.coalesce(SETTINGS_VERSION, F.lit(""))).alias(SETTINGS_VERSION))
    in_force = fixed | {name: F.coalesce(F.col(f"changed.{name}"), fixed[name]) for name in live}
    version = F.concat(F.lit(settings.rules_version), F.coalesce(F.concat(F.lit("+"), SETTINGS_VERSION), F.lit("")))
    return rows.withColumns({THRESHOLDS: _struct(in_force), RULES_VERSION: version}).drop("changed", SETTINGS_VERSION)


def threshold(name: str) -> Column:
    """The threshold of that name, of rows from `with_thresholds`."""
    return F.col(f"{THRESHOLDS}.{name}")


def _struct(columns: dict[str, Column]) -> Column:
    return F.struct(*[column.alias(name) for name, column in columns.items()])
