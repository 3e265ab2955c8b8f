"""What each rule of card fraud catches and what it leaves alone, on rows one can count."""

import json
import math
from datetime import datetime, timedelta

import pytest
from pyspark.sql import functions as F

from finance_fraud import detector
from finance_fraud.settings import FraudSettings

pytestmark = pytest.mark.files

NOON = datetime(2020, 3, 2, 12)
LONDON, NEW_YORK = (51.5, -0.1), (40.7, -74.0)
SETTINGS = FraudSettings()

BASELINE = {
    "card_count_30d": 30.0,
    "card_amount_mean_30d": 50.0,
    "card_amount_median_30d": 45.0,
    "card_log_amount_mean_30d": math.log(50.0),
    "card_log_amount_std_30d": 0.2,
    "card_terminals_30d": ["m1"],
    "card_home_latitude": LONDON[0],
    "card_home_longitude": LONDON[1],
    "card_max_distance_km_30d": 20.0,
    "terminal_count_7d": 50.0,
    "terminal_risk_7d": 0.0,
    "baseline_version": "b1",
    "model_version": "m1",
    "model_score": 0.01,
}
KINDS = {"baseline_version": "string", "model_version": "string", "card_terminals_30d": "array<string>"}
TYPES = ", ".join(f"{name} {KINDS.get(name, 'double')}" for name in BASELINE)
SCHEMA = (
    "transaction_id string, card_id string, terminal_id string, amount double, latitude double, longitude double, "
    f"event_time timestamp, ingest_time timestamp, {TYPES}"
)


@pytest.fixture
def alerts_of(spark):
    """Alerts of one query over transactions given as dictionaries."""

    def run(query, *transactions):
        rows = [
            {
                "transaction_id": f"t{number}",
                "card_id": "c1",
                "terminal_id": "m1",
                "amount": 50.0,
                "latitude": LONDON[0],
                "longitude": LONDON[1],
                "event_time": NOON,
                "ingest_time": NOON,
                **BASELINE,
                **transaction,
            }
            for number, transaction in enumerate(transactions)
        ]
        return query(spark.createDataFrame(rows, SCHEMA), SETTINGS).orderBy("alert_id").collect()

    return run


def rules(alerts):
    return sorted({alert.rule for alert in alerts})


def burst(count, minutes=1, **common):
    return [{"event_time": NOON + timedelta(minutes=minutes * number), **common} for number in range(count)]


def test_an_ordinary_transaction_raises_nothing(alerts_of):
    assert alerts_of(detector.per_event, {}) == []


def test_nulls_everywhere_raise_nothing(alerts_of):
    no_baseline = dict.fromkeys(BASELINE)
    assert alerts_of(detector.per_event, {**no_baseline, "latitude": None, "longitude": None}) == []
    assert alerts_of(detector.by_terminal, no_baseline, no_baseline, no_baseline) == []


def test_a_transaction_that_is_sent_again_under_other_baselines_counts_once(alerts_of):
    least = int(SETTINGS.velocity)
    purchases = [{**purchase, "transaction_id": f"t{number}"} for number, purchase in enumerate(burst(least - 1))]
    again = {**purchases[0], "card_amount_median_30d": 20.0}  # 50 is large now, and was not before
    assert rules(alerts_of(detector.by_card, *purchases, again)) == []
    assert rules(alerts_of(detector.by_card, *purchases, again, burst(least)[-1])) == ["velocity"]


# The card's transactions with a deviation of 0.6, and as if ten more with 0.45.
HISTORY_COUNT = BASELINE["card_count_30d"]
UNEVEN = {"card_log_amount_std_30d": 0.6}
DEVIATION = math.sqrt((HISTORY_COUNT * 0.6**2 + 10 * 0.45**2) / (HISTORY_COUNT + 10))


@pytest.mark.parametrize(("beyond", "is_caught"), [(-0.01, False), (0.01, True)])
def test_amount_outlier_counts_deviations_above_the_cards_own_logarithms(alerts_of, beyond, is_caught):
    amount = 50.0 * math.exp((SETTINGS.amount_zscore + beyond) * DEVIATION)
    assert (
        rules(alerts_of(detector.per_event, {**UNEVEN, "amount": amount, "terminal_id": "m2"})) == ["amount_outlier"] * is_caught
    )


def test_an_amount_has_to_be_larger_where_the_card_has_been_before(alerts_of):
    amount = {**UNEVEN, "amount": 50.0 * math.exp((SETTINGS.amount_zscore + 0.5) * DEVIATION)}
    assert alerts_of(detector.per_event, amount) == []
    assert rules(alerts_of(detector.per_event, {**amount, "terminal_id": "m2"})) == ["amount_outlier"]


def test_amount_outlier_leaves_a_card_without_a_habit_alone(alerts_of):
    assert alerts_of(detector.per_event, {"amount": 5000.0, "card_count_30d": SETTINGS.min_history - 1.0}) == []


def test_a_card_that_always_spends_alike_may_spend_more_once(alerts_of):
    equal = {"card_log_amount_std_30d": 0.0, "terminal_id": "m2"}
    assert alerts_of(detector.per_event, {**equal, "amount": 50.0 * SETTINGS.least_ratio - 0.01}) == []
    [alert] = alerts_of(detector.per_event, {**equal, "amount": 50.0 * SETTINGS.least_ratio})
    as_if_less_alike = math.sqrt(10 * 0.45**2 / (HISTORY_COUNT + 10))
    assert (alert.rule, alert.score) == ("amount_outlier", pytest.approx(math.log(SETTINGS.least_ratio) / as_if_less_alike))


def test_unseen_region_is_far_beyond_where_the_card_has_been(alerts_of):
    new_york = {"latitude": NEW_YORK[0], "longitude": NEW_YORK[1]}
    [alert] = alerts_of(detector.per_event, new_york)
    assert alert.rule == "unseen_region"
    assert alert.score == pytest.approx(5570 - 20, rel=0.01)
    assert alerts_of(detector.per_event, {**new_york, "card_max_distance_km_30d": 5600.0}) == []


def test_an_online_purchase_is_nowhere(alerts_of):
    assert alerts_of(detector.per_event, {"latitude": None, "longitude": None}) == []


def test_terminal_risk_needs_enough_transactions(alerts_of):
    assert rules(alerts_of(detector.per_event, {"terminal_risk_7d": 0.5})) == ["terminal_risk"]
    assert (
        alerts_of(detector.per_event, {"terminal_risk_7d": 0.5, "terminal_count_7d": SETTINGS.min_terminal_history - 1.0}) == []
    )


def test_the_model_speaks_at_its_threshold_and_names_its_version(alerts_of):
    [alert] = alerts_of(detector.per_event, {"model_score": SETTINGS.model_score})
    assert (alert.rule, alert.versions.model, alert.versions.baseline) == ("model_score", "m1", "b1")
    assert alerts_of(detector.per_event, {"model_score": SETTINGS.model_score - 0.001}) == []


def test_one_transaction_may_raise_several_rules_each_with_its_own_id(alerts_of):
    alerts = alerts_of(detector.per_event, {"amount": 500.0, "terminal_risk_7d": 0.9})
    assert rules(alerts) == ["amount_outlier", "terminal_risk"]
    assert len({alert.alert_id for alert in alerts}) == 2


def test_severity_rises_with_the_score(alerts_of):
    amounts = ({**UNEVEN, "terminal_id": "m2", "amount": amount} for amount in (300.0, 900.0))
    severities = [alerts_of(detector.per_event, amount)[0].severity for amount in amounts]
    assert severities == ["major", "critical"]


@pytest.mark.parametrize(("count", "is_caught"), [(5, False), (6, True)])
def test_velocity_counts_a_burst(alerts_of, count, is_caught):
    assert rules(alerts_of(detector.by_card, *burst(count))) == (["velocity"] if is_caught else [])


def test_velocity_leaves_the_same_number_over_hours_alone(alerts_of):
    assert alerts_of(detector.by_card, *burst(6, minutes=21)) == []


def test_a_transaction_sent_twice_counts_once(alerts_of):
    five = [{**transaction, "transaction_id": f"t{number}"} for number, transaction in enumerate(burst(5))]
    assert alerts_of(detector.by_card, *five, five[0], five[1]) == []


def test_a_burst_across_the_border_of_a_window_is_seen_whole(alerts_of):
    # Windows of 5 hours begin every 4: one ends at 13:00, the next has begun at 12:00.
    across = [{"event_time": datetime(2020, 3, 2, 12, 55) + timedelta(minutes=number)} for number in range(10)]
    assert max(alert.score for alert in alerts_of(detector.by_card, *across)) == 10


def test_card_testing_counts_tiny_amounts_only(alerts_of):
    assert rules(alerts_of(detector.by_card, *burst(5, amount=1.0))) == ["card_testing"]
    assert alerts_of(detector.by_card, *burst(5, minutes=2, amount=1.0)) == []
    assert alerts_of(detector.by_card, *burst(4, amount=1.0), {"amount": 60.0}) == []


@pytest.mark.parametrize(
    ("amount", "count", "minutes", "is_caught"),
    [(90.0, 3, 80, True), (89.0, 3, 80, False), (90.0, 2, 80, False), (90.0, 3, 95, False)],
)
def test_a_spree_is_three_amounts_large_for_the_card_within_three_hours(alerts_of, amount, count, minutes, is_caught):
    early = datetime(2020, 3, 2, 8, 30)
    purchases = [{"amount": amount, "event_time": early + timedelta(minutes=minutes * number)} for number in range(count)]
    assert rules(alerts_of(detector.by_card, *purchases)) == (["spree"] if is_caught else [])
    assert alerts_of(detector.by_card, *({**purchase, "card_count_30d": 1.0} for purchase in purchases)) == []


def test_the_evidence_of_a_burst_is_its_transactions(alerts_of):
    old = {"transaction_id": "old", "event_time": NOON + timedelta(hours=0.5)}
    late = [{**transaction, "event_time": transaction["event_time"] + timedelta(hours=2)} for transaction in burst(6)]
    alerts = alerts_of(detector.by_card, old, *late)
    assert {alert.event for alert in alerts} == {'["t1","t2","t3","t4","t5","t6"]'}


def test_impossible_travel_names_the_pair(alerts_of):
    new_york = {"latitude": NEW_YORK[0], "longitude": NEW_YORK[1], "event_time": NOON + timedelta(minutes=30)}
    alerts = alerts_of(detector.by_card, {"event_time": NOON - timedelta(minutes=20)}, {}, new_york)
    assert rules(alerts) == ["impossible_travel"]
    assert {alert.event for alert in alerts} == {'["t1","t2"]'}
    assert alerts[0].score == pytest.approx(2 * 5570, rel=0.01)


def test_travel_at_an_airliners_speed_is_possible(alerts_of):
    flown = {"latitude": NEW_YORK[0], "longitude": NEW_YORK[1], "event_time": NOON + timedelta(minutes=59)}
    near = {"latitude": LONDON[0] + 1.0, "event_time": NOON + timedelta(seconds=30)}
    assert alerts_of(detector.by_card, {}, {**flown, "event_time": NOON + timedelta(hours=6.5)}) == []
    assert alerts_of(detector.by_card, {}, near) == []
    assert rules(alerts_of(detector.by_card, {}, flown)) == ["impossible_travel"]


def test_online_purchases_have_no_place_to_travel_from(alerts_of):
    online = {"latitude": None, "longitude": None, "event_time": NOON + timedelta(minutes=1)}
    assert alerts_of(detector.by_card, {}, online) == []


def test_terminal_burst_counts_cards_far_from_where_they_have_been(alerts_of):
    away = [{"card_id": f"c{number}", "latitude": NEW_YORK[0], "longitude": NEW_YORK[1]} for number in range(3)]
    assert rules(alerts_of(detector.by_terminal, *away)) == ["terminal_burst"]
    assert alerts_of(detector.by_terminal, *away[:2], {"card_id": "c2"}) == []


def test_a_terminal_s_burst_of_thousands_is_an_alert_that_kafka_takes(alerts_of):
    ids = [f"{number:064}" for number in range(2_000)]
    burst_of = ({"card_id": name, "transaction_id": name, "amount": 300.0} for name in ids[::-1])
    alerts = alerts_of(detector.by_terminal, *burst_of)
    assert rules(alerts) == ["terminal_burst"]
    for alert in alerts:
        event_ids = json.loads(alert.event)
        assert event_ids == ids[: len(event_ids)] and 1_000 < len(event_ids) < 2_000
        assert alert.score == 2_000 and f"{len(event_ids)} of 2000 events are named" in alert.reasons


@pytest.mark.parametrize(("cards", "is_caught"), [(2, False), (3, True)])
def test_terminal_burst_counts_different_cards_with_unusual_amounts(alerts_of, cards, is_caught):
    unusual = [{"card_id": f"c{number}", "amount": 300.0} for number in range(cards)]
    ordinary = [{"card_id": f"d{number}"} for number in range(5)]
    alerts = alerts_of(detector.by_terminal, *unusual, *unusual, *ordinary)
    assert rules(alerts) == (["terminal_burst"] if is_caught else [])
    assert {alert.entity_id for alert in alerts} == ({"m1"} if is_caught else set())


def test_a_replay_makes_the_same_alert_ids(alerts_of):
    first, second = (alerts_of(detector.by_card, *burst(7)) for _ in range(2))
    assert [alert.alert_id for alert in first] == [alert.alert_id for alert in second]


def test_distance_follows_the_great_circle(spark):
    known = spark.createDataFrame(
        [(51.5, -0.1, 40.7, -74.0), (0.0, 0.0, 0.0, 180.0), (10.0, 10.0, 10.0, 10.0)], "a double, b double, c double, d double"
    )
    distances = [row[0] for row in known.select(detector.distance_km(F.col("a"), F.col("b"), F.col("c"), F.col("d"))).collect()]
    assert distances == [pytest.approx(5572, rel=0.01), pytest.approx(20015, rel=0.001), 0.0]
