"""The card job's rules in plain Python. Needs the standard library alone: engines' own environments import it as a sibling."""

from datetime import datetime
from hashlib import sha256
from math import sqrt
from typing import Any

JOB_NAME = "card_job"
VELOCITY, AMOUNT, ZSCORE = "velocity", "amount", "zscore"

Totals = tuple[int, int, int, int]
"""Of a card's window so far: number of events, sum and sum of squares of their amounts, the largest amount; in cents."""

EMPTY_TOTALS: Totals = (0, 0, 0, 0)


def to_cents(amount: float) -> int:
    """Whole cents, in which sums are exact in every engine, in whatever order they are added."""
    return int(amount * 100 + 0.5)


def window_start(event_time: str, window_seconds: int) -> int:
    """Epoch seconds at which the tumbling window of an ISO 8601 time begins."""
    seconds = int(datetime.fromisoformat(event_time).timestamp())
    return seconds - seconds % window_seconds


def alert_id(rule: str, card: str, start: int) -> str:
    """The id of what an alert is about: a rule, a card and a window, not the update that raised it."""
    return sha256(f"{JOB_NAME}|{rule}|{card}|{start}".encode()).hexdigest()[:32]


def add_amount(totals: Totals, cents: int) -> Totals:
    count, total, squares, largest = totals
    return count + 1, total + cents, squares + cents * cents, max(largest, cents)


def raise_alerts(job: dict[str, Any], card: str, start: int, totals: Totals) -> list[dict[str, Any]]:
    """The alerts of a window that just took an event in."""
    count, total, squares, largest = totals
    spread = count * squares - total * total  # count squared times the variance: an integer, so without rounding
    scores = []
    if count >= job["velocity"]:
        scores.append((VELOCITY, float(count)))
    if largest >= job["amount_cents"]:
        scores.append((AMOUNT, float(largest)))
    if count >= job["least_events"] and spread > 0 and (score := (count * largest - total) / sqrt(spread)) >= job["zscore"]:
        scores.append((ZSCORE, score))
    return [
        {
            "alert_id": alert_id(rule, card, start),
            "rule": rule,
            "entity_id": card,
            "window_start": start,
            "score": score,
            "count": count,
            "mean": total / count / 100,
            "deviation": sqrt(spread) / count / 100,
        }
        for rule, score in scores
    ]
