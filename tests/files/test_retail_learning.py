"""What batch learns of the shop: sessions so far as they were served, stock and demand as they were known, customers, pairs."""

from datetime import UTC, date, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import functions as F

from common.charts import draw_all
from retail_behavior.baselines import baselines
from retail_behavior.features import FEATURES, purchase_labels, running_sessions, sessions_so_far, with_features
from retail_behavior.planning.bought_together import recommended_products
from retail_behavior.planning.stock_plan import BACKTEST_SCHEMA, backtest_forecast, plan_stock
from retail_behavior.settings import RetailSettings
from retail_behavior.trends import CHARTS, abandonment, segments, sessions_of, trends

pytestmark = pytest.mark.files

TODAY = date(2020, 3, 2)  # a Monday
MIDNIGHT = datetime(2020, 3, 2, tzinfo=UTC)
SCHEMA = (
    "event_id string, visitor_id string, session_id string, event_type string, product_id string, store_id string, "
    "quantity long, price double, channel string, stock_on_hand double, event_time timestamp, ingest_time timestamp, "
    "kafka_partition int, kafka_offset long, baseline_version string, "
    "visitor_sessions_30d long, visitor_buying_sessions_30d long, visitor_spend_30d double"
)
LABELS = "event_id string, entity_id string, scenario string, case_id string, event_time timestamp, known_time timestamp"
ALERTS = "alert_id string, rule string, event_time timestamp"
SETTINGS = RetailSettings()


@pytest.fixture
def events(spark):
    """A table of events given as dictionaries, in their order of arrival."""

    def make(*rows):
        usual = dict.fromkeys(column.split()[0] for column in SCHEMA.split(", "))
        usual |= {
            "visitor_id": "v1", "session_id": "s1", "event_type": "view", "product_id": "p1", "store_id": "m1", "quantity": 1,
            "price": 10.0, "channel": "email", "event_time": MIDNIGHT + timedelta(hours=9), "ingest_time": MIDNIGHT,
            "kafka_partition": 0, "baseline_version": "b1", "visitor_sessions_30d": 4, "visitor_buying_sessions_30d": 1,
            "visitor_spend_30d": 50.0,
        }  # fmt: skip
        table = [{**usual, "event_id": f"e{number}", "kafka_offset": number, **row} for number, row in enumerate(rows)]
        return spark.createDataFrame(table, SCHEMA)

    return make


def at(seconds):
    return MIDNIGHT + timedelta(hours=9, seconds=seconds)


SESSION = (
    {"event_time": at(0), "price": 30.0},
    {"event_time": at(60), "product_id": "p2"},
    {"event_time": at(90), "product_id": "p2", "event_type": "add_to_cart", "quantity": 2},
    {"event_time": at(30), "product_id": "p1"},  # came late
    {"event_time": at(150), "product_id": "p2", "event_type": "purchase", "quantity": 2},
)
HABITS = ("visitor_sessions_30d", "visitor_buying_sessions_30d", "visitor_spend_30d")


def only_row(rows):
    [row] = rows.collect()
    return row


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_training_sees_a_session_as_it_was_served_event_by_event(events, count):
    in_serving = only_row(with_features(running_sessions(events(*SESSION[:count]), SETTINGS)).select(*FEATURES))
    history = sessions_so_far(events(*SESSION)).withColumns(dict(zip(HABITS, (F.lit(4), F.lit(1), F.lit(50.0)), strict=True)))
    in_training = only_row(with_features(history).where(F.col("event_id") == f"e{count - 1}").select(*FEATURES))
    assert in_training == in_serving


def test_training_knows_a_channel_from_the_event_on_that_told_it(events):
    events_without_channel = ({**SESSION[0], "channel": None}, *SESSION[1:4])
    for count, by_email in ((1, 0.0), (2, 1.0)):
        in_serving = only_row(with_features(running_sessions(events(*events_without_channel[:count]), SETTINGS)))
        history = sessions_so_far(events(*events_without_channel)).withColumns({name: F.lit(None) for name in HABITS})
        in_training = only_row(with_features(history).where(F.col("event_id") == f"e{count - 1}"))
        assert (in_serving.by_email, in_training.by_email) == (by_email, by_email)


def test_a_session_that_sees_two_baselines_keeps_the_later_whole(events):
    later = {"baseline_version": "b2", "visitor_sessions_30d": 2, "visitor_buying_sessions_30d": 2, "visitor_spend_30d": 9.0}
    row = only_row(running_sessions(events(SESSION[0], {**SESSION[1], **later}), SETTINGS))
    assert {name: row[name] for name in later} == later


def test_features_say_what_one_can_count(events):
    row = only_row(with_features(running_sessions(events(*SESSION[:4]), SETTINGS)))
    assert (row.views, row.adds, row.removes, row.distinct_products, row.cart_value) == (3, 1, 0, 2, 20.0)
    assert (row.minutes_so_far, row.seconds_per_view, row.ends_with_add, row.hour_of_day) == (1.5, 30.0, 1.0, 9.0)
    assert (row.by_email, row.by_search, row.is_weekend) == (1.0, 0.0, 0.0)
    assert (row.earlier_sessions, row.earlier_buys_share) == (4.0, 0.25)
    assert (row.repeated_share, row.mean_price) == (0.5, 15.0)


def test_a_session_that_bought_is_scored_no_more_and_knows_the_newest_place(events):
    assert running_sessions(events(*SESSION), SETTINGS).collect() == []
    row = only_row(running_sessions(events(*SESSION[:4]), SETTINGS))
    assert (row.kafka_partition, row.kafka_offset, row.baseline_version) == (0, 3, "b1")


def test_an_unknown_visitor_has_features_without_nulls(events):
    stranger = dict.fromkeys((*HABITS, "channel", "baseline_version"))
    row = only_row(with_features(running_sessions(events({**SESSION[0], **stranger}), SETTINGS)).select(*FEATURES))
    assert None not in row.asDict().values() and row.earlier_spend == 0.0


def test_an_event_sent_twice_changes_no_feature(events):
    twice = [{**step, "event_id": f"e{number}"} for number, step in enumerate(SESSION[:4])]
    step_lists = (twice, [*twice, twice[2]])
    once, again = (only_row(with_features(running_sessions(events(*steps), SETTINGS)).select(*FEATURES)) for steps in step_lists)
    assert once == again


def test_a_label_says_whether_the_session_went_on_to_buy(events, spark):
    other = {"event_time": at(10), "session_id": "s2", "visitor_id": "v2"}
    labels = purchase_labels(events(*SESSION, other), spark.createDataFrame([], LABELS))
    label_by_id = {row.event_id: row.label for row in labels.collect()}
    assert label_by_id == {"e0": 1, "e1": 1, "e2": 1, "e3": 1, "e5": 0}


def shop(days, swing=0, seed=5):
    """Four weeks and more of sales and restocks: p1 sells ten a day at noon, p2 two; counted at 100 ten days before TODAY.

    Of each, `swing` more on odd days and less on even ones.
    """
    rng, rows = np.random.default_rng(seed), []
    for back in range(days, 0, -1):
        day = MIDNIGHT - timedelta(days=back)
        for product, units in (("p1", 10), ("p2", 2)):
            today = units + swing * (1 if back % 2 else -1)
            noon = [day + timedelta(hours=12, seconds=int(rng.integers(3_600))) for _ in range(today)]
            sale = {"event_type": "purchase", "product_id": product}
            rows += [{**sale, "event_time": time, "session_id": f"{product}{time}"} for time in noon]
        if back == 10:
            rows.append({"event_type": "restock", "product_id": "p1", "session_id": None, "visitor_id": "m1", "quantity": 60,
                         "stock_on_hand": 100.0, "event_time": day + timedelta(hours=18)})  # fmt: skip
    return rows


@pytest.fixture
def products(events, spark):
    rows = baselines(events(*shop(40)), spark.createDataFrame([], LABELS), [TODAY])["product"].collect()
    return {row.product_id: row for row in rows}


def test_a_product_is_known_by_its_forecast_and_its_stock(products):
    p1 = products["p1"]
    assert p1.forecast_units_7d == pytest.approx(70, rel=0.1)
    assert p1.forecast_low_7d < p1.forecast_units_7d < p1.forecast_high_7d
    assert len(p1.units_by_hour) == len(p1.orders_by_hour) == 168
    assert sum(p1.units_by_hour) == pytest.approx(p1.forecast_units_7d, rel=1e-6)
    assert p1.units_by_hour[12] == pytest.approx(10, rel=0.15) and p1.units_by_hour[3] == 0
    stock = p1.stock_by_store["m1"]
    # Counted at 100 in the evening of the tenth day before: nine days of ten went since.
    assert (stock.on_hand, stock.daily_units) == (10.0, 10.0)
    assert 10 < stock.reorder_point < 20 < stock.order_up_to
    assert p1.stock_as_of == datetime(2020, 3, 2)


def test_what_was_never_counted_has_no_position(products):
    assert products["p2"].stock_by_store is None
    assert products["p2"].forecast_units_7d == pytest.approx(14, rel=0.15)


def stock_of(events, spark, rows, product="p1"):
    products = baselines(events(*rows), spark.createDataFrame([], LABELS), [TODAY])["product"]
    return only_row(products.where(F.col("product_id") == product)).stock_by_store["m1"]


def test_a_restock_that_nobody_counted_is_in_stock_all_the_same(events, spark):
    restock = {"event_type": "restock", "product_id": "p1", "session_id": None, "visitor_id": "m1", "quantity": 25}
    uncounted = [{**restock, "event_time": MIDNIGHT - timedelta(days=days)} for days in (3, 12)]
    # Counted at 100 ten days ago: 90 went since, and what came before the count is in it.
    assert stock_of(events, spark, [*shop(40), *uncounted]).on_hand == 10.0 + 25


def test_only_a_restock_counts_stock(events, spark):
    sale = {"event_type": "purchase", "product_id": "p1", "stock_on_hand": 500.0, "event_time": MIDNIGHT - timedelta(days=2)}
    assert stock_of(events, spark, [*shop(40), sale]).on_hand == 9.0


def test_a_sale_of_the_same_moment_as_a_count_is_judged_alike_live_and_in_batch(events, spark):
    evening = MIDNIGHT - timedelta(days=10) + timedelta(hours=18)
    sale = {"event_type": "purchase", "product_id": "p1", "event_time": evening}
    assert stock_of(events, spark, [*shop(40), {**sale, "event_id": "zz"}]).on_hand == 9.0  # live takes it after the count
    assert stock_of(events, spark, [*shop(40), {**sale, "event_id": "a"}]).on_hand == 10.0


@pytest.mark.parametrize("days", [1, 5, 27])
def test_daily_units_are_of_the_days_that_are_known(events, spark, days):
    counted = {"event_type": "restock", "product_id": "p1", "session_id": None, "visitor_id": "m1", "stock_on_hand": 400.0,
               "event_time": MIDNIGHT - timedelta(days=days)}  # fmt: skip
    stock = stock_of(events, spark, [*shop(days), counted])
    assert stock.daily_units == 10.0 and 10 < stock.reorder_point < 20


def test_a_visitors_habits_are_of_thirty_days(events, spark):
    rows = [
        {"event_time": MIDNIGHT - timedelta(days=31), "event_type": "purchase", "session_id": "old"},
        {"event_time": MIDNIGHT - timedelta(days=3), "session_id": "a"},
        {"event_time": MIDNIGHT - timedelta(days=2), "event_type": "purchase", "quantity": 3, "session_id": "b"},
        {"event_time": MIDNIGHT + timedelta(hours=1), "event_type": "purchase", "session_id": "today"},
    ]
    row = only_row(baselines(events(*rows), spark.createDataFrame([], LABELS), [TODAY])["visitor"])
    assert (row.visitor_sessions_30d, row.visitor_buying_sessions_30d, row.visitor_spend_30d) == (2, 1, 30.0)


def test_what_goes_together_is_recommended_and_bots_do_not_vote(events):
    def views(session, *products):
        return [{"session_id": session, "product_id": product} for product in products]

    pairs = [view for number in range(30) for view in views(f"s{number}", "tea", "cup")]
    others = [view for number in range(60) for view in views(f"t{number}", "pen", f"x{number % 20}")]
    bots = [view for number in range(90) for view in views(f"b{number}", "tea", "pen", *map(str, range(12)))]
    recommended = {row.product_id: row.recommended for row in recommended_products(events(*pairs, *others, *bots)).collect()}
    assert (recommended["tea"], recommended["cup"]) == (["cup"], ["tea"])


def test_customers_fall_into_segments_of_which_the_first_spends_most(events):
    kinds = {"champion": (1, 20, 500.0), "regular": (10, 5, 60.0), "sleeper": (80, 2, 40.0), "once": (60, 1, 5.0)}
    rows = [
        {"visitor_id": f"{kind}{number}", "event_type": "purchase", "session_id": f"{kind}{number}-{order}",
         "price": price + number, "event_time": MIDNIGHT - timedelta(days=recency)}
        for kind, (recency, orders, price) in kinds.items() for number in range(10) for order in range(orders)
    ]  # fmt: skip
    assert segments(events(*rows).limit(2), TODAY).collect() == []
    rows_by_segment = segments(events(*rows), TODAY).orderBy("segment").collect()
    assert [row.customers for row in rows_by_segment] == [10, 10, 10, 10]
    assert rows_by_segment[0].median_orders == 20 and rows_by_segment[0].median_recency_days == 1
    assert [row.median_spent for row in rows_by_segment] == sorted((row.median_spent for row in rows_by_segment), reverse=True)


def test_trends_are_drawn_from_history(events, spark, tmp_path):
    visits = [{"session_id": f"w{day}-{number}", "event_time": MIDNIGHT - timedelta(days=day), "visitor_id": f"w{number}"}
              for day in range(1, 40) for number in range(3)]  # fmt: skip
    alerts = spark.createDataFrame([("a1", "bot", MIDNIGHT)], ALERTS)
    frames = trends(events(*shop(100, swing=1), *visits), spark.createDataFrame([], LABELS), alerts)
    tables = {name: rows.toPandas() for name, rows in frames.items()}
    yesterday = tables["funnel"][tables["funnel"]["day"] == TODAY - timedelta(days=1)].set_index("stage")["sessions"]
    assert yesterday.to_dict() == {"1 any": 17, "2 view": 3, "3 cart": 0, "4 purchase": 14}
    errors = tables["forecast_backtest"].set_index("method")["wrmsse"]
    assert set(errors.index) == {"model", "calendar_mean", "seasonal_naive"} and errors.notna().all()
    policy = tables["stock_policy"].set_index("product_id")
    assert (policy["nominal_cycle_service"] == 0.95).all() and (policy["realised_fill_rate"] > 0.9).all()
    drawn = draw_all(tables, CHARTS, tmp_path)
    assert {path.suffix for path in drawn} == {".png"} and len(drawn) >= len(CHARTS) - 2
    assert trends(events(*shop(1)).limit(0), spark.createDataFrame([], LABELS), alerts) == {}


def test_a_cart_that_was_emptied_is_not_left_behind(events, spark):
    add, remove = {"event_type": "add_to_cart", "quantity": 3, "price": 40.0}, {"event_type": "remove_from_cart", "price": 40.0}
    rows = [
        {**add, "session_id": "emptied"}, {**remove, "session_id": "emptied", "quantity": 3},
        {**add, "session_id": "left"}, {**remove, "session_id": "left", "quantity": 1},
        {**add, "session_id": "bought"}, {"event_type": "purchase", "session_id": "bought", "quantity": 3},
        {**add, "session_id": "left too", "product_id": "p2"}, {**remove, "session_id": "left too", "product_id": "p3"},
    ]  # fmt: skip
    measures = {row.measure: row.value for row in abandonment(sessions_of(events(*rows))).collect()}
    assert measures == {"share": 0.5, "left behind": pytest.approx((80 + 120) / 100_000)}


def test_a_policy_is_of_all_days_up_to_the_newest(spark):
    sales = pd.DataFrame({"product_id": "p", "day": [date(2020, 1, 1), date(2020, 1, 2)], "units": 10.0, "revenue": 50.0})
    assert plan_stock(sales, SETTINGS).iloc[0]["daily_units"] == 10
    assert plan_stock(sales, SETTINGS, date(2020, 1, 20)).iloc[0]["daily_units"] == 1


def test_realised_service_stands_beside_the_nominal():
    rng = np.random.default_rng(1)
    days = pd.date_range("2020-01-01", periods=200).date
    lumpy = rng.poisson(3, 200) + 40 * (rng.random(200) < 0.04)
    sales = pd.DataFrame({"product_id": "p", "day": days, "units": lumpy.astype(float), "revenue": lumpy * 5.0})
    row = plan_stock(sales[sales["units"] > 0], SETTINGS).iloc[0]
    assert row["realised_cycle_service"] < row["nominal_cycle_service"] == 0.95  # a normal formula does not know bulk orders
    assert 0.8 < row["realised_fill_rate"] <= 1 and row["cycles"] > 50


def test_a_short_history_is_backtested_by_weeks_and_a_shorter_one_not_at_all(spark):
    units = np.random.default_rng(1).poisson(8, 45).astype(float)
    days = pd.date_range("2020-01-01", periods=45).date
    sales = pd.DataFrame({"product_id": "p", "day": days, "units": units, "revenue": units})
    assert backtest_forecast(sales)["wrmsse"].notna().all() and len(backtest_forecast(sales)) == 3
    short = spark.createDataFrame(sales[:30]).groupBy("product_id").applyInPandas(backtest_forecast, BACKTEST_SCHEMA)
    assert short.collect() == []
