"""The risk of sepsis in intensive care, on published hours: gradient boosting, judged by the challenge's own utility.

    .venv/bin/python -m health_monitoring.studies.sepsis_risk icu_hours.parquet

Patients are split into FOLDS; each is scored by a model that learnt from other patients only, calibrated and with an
alarm threshold chosen on yet other patients. What holds here does not transfer: in a hospital that the challenge's models had not
seen, the winner's utility was below 0.
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

from health_monitoring.calibration import reliability_table
from health_monitoring.studies.icu import ALL_FEATURES, VITAL_FEATURES, with_features
from health_monitoring.studies.sepsis_utility import best_threshold, utility

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline

FOLDS = 5
QUIET_SHARE = 6     # of the hours without a label, one in so many is learnt from, and counts for all of them
FEATURE_SETS = {"vital signs alone": VITAL_FEATURES, "with laboratory values, age and hours in the ICU": ALL_FEATURES}


@dataclass(frozen=True)
class Judged:
    """Every hour's probability by a model that never saw its patient, and whether it alarms at the threshold chosen beside it."""

    probability: NDArray[np.float64]
    alarmed: NDArray[np.bool_]
    utility: float
    utilities: tuple[float, ...]        # by fold
    precision: float                    # positive predictive value: alarmed hours with the label
    brier: float
    reliability: pd.DataFrame


def fit_boosting(features: pd.DataFrame, labels: NDArray[np.int64]) -> "Pipeline":
    """Sixty trees of depth 4, which orbital exports to SQL. What is left out is weighed in again."""
    from sklearn.ensemble import GradientBoostingClassifier
    from sklearn.pipeline import Pipeline

    rng = np.random.default_rng(0)
    kept = (labels == 1) | (rng.random(len(labels)) < 1 / QUIET_SHARE)
    boosting = GradientBoostingClassifier(
        n_estimators=60, learning_rate=0.08, max_depth=4, min_samples_leaf=300, subsample=0.5, max_features=0.3, random_state=0)
    weight = np.where(labels[kept] == 1, 1.0, QUIET_SHARE)
    pipeline = Pipeline([("boosting", boosting)])
    return pipeline.fit(features[kept], labels[kept], boosting__sample_weight=weight)


def recalibrated(pipeline: "Pipeline", features: pd.DataFrame, labels: NDArray[np.int64]) -> "Pipeline":
    """The pipeline with its log odds stretched and moved to fit patients that it has not learnt from (Platt scaling).

    The hours of a patient are alike, so boosting is surer of them than it may be. The scaling is written into the trees
    and the prior, in place: the model stays one that orbital exports.
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


def judge(hours: pd.DataFrame, features: Sequence[str]) -> Judged:
    """Cross-validation by patient over hours with pid, SepsisLabel and `features`, sorted by pid and time."""
    patient, label = hours["pid"].to_numpy(object), hours["SepsisLabel"].to_numpy(np.int64)
    fold = folds(patient)
    probability, alarmed = np.zeros(len(hours)), np.zeros(len(hours), bool)
    for number in range(FOLDS):
        tested, chosen_on = fold == number, fold == (number + 1) % FOLDS
        learnt = ~tested & ~chosen_on
        model = fit_boosting(hours.loc[learnt, list(features)], label[learnt])
        model = recalibrated(model, hours.loc[chosen_on, list(features)], label[chosen_on])
        aside = model.predict_proba(hours.loc[chosen_on, list(features)])[:, 1]
        threshold = best_threshold(patient[chosen_on], label[chosen_on], aside)
        probability[tested] = model.predict_proba(hours.loc[tested, list(features)])[:, 1]
        alarmed[tested] = probability[tested] >= threshold
    by_fold = tuple(utility(patient[fold == n], label[fold == n], alarmed[fold == n]) for n in range(FOLDS))
    return Judged(
        probability, alarmed, utility(patient, label, alarmed), by_fold, float(label[alarmed].mean()),
        float(((probability - label) ** 2).mean()), reliability_table(probability, label),
    )  # fmt: skip


def folds(patient: NDArray[np.object_]) -> NDArray[np.int64]:
    """The fold of each row: a hash of its patient, so that it is the same whoever else is there."""
    return np.array([crc32(name.encode()) % FOLDS for name in patient])


def hours_of(spark: SparkSession, path: str) -> pd.DataFrame:
    """The published hours of a Parquet file with their features, by patient and time."""
    rows = with_features(spark.read.parquet(path)).select("pid", "SepsisLabel", *ALL_FEATURES)
    # Over files: collected, these 236 MB would pass through the driver's heap several times over, and be lost on the way when
    # it is full ("result lost from block manager").
    with TemporaryDirectory() as folder:
        rows.write.parquet(f"{folder}/hours")
        found = pd.read_parquet(f"{folder}/hours")
    return found.sort_values(["pid", "ICULOS"], ignore_index=True)


def report(name: str, judged: Judged) -> str:
    spread = " ".join(f"{value:.3f}" for value in judged.utilities)
    table = judged.reliability.round(4).to_string()
    return (
        f"{name}: utility {judged.utility:.3f} (by fold {spread}), {judged.alarmed.mean():.1%} of the hours alarmed, "
        f"{judged.precision:.1%} of them with the label, Brier score {judged.brier:.4f}\n{table}"
    )


def main(path: str) -> None:
    from common.spark.session import start_session

    with TemporaryDirectory() as folder:
        spark = start_session("risk", task_slots=2, folder=Path(folder))
        hours = hours_of(spark, path)
        spark.stop()
    for name, features in FEATURE_SETS.items():
        sys.stdout.write(report(name, judge(hours, features)) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
