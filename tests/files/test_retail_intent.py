"""The intent model's way of learning, on real sessions whose outcome is known (UCI Online Shoppers)."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from common.models.training import export_sql
from retail_behavior.features import fit_intent

pytestmark = [pytest.mark.files, pytest.mark.usefixtures("compiled")]

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "June", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@pytest.fixture(scope="module")
def sessions(shared_data):
    """(features, bought): what a shop knows of a session without PageValues, which tells the outcome after the fact."""
    rows = pd.read_csv(shared_data / "retail" / "online_shoppers_intention_part.csv")
    numbers = rows[
        [
            "ProductRelated",
            "ProductRelated_Duration",
            "Administrative",
            "Administrative_Duration",
            "Informational",
            "Informational_Duration",
            "BounceRates",
            "ExitRates",
            "SpecialDay",
            "OperatingSystems",
            "Browser",
            "Region",
            "TrafficType",
        ]
    ].astype(float)
    features = numbers.assign(
        month=rows["Month"].map(MONTHS.index).astype(float),
        is_returning=(rows["VisitorType"] == "Returning_Visitor").astype(float),
        is_weekend=rows["Weekend"].astype(float),
        seconds_per_page=numbers["ProductRelated_Duration"] / numbers["ProductRelated"].clip(lower=1),
        exits_without_bounce=numbers["ExitRates"] - numbers["BounceRates"],
    )
    return features, rows["Revenue"].to_numpy(int)


def cross_validated(features, bought, seed):
    """The probability of each session by a model that did not see it."""
    probability = np.zeros(len(bought))
    for train, test in StratifiedKFold(5, shuffle=True, random_state=seed).split(features, bought):
        model = fit_intent(features.iloc[train], bought[train])
        probability[test] = model.predict_proba(features.iloc[test])[:, 1]
    return probability


def test_it_reaches_its_bars_on_sessions_that_it_did_not_see(sessions):
    features, bought = sessions
    # Five folds three times over: one division into folds moves either figure by 0.003.
    probabilities = [cross_validated(features, bought, seed) for seed in range(3)]
    auc = np.mean([roc_auc_score(bought, probability) for probability in probabilities])
    precision = np.mean([average_precision_score(bought, probability) for probability in probabilities])
    print(f"AUC {auc:.4f}, average precision {precision:.4f}")
    assert auc >= 0.78
    assert precision >= 0.37


def test_shuffled_outcomes_cannot_be_learnt(sessions):
    features, bought = sessions
    shuffled = np.random.default_rng(0).permutation(bought)
    assert abs(roc_auc_score(shuffled, cross_validated(features, shuffled, 0)) - 0.5) < 0.04


def test_it_can_be_written_as_sql_of_one_structure(sessions):
    features, bought = sessions
    structure, parameters = export_sql(fit_intent(features[:3_000], bought[:3_000], trees=40, depth=3), list(features.columns))
    assert "model_parameters" in structure and len(parameters) > 300


def test_the_same_rows_give_the_same_model(sessions):
    features, bought = sessions
    first, second = (fit_intent(features[:2_000], bought[:2_000]).predict_proba(features) for _ in range(2))
    assert np.array_equal(first, second)
