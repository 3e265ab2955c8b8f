"""Trains models from rows of features and labels, and proves that their SQL gives scikit-learn's probabilities.

A TrainedModel is text and numbers: no pickle is written or read. Its version is a hash of what decides a score, so the
same training gives the same version wherever and whenever it is done.

scikit-learn and orbital are imported where something is trained, here and in the verticals: they take seconds and 150 MB,
and most processes never train.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as installed
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pyspark.sql import DataFrame, SparkSession

from common.errors import UserError
from common.models.scoring import with_score
from common.models.structure import DIALECT, lift_parameters

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

LIBRARIES = ("numpy", "orbital", "pyspark", "scikit-learn", "sqlglot")
PARITY_ROWS = 2_000

Fit = Callable[[pd.DataFrame, np.ndarray], "Pipeline"]


class TrainingRefused(UserError):
    """The rows cannot train a model; the message says why and what would help."""


class ParityBroken(UserError):
    """The exported SQL does not give the probabilities of the fitted model."""


@dataclass(frozen=True)
class TrainedModel:
    """A model as it is stored and served. structure: SQL over `features` and GET(model_parameters, i)."""

    features: tuple[str, ...]
    structure: str
    parameters: tuple[float, ...]
    metrics: dict[str, float] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def version(self) -> str:
        """Twelve hexadecimal digits of what decides a score: features, structure and parameters."""
        content = json.dumps([self.features, self.structure, self.parameters])
        return hashlib.sha256(content.encode()).hexdigest()[:12]


def train(
    rows: DataFrame, features: Sequence[str], fit: Fit | None = None, *, tolerance: float = 1e-9, **details: Any
) -> TrainedModel:
    """A model that tells rows of `label` 1 from those of 0 by the columns `features`.

    fit(features, labels) -> a fitted pipeline that orbital can export; `fit_logistic` if not given. tolerance: the
    largest difference to predict_proba (trees compare in single precision: 1e-5). details: kept with the model, such as
    the version of the tables that it learnt from. Raises TrainingRefused or ParityBroken.
    """
    # Sorted, so that Spark's partitioning of the rows does not change the model.
    frame: pd.DataFrame = rows.select(*features, "label").toPandas()
    training_rows = frame.sort_values([*features, "label"], ignore_index=True)
    _check_rows(training_rows, features)
    pipeline = (fit or fit_logistic)(training_rows[list(features)], training_rows["label"].to_numpy())
    structure, parameters = export_sql(pipeline, features)
    prove_parity(rows.sparkSession, pipeline, structure, parameters, _parity_rows(training_rows[list(features)]), tolerance)
    counts = {"training_rows": len(training_rows), "training_anomalies": int(training_rows["label"].sum())}
    libraries = {name: installed(name) for name in LIBRARIES}
    created = {"created_at": datetime.now(UTC).isoformat(timespec="seconds"), "libraries": libraries}
    return TrainedModel(tuple(features), structure, parameters, details={**counts, **created, **details})


def fit_logistic(features: pd.DataFrame, labels: np.ndarray) -> "Pipeline":
    """A logistic regression, fitted on standardised features and then written per unit of each feature.

    Newton's method and weights of nine digits give the same model whatever the last bits of the sums. A weight of
    exactly 0 (a feature that never varied) becomes 1e-12: orbital leaves zeros out, and the structure would change.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import StandardScaler

    standardised = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cholesky", tol=1e-8, max_iter=200))
    scaler, logistic = (step for _, step in standardised.fit(features, labels).steps)
    weights = _nine_digits(logistic.coef_ / scaler.scale_)
    logistic.coef_ = np.where(weights == 0, 1e-12, weights)
    logistic.intercept_ = _nine_digits(logistic.intercept_ - (logistic.coef_ * scaler.mean_).sum(axis=1))
    logistic.feature_names_in_ = np.array(features.columns, dtype=object)
    return Pipeline([("logistic", logistic)])


def export_sql(pipeline: "Pipeline", features: Sequence[str]) -> tuple[str, tuple[float, ...]]:
    """The pipeline's probability of class 1 as (structure, parameters)."""
    import orbital
    import orbital.types

    columns = {feature: orbital.types.DoubleColumnType() for feature in features}
    query = orbital.export_sql("events", orbital.parse_pipeline(pipeline, features=columns), dialect=DIALECT)
    return lift_parameters(query, "output_probability.1")


def prove_parity(
    spark: SparkSession,
    pipeline: "Pipeline",
    structure: str,
    parameters: Sequence[float],
    features: pd.DataFrame,
    tolerance: float,
) -> float:
    """The largest difference between Spark's score and predict_proba over `features`; raises ParityBroken above `tolerance`."""
    model = TrainedModel(tuple(features.columns), structure, tuple(parameters))
    rows = spark.createDataFrame(features.assign(row_number=range(len(features))))
    scored_rows: pd.DataFrame = with_score(rows, model).select("row_number", "model_score").toPandas()
    scores = scored_rows.sort_values("row_number")["model_score"]
    difference = float(np.abs(scores.to_numpy(dtype=float) - pipeline.predict_proba(features)[:, 1]).max())
    if not difference <= tolerance:  # not ">": a null score makes it nan
        raise ParityBroken(f"the exported SQL differs from predict_proba by {difference:.3g}, more than {tolerance:g}")
    return difference


def _parity_rows(features: pd.DataFrame) -> pd.DataFrame:
    """Rows spread evenly over the training rows, with the smallest and largest of each feature and all zeros."""
    spread = features.iloc[np.linspace(0, len(features) - 1, min(PARITY_ROWS, len(features))).astype(int)]
    edges = pd.DataFrame([features.min(), features.max(), features.max() * 0.0])
    return pd.concat([spread, edges], ignore_index=True)


def _nine_digits(values: np.ndarray) -> np.ndarray:
    return np.array([float(f"{number:.9g}") for number in values.ravel()]).reshape(values.shape)


def _check_rows(training_rows: pd.DataFrame, features: Sequence[str]) -> None:
    anomalies = int(training_rows["label"].sum())
    if anomalies == 0 or anomalies == len(training_rows):
        raise TrainingRefused(
            f"{len(training_rows):,} rows with {anomalies:,} known anomalies cannot train a model: both kinds are needed. "
            "Labels are known only after their delay: choose an earlier training period or wait for more."
        )
    unusable = [feature for feature in features if not np.isfinite(training_rows[feature]).all()]
    if unusable:
        raise TrainingRefused(f"features with nulls or infinities: {', '.join(unusable)}")
