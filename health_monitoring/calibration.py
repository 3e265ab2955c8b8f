"""Whether a probability means what it says: predicted against observed, for the model in force and for the ICU model."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from health_monitoring.features import outcomes

EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


def reliability(scored: DataFrame, labels: DataFrame) -> DataFrame:
    """A row per bin of the score: expected (its range), predicted (mean), observed (share with the outcome), rows, brier.

    scored: observations with `model_score`; observations without one are left out. Empty bins are left out.
    """
    judged = scored.join(outcomes(scored, labels).withColumnRenamed("event_id", "observation_id"), "observation_id")
    judged = judged.where("model_score IS NOT NULL").withColumn("lower", _lower(EDGES))
    squared = (F.col("model_score") - F.col("label")) ** 2
    bins = judged.groupBy("lower").agg(
        F.round(F.avg("model_score"), 4).alias("predicted"), F.round(F.avg("label"), 4).alias("observed"),
        F.count("*").alias("rows"), F.round(F.avg(squared), 5).alias("brier"))
    expected = F.format_string("from %.2f", "lower").alias("expected")
    return bins.select(expected, "predicted", "observed", "rows", "brier").orderBy("expected")


def reliability_table(probability: NDArray[np.float64], label: NDArray[np.int64]) -> pd.DataFrame:
    """The same over arrays: predicted, observed and rows by bin, indexed by the bin's lower edge."""
    lower = np.array(EDGES)[np.searchsorted(EDGES, probability, side="right") - 1]
    rows = pd.DataFrame({"lower": lower, "predicted": probability, "observed": label})
    return rows.groupby("lower").agg(predicted=("predicted", "mean"), observed=("observed", "mean"), rows=("observed", "size"))


def _lower(edges: tuple[float, ...]) -> Column:
    lower = F.lit(edges[0])
    for edge in edges[1:]:
        lower = F.when(F.col("model_score") >= edge, F.lit(edge)).otherwise(lower)
    return lower
