"""Measures how good a score is: AUC ROC, average precision, and card precision@k with its ceiling, without Spark.

Card precision@k (the Fraud Detection Handbook's measure): investigators look at the k most suspicious entities of each
day. An entity's score is the highest of its events that day; an entity that proved anomalous is blocked and not looked at again.
"""

from collections.abc import Iterator

import numpy as np
import pandas as pd


def ranking_metrics(scored: pd.DataFrame, k: int = 100) -> dict[str, float]:
    """All metrics of a frame with the columns day, entity, label (0 or 1) and score.

    The ceiling is the precision@k of a score that equals the labels. A metric that needs both classes is nan with one.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    label, score = scored["label"].to_numpy(), scored["score"].to_numpy()
    has_both_classes = len(np.unique(label)) == 2
    return {
        "auc_roc": float(roc_auc_score(label, score)) if has_both_classes else float("nan"),
        "average_precision": float(average_precision_score(label, score)) if has_both_classes else float("nan"),
        f"entity_precision_at_{k}": precision_at_k(scored, k),
        f"entity_precision_at_{k}_ceiling": precision_at_k(scored.assign(score=scored["label"].astype(float)), k),
        "events": len(scored),
        "anomalous_events": int(label.sum()),
    }


def precision_at_k(scored: pd.DataFrame, k: int = 100) -> float:
    """Mean over days of the share of anomalous entities among the k with the highest scores; nan without any day.

    Equal scores rank by entity, so that the same rows give the same figure in any order.
    """
    shares = list(_daily_shares(scored, k))
    return float(np.mean(shares)) if shares else float("nan")


def _daily_shares(scored: pd.DataFrame, k: int) -> Iterator[float]:
    anomalous_so_far: set = set()
    for _, events in scored.groupby("day", sort=True):
        entities = events[~events["entity"].isin(anomalous_so_far)].groupby("entity", sort=True)[["score", "label"]].max()
        suspicious = entities.sort_values("score", ascending=False, kind="stable").head(k)
        anomalous_so_far |= set(suspicious.index[suspicious["label"] == 1])
        yield float(suspicious["label"].sum()) / k
