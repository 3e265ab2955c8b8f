"""Measures drift of a model's features: the population stability index (PSI) of columns, current rows against reference rows.

PSI = sum over bins of (c - r) ln(c / r), with r and c the bin's shares in reference and current rows; the bins are the
reference's deciles. By convention below 0.1 is stable, 0.1 to 0.25 moved, above that another population.
"""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

MOVED_FROM, OTHER_FROM = 0.1, 0.25  # PSI from which the verdict is "moved", "other population"
DECILES = [tenth / 10 for tenth in range(1, 10)]
EMPTY_BIN = 1e-4  # share given to an empty bin, so that the logarithm stays finite


def stability(rows: DataFrame, columns: Sequence[str]) -> DataFrame:
    """feature, psi, verdict, reference_rows, current_rows for each of `columns`; `rows` has a boolean `is_current`.

    Without reference rows a feature is left out; without current rows its psi is null. Nulls are left out.
    """
    values = rows.select(
        "is_current",
        F.explode(
            F.map_from_arrays(
                F.array(*[F.lit(column) for column in columns]), F.array(*[F.col(column).cast("double") for column in columns])
            )
        ).alias("feature", "value"),
    ).where("value IS NOT NULL")
    edges = (
        values.where("NOT is_current")
        .groupBy("feature")
        .agg(F.array_distinct(F.percentile_approx("value", DECILES)).alias("edges"))
    )
    counts = (
        values.join(F.broadcast(edges), "feature")
        .groupBy("feature", F.size(F.filter("edges", lambda edge: edge < F.col("value"))).alias("bin"))
        .agg(F.count_if("is_current").alias("current"), F.count_if(~F.col("is_current")).alias("reference"))
    )
    totals = counts.groupBy("feature").agg(F.sum("current").alias("current_rows"), F.sum("reference").alias("reference_rows"))
    return _with_verdict(
        counts.join(totals, "feature")
        .withColumns(
            {
                "c": F.greatest(F.try_divide("current", "current_rows"), F.lit(EMPTY_BIN)),
                "r": F.greatest(F.try_divide("reference", "reference_rows"), F.lit(EMPTY_BIN)),
            }
        )
        .groupBy("feature", "reference_rows", "current_rows")
        .agg(F.when(F.col("current_rows") > 0, F.sum((F.col("c") - F.col("r")) * F.log(F.col("c") / F.col("r")))).alias("psi"))
    )


def _with_verdict(stabilities: DataFrame) -> DataFrame:
    psi = F.col("psi")
    verdict = F.when(psi < MOVED_FROM, "stable").when(psi < OTHER_FROM, "moved").when(psi >= OTHER_FROM, "other population")
    return stabilities.withColumn("verdict", verdict).select("feature", "psi", "verdict", "reference_rows", "current_rows")
