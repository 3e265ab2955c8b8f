"""Measures how well a model's probabilities match: predicted and observed shares by bins of the score (reliability)."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

LOWER_EDGES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)  # of the bins


def reliability(scored: DataFrame) -> DataFrame:
    """A row per bin of the score: expected (its lower edge), predicted (mean), observed (share with the outcome), rows, brier.

    scored: rows with `model_score` and `label` (0 or 1); those without a score are left out, and so are empty bins.
    """
    with_bins = scored.where("model_score IS NOT NULL").withColumn("lower", _lower_edge(F.col("model_score")))
    squared_error = (F.col("model_score") - F.col("label")) ** 2
    bins = with_bins.groupBy("lower").agg(
        F.round(F.avg("model_score"), 4).alias("predicted"),
        F.round(F.avg("label"), 4).alias("observed"),
        F.count("*").alias("rows"),
        F.round(F.avg(squared_error), 5).alias("brier"),
    )
    expected = F.format_string("from %.2f", "lower").alias("expected")
    return bins.select(expected, "predicted", "observed", "rows", "brier").orderBy("expected")


def reliability_table(probability: NDArray[np.float64], label: NDArray[np.int64]) -> pd.DataFrame:
    """The same over arrays: predicted, observed and rows by bin, indexed by the bin's lower edge."""
    lower = np.array(LOWER_EDGES)[np.searchsorted(LOWER_EDGES, probability, side="right") - 1]
    rows = pd.DataFrame({"lower": lower, "predicted": probability, "observed": label})
    return rows.groupby("lower").agg(predicted=("predicted", "mean"), observed=("observed", "mean"), rows=("observed", "size"))


def _lower_edge(score: Column) -> Column:
    """The lower edge of a score's bin."""
    lower = F.lit(LOWER_EDGES[0])
    for edge in LOWER_EDGES[1:]:
        lower = F.when(score >= edge, F.lit(edge)).otherwise(lower)
    return lower
