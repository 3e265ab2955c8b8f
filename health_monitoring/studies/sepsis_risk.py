"""Fits models of the risk of sepsis in intensive care to published hours, and judges them by the challenge's own utility.

    .venv/bin/python -m health_monitoring.studies.sepsis_risk icu_hours.parquet

Patients are split into FOLDS; each is scored by gradient boosting that learnt from other patients only, calibrated and with an
alarm threshold chosen on yet other patients. The figures do not transfer: in a hospital that was new to the challenge's models,
the winner's utility was below 0.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pyspark.sql import SparkSession

from common.models.calibration import reliability_table
from health_monitoring.studies.icu import ALL_FEATURES, VITAL_FEATURES, with_features
from health_monitoring.studies.sepsis_utility import best_threshold, utility

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FOLDS = 5
QUIET_WEIGHT = 6  # of the hours without a label, one in so many is learnt from, and counts for all of them
FEATURE_SETS = {"vital signs alone": VITAL_FEATURES, "with laboratory values, age and hours in the ICU": ALL_FEATURES}


@dataclass(frozen=True)
class CrossValidation:
    """Every hour's probability by a model that never saw its patient, whether it alarms, and how good both are."""

    probability: NDArray[np.float64]
    is_alarmed: NDArray[np.bool_]  # at the threshold that was chosen with the model
    utility: float
    utilities: tuple[float, ...]  # by fold
    precision: float  # positive predictive value: alarmed hours with the label
    brier: float
    reliability: pd.DataFrame


def fit_boosting(features: pd.DataFrame, labels: NDArray[np.int64]) -> "Pipeline":
    """Sixty trees of depth 4, which orbital exports to SQL. Hours that are left out count by the weight of those that are not."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import Pipeline

    rng = np.random.default_rng(0)
    is_sampled = (labels == 1) | (rng.random(len(labels)) < 1 / QUIET_WEIGHT)
    boosting = GradientBoostingClassifier(
        n_estimators=60, learning_rate=0.08, max_depth=4, min_samples_leaf=300, subsample=0.5, max_features=0.3, random_state=0
    )
    weight = np.where(labels[is_sampled] == 1, 1.0, QUIET_WEIGHT)
    pipeline = Pipeline([("boosting", boosting)])
    return pipeline.fit(features[is_sampled], labels[is_sampled], boosting__sample_weight=weight)


def recalibrate(pipeline: "Pipeline", features: pd.DataFrame, labels: NDArray[np.int64]) -> "Pipeline":
    """The pipeline with its log odds stretched and moved to fit patients that it has not learnt from (Platt scaling).

    The hours of a patient are alike, so that boosting is surer of them than it should be. The scaling is written into the trees
    and the prior, in place: orbital can still export the model.
    """
    from sklearn.linear_model import LogisticRegression

    boosting = pipeline.named_steps["boosting"]
    prior = boosting.init_.class_prior_
    scaling = LogisticRegression(C=np.inf).fit(boosting.decision_function(features).reshape(-1, 1), labels)
    slope, shift = scaling.coef_[0, 0], scaling.intercept_[0]
    for tree in boosting.estimators_.ravel():
        tree.tree_.value[:] *= slope
    odds = np.exp(slope * np.log(prior[1] / prior[0]) + shift)
    boosting.init_.class_prior_ = np.array([1 / (1 + odds), odds / (1 + odds)])
    return pipeline


def cross_validate(hours: pd.DataFrame, features: Sequence[str]) -> CrossValidation:
    """Cross-validation by patient over hours with pid, SepsisLabel and `features`, sorted by pid and time."""
    patient, label = hours["pid"].to_numpy(object), hours["SepsisLabel"].to_numpy(np.int64)
    fold = folds(patient)
    probability, is_alarmed = np.zeros(len(hours)), np.zeros(len(hours), bool)
    for number in range(FOLDS):
        in_test, in_validation = fold == number, fold == (number + 1) % FOLDS
        in_training = ~in_test & ~in_validation
        model = fit_boosting(hours.loc[in_training, list(features)], label[in_training])
        model = recalibrate(model, hours.loc[in_validation, list(features)], label[in_validation])
        validation_probability = model.predict_proba(hours.loc[in_validation, list(features)])[:, 1]
        threshold = best_threshold(patient[in_validation], label[in_validation], validation_probability)
        probability[in_test] = model.predict_proba(hours.loc[in_test, list(features)])[:, 1]
        is_alarmed[in_test] = probability[in_test] >= threshold
    by_fold = tuple(utility(patient[fold == n], label[fold == n], is_alarmed[fold == n]) for n in range(FOLDS))
    return CrossValidation(
        probability, is_alarmed, utility(patient, label, is_alarmed), by_fold, float(label[is_alarmed].mean()),
        float(((probability - label) ** 2).mean()), reliability_table(probability, label),
    )  # fmt: skip


def folds(patient: NDArray[np.object_]) -> NDArray[np.int64]:
    """The fold of each row: a hash of its patient, so that other patients do not change it."""
    return np.array([crc32(name.encode()) % FOLDS for name in patient])


def read_hours(spark: SparkSession, path: str) -> pd.DataFrame:
    """The published hours of a Parquet file with their features, by patient and time."""
    rows = with_features(spark.read.parquet(path)).select("pid", "SepsisLabel", *ALL_FEATURES)
    # Over files: collected, these 236 MB would pass through the driver's heap several times over, and be lost on the way when
    # it is full ("result lost from block manager").
    with TemporaryDirectory() as folder:
        rows.write.parquet(f"{folder}/hours")
        hours = pd.read_parquet(f"{folder}/hours")
    return hours.sort_values(["pid", "ICULOS"], ignore_index=True)


def format_figures(name: str, result: CrossValidation) -> str:
    """A cross-validation's figures as text."""
    by_fold = " ".join(f"{value:.3f}" for value in result.utilities)
    table = result.reliability.round(4).to_string()
    return (
        f"{name}: utility {result.utility:.3f} (by fold {by_fold}), {result.is_alarmed.mean():.1%} of the hours alarmed, "
        f"{result.precision:.1%} of them with the label, Brier score {result.brier:.4f}\n{table}"
    )


def main(path: str) -> None:
    """Cross-validates FEATURE_SETS on the published hours of a Parquet file, and prints their figures."""
    from common.spark.session import start_session

    with TemporaryDirectory() as folder:
        spark = start_session("risk", task_slots=2, folder=Path(folder))
        hours = read_hours(spark, path)
        spark.stop()
    for name, features in FEATURE_SETS.items():
        sys.stdout.write(format_figures(name, cross_validate(hours, features)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
