"""The measures, on rows that can be counted by hand, and on real labels as they were published."""

import math

import numpy as np
import pandas as pd
import pytest

from common.models.metrics import precision_at_k, ranking_metrics


def scored(*rows):
    return pd.DataFrame(rows, columns=["day", "entity", "label", "score"])


def test_precision_at_k_counts_entities_once_and_blocks_the_found():
    rows = scored(
        (1, "a", 1, 0.9),
        (1, "a", 0, 0.1),
        (1, "b", 0, 0.5),
        (1, "c", 1, 0.2),
        (2, "a", 1, 0.9),
        (2, "c", 1, 0.8),
        (2, "b", 0, 0.1),
    )
    # Day 1: a and b are looked at, a is found and blocked. Day 2: c and b, c is found.
    assert precision_at_k(rows, k=2) == pytest.approx((1 / 2 + 1 / 2) / 2)


def test_precision_at_k_does_not_depend_on_the_order_of_equal_scores():
    rows = scored(*[(1, f"card-{number}", number % 2, 0.5) for number in range(20)])
    assert precision_at_k(rows, 5) == precision_at_k(rows.sample(frac=1, random_state=1), 5)


def test_fewer_anomalies_than_k_lower_the_ceiling():
    rows = scored((1, "a", 1, 0.9), (1, "b", 0, 0.5))
    measured = ranking_metrics(rows, k=10)
    assert measured["entity_precision_at_10"] == measured["entity_precision_at_10_ceiling"] == pytest.approx(0.1)
    assert measured["average_precision"] == measured["auc_roc"] == 1


def test_one_class_and_no_rows_are_not_a_number_but_no_error():
    assert math.isnan(ranking_metrics(scored((1, "a", 0, 0.9)))["average_precision"])
    assert math.isnan(precision_at_k(scored()))


def test_the_true_labels_of_the_published_week_reach_its_ceiling(shared_data):
    transactions = pd.read_parquet(shared_data / "finance" / "transactions.parquet")
    transactions["day"] = transactions["TX_DATETIME"].dt.normalize()
    test = transactions[transactions["day"].between("2018-08-08", "2018-08-14")]
    frauds = transactions[(transactions["TX_FRAUD"] == 1) & (transactions["day"] >= "2018-07-25")]
    first_known = test["CUSTOMER_ID"].map(frauds.groupby("CUSTOMER_ID")["TX_DATETIME"].min() + np.timedelta64(7, "D"))
    test = test[~(first_known <= test["day"])]
    measured = ranking_metrics(
        pd.DataFrame(
            {
                "day": test["day"],
                "entity": test["CUSTOMER_ID"],
                "label": test["TX_FRAUD"],
                "score": test["TX_FRAUD"].astype(float),
            }
        )
    )
    assert (measured["events"], measured["anomalous_events"]) == (58_264, 385)
    assert measured["auc_roc"] == measured["average_precision"] == 1
    assert round(measured["entity_precision_at_100"], 3) == round(measured["entity_precision_at_100_ceiling"], 3) == 0.397
