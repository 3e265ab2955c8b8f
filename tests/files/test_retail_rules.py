"""What each rule of the shop catches and what it leaves alone, on rows one can count."""

import json
from datetime import datetime, timedelta

import pytest
from pyspark.sql import functions as F

from retail_behavior import detector
from retail_behavior.settings import RetailSettings

pytestmark = pytest.mark.files

MIDNIGHT = datetime(2020, 3, 2)  # a Monday
NOON = MIDNIGHT + timedelta(hours=12)
SETTINGS = RetailSettings()
FLAT = [0.25] * 168
STOCK = {"on_hand": 40.0, "daily_units": 6.0, "variance_ratio": 2.0, "reorder_point": 10.0, "order_up_to": 50.0}
SCHEMA = (
    "event_id string, visitor_id string, session_id string, event_type string, product_id string, store_id string, "
    "quantity long, price double, channel string, stock_on_hand double, event_time timestamp, ingest_time timestamp, "
    "kafka_partition int, kafka_offset long, baseline_version string, orders_by_hour array<double>, units_by_hour array<double>, "
    "stock_as_of timestamp, recommended array<string>, stock_by_store map<string, struct<on_hand: double, daily_units: double, "
    "variance_ratio: double, reorder_point: double, order_up_to: double>>"
)
USUAL = {
    "visitor_id": "v1", "session_id": "s1", "event_type": "view", "product_id": "p1", "store_id": "m1", "quantity": 1,
    "price": 20.0, "channel": "direct", "stock_on_hand": None, "event_time": NOON, "ingest_time": NOON, "kafka_partition": 0,
    "baseline_version": "b1", "orders_by_hour": FLAT, "units_by_hour": FLAT, "stock_as_of": MIDNIGHT, "recommended": ["p2"],
    "stock_by_store": {"m1": STOCK},
}  # fmt: skip


@pytest.fixture
def alerts_of(spark):
    """Alerts of one query over events given as dictionaries; what they leave out is USUAL."""

    def run(query, *events):
        rows = [{"event_id": f"e{number}", "kafka_offset": number, **USUAL, **event} for number, event in enumerate(events)]
        return query(spark.createDataFrame(rows, SCHEMA), SETTINGS).collect()

    return run


def rules(alerts):
    return sorted({alert.rule for alert in alerts})


def views(gaps, start=NOON, **common):
    times = [start]
    for gap in gaps:
        times.append(times[-1] + timedelta(seconds=gap))
    return [{"event_time": time, **common} for time in times]


def shopping(*steps):
    """(minute, type, quantity, price) each."""
    return [
        {"event_time": NOON + timedelta(minutes=minute), "event_type": kind, "quantity": quantity, "price": price}
        for minute, kind, quantity, price in steps
    ]


def sales(count, quantity=1, minutes=2, **common):
    return [
        {"event_type": "purchase", "quantity": quantity, "session_id": f"s{number}",
         "event_time": NOON + timedelta(minutes=minutes * number), **common}
        for number in range(count)
    ]  # fmt: skip


def test_one_ordinary_event_raises_nothing(alerts_of):
    for query in (detector.by_visitor, detector.by_session, detector.by_product, detector.by_stock):
        assert alerts_of(query, {}) == []


def test_nulls_everywhere_raise_nothing(alerts_of):
    unknown = dict.fromkeys(("session_id", "store_id", "channel", "orders_by_hour", "units_by_hour", "stock_by_store",
                             "stock_as_of", "recommended", "baseline_version"))  # fmt: skip
    bought = [{**unknown, "event_type": "purchase", "event_id": f"n{number}"} for number in range(20)]
    for query in (detector.by_visitor, detector.by_session, detector.by_product, detector.by_stock):
        assert alerts_of(query, unknown, *bought) == []


@pytest.mark.parametrize(("count", "is_caught"), [(15, False), (16, True)])
def test_bot_counts_views_in_a_row_at_an_even_pace(alerts_of, count, is_caught):
    assert rules(alerts_of(detector.by_visitor, *views([5.0] * (count - 1)))) == (["bot"] if is_caught else [])


def test_bot_leaves_as_many_and_as_fast_but_uneven_views_alone(alerts_of):
    assert alerts_of(detector.by_visitor, *views([2, 5, 3, 9, 2, 7, 3, 8, 2, 6, 12, 3, 9, 4, 15, 2, 5, 9, 2, 6] * 3)) == []


def test_bot_leaves_purchases_of_a_shop_assistant_alone(alerts_of):
    assert alerts_of(detector.by_visitor, *views([5.0] * 30, event_type="purchase")) == []


def test_the_evidence_of_a_bot_is_its_streak(alerts_of):
    before, streak = views([40, 3, 90]), views([4.0] * 20, start=NOON + timedelta(minutes=10))
    alerts = alerts_of(detector.by_visitor, *before, *streak)
    assert {tuple(json.loads(alert.event)) for alert in alerts} == {tuple(f"e{number}" for number in range(4, 25))}
    assert {alert.score for alert in alerts} == {21.0}


def test_views_sent_twice_are_no_longer_streak(alerts_of):
    once = [{**view, "event_id": f"e{number}"} for number, view in enumerate(views([5.0] * 12))]
    assert alerts_of(detector.by_visitor, *once, *once) == []


def test_a_view_that_comes_late_takes_back_no_bot(alerts_of):
    [early, *_] = before = alerts_of(detector.by_visitor, *views([5.0] * 17))
    late = {"event_time": NOON + timedelta(seconds=41)}  # between two views, and neither gap is even any more
    after = alerts_of(detector.by_visitor, *views([5.0] * 17), late)
    assert {(alert.score, alert.event) for alert in after} == {(alert.score, alert.event) for alert in before}
    assert early.score == 18.0
    # Had it come in time there would have been no streak; and one that fills a gap is counted where it belongs.
    in_time = sorted([*views([5.0] * 17), late], key=lambda view: view["event_time"])
    assert alerts_of(detector.by_visitor, *in_time) == []
    gap = views([5.0] * 17)
    assert {alert.score for alert in alerts_of(detector.by_visitor, *gap[:9], *gap[10:], gap[9])} == {18.0}


def test_only_so_many_views_of_a_window_are_judged(alerts_of):
    assert {alert.score for alert in alerts_of(detector.by_visitor, *views([5.0] * 349))} == {300.0}


def test_a_slow_pace_is_a_streak_and_silence_ends_it(alerts_of):
    assert rules(alerts_of(detector.by_visitor, *views([100.0] * 18))) == ["bot"]
    assert alerts_of(detector.by_visitor, *views([130.0] * 18)) == []


def test_a_cart_left_is_worth_what_was_not_taken_out_again(alerts_of):
    put_in = [(0, "view", 1, 30.0), (1, "add_to_cart", 2, 30.0), (2, "add_to_cart", 1, 25.0)]
    steps = shopping(*put_in, (3, "remove_from_cart", 1, 25.0), (5, "view", 1, 9.0))
    [alert] = alerts_of(detector.by_session, *steps)
    assert (alert.rule, alert.score, alert.event, alert.entity_id) == ("cart_abandoned", 60.0, "e4", "v1")
    # It is known when the session has been silent for its gap, and that is the alert's time.
    assert alert.event_time == NOON + timedelta(minutes=35)


def test_a_cart_that_was_bought_or_emptied_or_is_small_is_left_alone(alerts_of):
    assert alerts_of(detector.by_session, *shopping((0, "add_to_cart", 3, 30.0), (29, "purchase", 3, 30.0))) == []
    assert alerts_of(detector.by_session, *shopping((0, "add_to_cart", 3, 30.0), (9, "remove_from_cart", 3, 30.0))) == []
    assert alerts_of(detector.by_session, *shopping((0, "add_to_cart", 1, 59.9))) == []


def test_what_is_taken_out_lessens_only_what_this_session_put_in(alerts_of):
    put_in, taken_out = shopping((0, "add_to_cart", 1, 80.0), (1, "remove_from_cart", 1, 30.0))
    [alert] = alerts_of(detector.by_session, put_in, {**taken_out, "product_id": "of yesterday's cart"})
    assert alert.score == 80.0
    # A price that changed in between leaves nothing in an empty cart.
    assert alerts_of(detector.by_session, *shopping((0, "add_to_cart", 9, 30.0), (1, "remove_from_cart", 9, 20.0))) == []


def test_a_purchase_after_the_gap_comes_too_late(alerts_of):
    alerts = alerts_of(detector.by_session, *shopping((0, "add_to_cart", 3, 30.0), (31, "purchase", 3, 30.0)))
    assert rules(alerts) == ["cart_abandoned"]


def test_looking_at_alerts_up_to_a_time_cuts_no_session(spark):
    rows = [
        {**USUAL, **step, "event_id": f"e{number}", "kafka_offset": number}
        for number, step in enumerate(shopping((0, "add_to_cart", 3, 30.0), (20, "purchase", 3, 30.0)))
    ]
    alerts = detector.by_session(spark.createDataFrame(rows, SCHEMA), SETTINGS)
    assert alerts.where(F.col("event_time") <= F.lit(NOON + timedelta(minutes=40))).collect() == []


def test_a_visitors_session_goes_on_under_another_session_id(alerts_of):
    added, bought = shopping((0, "add_to_cart", 3, 30.0), (20, "purchase", 3, 30.0))
    assert alerts_of(detector.by_session, added, {**bought, "session_id": "s2"}) == []
    assert rules(alerts_of(detector.by_session, added, {**bought, "visitor_id": "v2"})) == ["cart_abandoned"]


# Six hours at a quarter of an order each: 1.5 are forecast.
@pytest.mark.parametrize(("orders", "is_caught"), [(10, False), (11, True)])
def test_a_demand_spike_is_far_above_the_forecast(alerts_of, orders, is_caught):
    assert rules(alerts_of(detector.by_product, *sales(orders))) == (["demand_spike"] if is_caught else [])


def test_the_same_orders_where_more_are_forecast_are_no_spike(alerts_of):
    assert alerts_of(detector.by_product, *sales(13, orders_by_hour=[1.0] * 168)) == []


def test_a_forecast_is_read_by_the_hour_of_the_week(alerts_of):
    busy_monday = [6.0] * 24 + [0.25] * 144
    assert alerts_of(detector.by_product, *sales(20, orders_by_hour=busy_monday)) == []
    tuesday = [{**sale, "event_time": sale["event_time"] + timedelta(days=1)} for sale in sales(20, orders_by_hour=busy_monday)]
    assert rules(alerts_of(detector.by_product, *tuesday)) == ["demand_spike"]


def test_a_bulk_order_and_an_order_of_many_lines_are_one_order(alerts_of):
    assert alerts_of(detector.by_product, *sales(2, quantity=500)) == []
    assert alerts_of(detector.by_product, *sales(30, session_id="s1")) == []


def test_sessions_of_one_name_are_orders_of_each_visitor(alerts_of):
    orders = [{**sale, "session_id": "1", "visitor_id": f"v{number}"} for number, sale in enumerate(sales(20))]
    assert rules(alerts_of(detector.by_product, *orders)) == ["demand_spike"]


def test_few_orders_of_what_is_never_sold_are_no_spike(alerts_of):
    assert alerts_of(detector.by_product, *sales(5, orders_by_hour=[0.0] * 168)) == []


def test_a_window_keeps_the_forecast_that_it_began_with(alerts_of):
    first, later = sales(8), sales(14, baseline_version="b2", orders_by_hour=[3.0] * 168)[8:]
    alerts = alerts_of(detector.by_product, *first, *later)
    assert {alert.versions.baseline for alert in alerts} >= {"b1"}
    assert max(alert.score for alert in alerts) > SETTINGS.demand_zscore


def test_orders_sent_twice_count_once_and_are_the_evidence(alerts_of):
    once = [{**sale, "event_id": f"o{number:02d}"} for number, sale in enumerate(sales(8))]
    assert alerts_of(detector.by_product, *once, *once) == []
    alerts = alerts_of(detector.by_product, *[{**sale, "event_id": f"o{number:02d}"} for number, sale in enumerate(sales(14))])
    assert json.loads(alerts[0].event) == [f"o{number:02d}" for number in range(14)]
    assert {alert.entity_id for alert in alerts} == {"p1"}


@pytest.mark.parametrize(("sold", "is_caught"), [(29, False), (30, True)])
def test_reorder_point_counts_down_from_the_mornings_stock(alerts_of, sold, is_caught):
    alerts = alerts_of(detector.by_stock, *sales(1, quantity=sold))
    assert rules(alerts) == (["reorder_point"] if is_caught else [])
    assert all(alert.entity_id == "m1/p1" and "order 40" in alert.reasons for alert in alerts)


def test_a_restock_raises_the_position_and_its_count_is_believed(alerts_of):
    restock = {"event_type": "restock", "quantity": 20, "event_time": NOON - timedelta(hours=2)}
    assert alerts_of(detector.by_stock, restock) == []  # nothing is judged before a sale
    assert alerts_of(detector.by_stock, restock, *sales(1, quantity=46)) == []
    # 40 and 20 make 60, yet 48 were counted on the shelf: something was lost.
    assert rules(alerts_of(detector.by_stock, {**restock, "stock_on_hand": 48.0}, *sales(1, quantity=46))) == [
        "reorder_point",
        "stock_out_risk",
    ]


def test_a_sale_sent_twice_leaves_stock_once_and_only_its_own_store_counts(alerts_of):
    sale = {**sales(1, quantity=20)[0], "event_id": "o1"}
    assert alerts_of(detector.by_stock, sale, sale) == []
    assert alerts_of(detector.by_stock, sale, {**sale, "event_id": "o2", "store_id": "m2"}) == []
    assert rules(alerts_of(detector.by_stock, sale, {**sale, "event_id": "o2"})) == ["reorder_point", "stock_out_risk"]


def test_sales_before_the_count_are_in_it(alerts_of):
    before = [{**sale, "event_time": sale["event_time"] - timedelta(days=1)} for sale in sales(1, quantity=30)]
    assert alerts_of(detector.by_stock, *before, *sales(1, quantity=5)) == []


def test_a_newer_baseline_takes_over_with_its_own_count(alerts_of):
    old = {**sales(1, quantity=31)[0], "event_id": "o1"}
    newer = {"stock_as_of": MIDNIGHT + timedelta(days=1), "baseline_version": "b2",
             "stock_by_store": {"m1": {**STOCK, "on_hand": 15.0}}}  # fmt: skip
    tomorrow = {**old, **newer, "event_time": NOON + timedelta(days=1), "quantity": 4, "event_id": "o2"}
    # 15 - 4 is enough, and what the older baseline said of yesterday stays as it was said.
    [before] = alerts_of(detector.by_stock, old)
    assert alerts_of(detector.by_stock, old, tomorrow) == [before]
    alert_by_version = {
        alert.versions.baseline: alert for alert in alerts_of(detector.by_stock, old, {**tomorrow, "quantity": 5})
    }
    assert set(alert_by_version) == {"b1", "b2"} and alert_by_version["b1"] == before
    assert (alert_by_version["b2"].event, alert_by_version["b2"].score) == ('["o2"]', 1.0)


def test_a_newer_baseline_counts_what_moved_before_it_was_there(alerts_of):
    # Counted in the morning, published at night: the sale at noon was judged by the baseline before it, and is gone all the same.
    older = {"stock_as_of": MIDNIGHT - timedelta(days=1), "baseline_version": "b0",
             "stock_by_store": {"m1": {**STOCK, "on_hand": 90.0}}}  # fmt: skip
    noon = {**sales(1, quantity=28)[0], **older, "event_id": "o1"}
    night = {**sales(1, quantity=3)[0], "event_id": "o2", "event_time": NOON + timedelta(hours=10)}
    [alert] = alerts_of(detector.by_stock, noon, night)
    assert (alert.versions.baseline, alert.event, alert.score) == ("b1", '["o2"]', 10 / 9)


# Six units a day: what is left is enough for the next of them or not.
@pytest.mark.parametrize(("units_left", "is_caught"), [(8, False), (6, True), (0, True)])
def test_stock_out_risk_compares_what_is_left_with_the_hours_ahead(alerts_of, units_left, is_caught):
    alerts = alerts_of(detector.by_stock, *sales(1, quantity=40 - units_left))
    assert ("stock_out_risk" in rules(alerts)) == is_caught
    if is_caught:
        assert f"{units_left} left, enough for {units_left * 4.0:.1f} hours" in {alert.reasons for alert in alerts}


def test_stock_out_risk_knows_when_nobody_buys(alerts_of):
    by_day = ([0.0] * 8 + [1.0] * 12 + [0.0] * 28) * 3 + [0.0] * 24
    morning = [{**sale, "event_time": MIDNIGHT + timedelta(hours=8)} for sale in sales(1, quantity=36, units_by_hour=by_day)]
    evening = [{**sale, "event_time": MIDNIGHT + timedelta(hours=20)} for sale in sales(1, quantity=36, units_by_hour=by_day)]
    assert "stock_out_risk" in rules(alerts_of(detector.by_stock, *morning))
    assert "stock_out_risk" not in rules(alerts_of(detector.by_stock, *evening))


def test_what_is_seldom_sold_and_sold_beyond_its_count_is_told_in_words(alerts_of):
    seldom = {"stock_by_store": {"m1": {**STOCK, "on_hand": 1.0, "daily_units": 0.0, "reorder_point": 0.2}}}
    [alert] = alerts_of(detector.by_stock, *sales(1, quantity=2, **seldom))
    assert (alert.rule, alert.reasons) == ("stock_out_risk", "-1 left")
    reasons = {alert.rule: alert.reasons for alert in alerts_of(detector.by_stock, *sales(1, quantity=43))}
    assert reasons["stock_out_risk"] == "-3 left, enough for 0.0 hours"


def test_a_restock_that_comes_late_takes_back_no_alert_and_counts_from_then_on(alerts_of):
    [sale], [next_sale] = sales(1, quantity=35), sales(1, quantity=1, event_time=NOON + timedelta(hours=2))
    restock = {"event_type": "restock", "quantity": 50, "event_time": NOON - timedelta(hours=1)}
    at = [{"ingest_time": NOON + timedelta(hours=hours), "event_id": f"o{hours}"} for hours in range(3)]
    scores = {alert.rule: alert.score for alert in alerts_of(detector.by_stock, {**sale, **at[0]})}
    assert set(scores) == {"reorder_point", "stock_out_risk"}
    late = alerts_of(detector.by_stock, {**sale, **at[0]}, {**restock, **at[1]}, {**next_sale, **at[2]})
    assert {alert.rule: alert.score for alert in late} == scores and {alert.event for alert in late} == {'["o0"]'}
    # In time it keeps the position up, sent twice or not.
    assert (
        alerts_of(detector.by_stock, {**restock, **at[0]}, {**restock, **at[0], **at[1], "event_id": "o0"}, {**sale, **at[2]})
        == []
    )


def test_a_sale_that_is_sent_again_later_counts_once(alerts_of):
    [sale] = sales(1, quantity=20)
    assert (
        alerts_of(
            detector.by_stock, {**sale, "event_id": "o1"}, {**sale, "event_id": "o1", "ingest_time": NOON + timedelta(hours=1)}
        )
        == []
    )


def test_a_threshold_below_the_reorder_point_is_heard(spark):
    rows = [{"event_id": "e0", "kafka_offset": 0, **USUAL, **sales(1, quantity=25)[0]}]
    alerts = detector.by_stock(spark.createDataFrame(rows, SCHEMA), RetailSettings(reorder_ratio=0.6)).collect()
    assert [(alert.rule, alert.event) for alert in alerts] == [("reorder_point", '["e0"]')]


def test_stock_out_risk_looks_as_far_ahead_as_it_is_asked_to(spark):
    # 20 left, well above the reorder point for a day, where six a day go.
    rows = [{"event_id": "e0", "kafka_offset": 0, **USUAL, **sales(1, quantity=20)[0]}]
    alerts = {hours: detector.by_stock(spark.createDataFrame(rows, SCHEMA), RetailSettings(risk_hours=hours)).collect()
            for hours in (24, 168)}  # fmt: skip
    assert alerts[24] == []
    assert [(alert.rule, alert.event) for alert in alerts[168]] == [("stock_out_risk", '["e0"]')]


def test_a_replay_makes_the_same_alert_ids(alerts_of):
    first, second = ({alert.alert_id for alert in alerts_of(detector.by_product, *sales(15))} for _ in range(2))
    assert first == second


def test_recommendations_go_with_views_and_purchases_only(alerts_of):
    others = [{"event_type": "add_to_cart"}, {"event_type": "restock"}, {"recommended": None}, {"recommended": []}]
    rows = alerts_of(detector.recommendations, {}, {"event_type": "purchase"}, *others)
    assert [(row.entity_id, row.event_id, row.product_id, row.recommended) for row in rows] == [
        ("v1", "e0", "p1", ["p2"]),
        ("v1", "e1", "p1", ["p2"]),
    ]
