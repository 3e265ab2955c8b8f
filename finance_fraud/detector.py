"""The rules of card fraud: what each scores, and which rows or window it reads.

Per event (real-time mode, milliseconds): the transaction joined with its card's and terminal's baselines, and the model.
Per card and window (real-time mode, RocksDB state): the set of the card's distinct transactions within an event-time
window. It speaks at every event; a transaction sent twice counts once, as it is a set.
Per terminal and window (real-time mode, RocksDB state): transactions that stand out for their own cards, gathered.
"""

from collections.abc import Callable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.columns import let
from common.rules import Rule, judge
from common.vertical import Query, Scenario
from finance_fraud.settings import FraudSettings

EARTH_RADIUS_KM = 6371.0088


def model_score(settings: FraudSettings) -> Column:
    """Probability of fraud, 0 to 1, by the model in force over the transaction and its baselines. Per event."""
    return F.col("model_score")


def amount_outlier(settings: FraudSettings) -> Column:
    """Standard deviations that the amount lies above the card's own 30 days, in logarithms. Per event.

    Amounts spread in proportion, hence logarithms. The card's deviation is drawn towards what is usual for cards
    (`usual_spread`, as if seen in ten more transactions), so that few or equal amounts promise no certainty. Where the
    card has been within 30 days one deviation less counts. Null for a card with fewer than `min_history` transactions, as
    a new card has no habit to leave, and for less than `least_ratio` times its mean: who always spends alike is free to
    spend thrice that once.
    """
    count, prior = F.col("card_count_30d"), 10.0
    variance = (count * F.col("card_log_amount_std_30d") ** 2 + prior * settings.usual_spread**2) / (count + prior)
    deviations = (log_amount() - F.col("card_log_amount_mean_30d")) / F.sqrt(variance)
    known_place = F.coalesce(F.array_contains("card_terminals_30d", F.col("terminal_id")), F.lit(False))
    is_large = F.col("amount") >= settings.least_ratio * F.col("card_amount_mean_30d")
    return F.when((count >= settings.min_history) & is_large, deviations - F.when(known_place, 1.0).otherwise(0.0))


def unseen_region(settings: FraudSettings) -> Column:
    """Distance in km from the card's home beyond the farthest it has been in 30 days; card present only. Per event."""
    distance = distance_km(
        F.col("latitude"), F.col("longitude"), F.col("card_home_latitude"), F.col("card_home_longitude"))
    return F.when(F.col("card_count_30d") >= settings.min_history, distance - F.col("card_max_distance_km_30d"))


def terminal_risk(settings: FraudSettings) -> Column:
    """Share of frauds among the terminal's transactions over 7 days, known with the labels' 7-day delay. Per event."""
    return F.when(F.col("terminal_count_7d") >= settings.min_terminal_history, F.col("terminal_risk_7d"))


def velocity(settings: FraudSettings) -> Column:
    """Most transactions of the card within `burst_minutes`, exact sliding, tiny ones aside. Per card and window.

    Windows of `card_window` every `card_slide` overlap by more than a burst lasts (FraudSettings sees to that), so none is
    cut; a burst in the overlap is reported by both windows.
    """
    return F.size("burst").cast("double")


def card_testing(settings: FraudSettings) -> Column:
    """Most transactions of less than `tiny_amount` within `testing_minutes`, exact sliding. Per card and window, as velocity."""
    return F.size("tests").cast("double")


def spree(settings: FraudSettings) -> Column:
    """Most transactions of the card within `spree_minutes` that are each `spree_ratio` times its 30-day median or more.

    The median, as the first sprees on a card that leaked have moved its mean. Exact sliding inside the window. Per card and
    window, as velocity; but a spree may last longer than two windows overlap: one across a border may lose its first
    purchases, and with them be missed.
    """
    return F.size("purchases").cast("double")


def impossible_travel(settings: FraudSettings) -> Column:
    """Highest speed in km/h between two successive places of the card, exact within its window. Per card and window.

    Pairs up to the overlap of two windows apart (`card_window` - `card_slide`) are always seen together. Two places less
    than `min_travel_km` apart say nothing, and no pair is taken as less than a minute apart.
    """
    return F.col("journey.kmh")


def terminal_burst(settings: FraudSettings) -> Column:
    """Different cards at one terminal with an amount or at a place far beyond their habit. Per terminal and window.

    Windows of `terminal_window` every `terminal_slide` (hopping): what happens within their overlap is always seen whole,
    and is reported by both.
    """
    return F.size("cards").cast("double")


def its_id(settings: FraudSettings) -> Column:
    return F.col("transaction_id")


PER_EVENT = (
    Rule("model_score", model_score, "model_score",
         lambda s: F.format_string("model gives %.2f", "model_score"), its_id, critical_at=1.5),
    Rule("amount_outlier", amount_outlier, "amount_zscore",
         lambda s: F.format_string("%.2f where the card's mean is %.2f", "amount", "card_amount_mean_30d"), its_id,
         critical_at=1.5),
    Rule("unseen_region", unseen_region, "unseen_region_km",
         lambda s: F.format_string("%.0f km beyond anywhere in 30 days", unseen_region(s)), its_id),
    Rule("terminal_risk", terminal_risk, "terminal_risk",
         lambda s: F.format_string("%.0f%% of the terminal's transactions were fraud", 100 * F.col("terminal_risk_7d")), its_id),
)
BY_CARD = (
    Rule("velocity", velocity, "velocity",
         lambda s: F.format_string("%.0f transactions in %s minutes", velocity(s), F.lit(str(s.burst_minutes))),
         lambda s: _ids("burst")),
    Rule("card_testing", card_testing, "card_testing",
         lambda s: F.format_string("%.0f tiny amounts in %s minutes", card_testing(s), F.lit(str(s.testing_minutes))),
         lambda s: _ids("tests")),
    Rule("spree", spree, "spree",
         lambda s: F.format_string("%.0f large amounts in %s minutes", spree(s), F.lit(str(s.spree_minutes))),
         lambda s: _ids("purchases")),
    Rule("impossible_travel", impossible_travel, "travel_kmh",
         lambda s: F.format_string("%.0f km/h between two places", impossible_travel(s)),
         lambda s: _ids("journey.places")),
)
BY_TERMINAL = (
    Rule("terminal_burst", terminal_burst, "terminal_burst",
         lambda s: F.format_string("%d cards far beyond their habits", F.size("cards")),
         lambda s: F.to_json(F.sort_array("transaction_ids"))),
)


def per_event(transactions: DataFrame, settings: FraudSettings) -> DataFrame:
    """Alerts of the rules that need one transaction and what batch learnt."""
    return judge(transactions, PER_EVENT, settings, vertical="finance_fraud", entity="card_id", subject=F.col("transaction_id"))


def by_card(transactions: DataFrame, settings: FraudSettings) -> DataFrame:
    """Alerts over a card's transactions within a window, from an event-time sorted set of them."""
    windows = (
        transactions.withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", settings.card_window, settings.card_slide), "card_id")
        .agg(
            # Sorted within the aggregation: of a column made after it, the optimizer would sort anew at every mention.
            let(F.sort_array(F.collect_set(F.struct(
                "event_time", "transaction_id", "amount", "latitude", "longitude", _is_large(settings).alias("is_large"),
            ))), _one_each).alias("transactions"),
            F.max("ingest_time").alias("ingest_time"),
        )
    )
    found = windows.select(
        "*",
        F.element_at("transactions", -1).event_time.alias("event_time"),
        _largest_burst(lambda one: one.amount >= settings.tiny_amount, settings.burst_minutes).alias("burst"),
        _largest_burst(lambda one: one.amount < settings.tiny_amount, settings.testing_minutes).alias("tests"),
        _largest_burst(lambda one: one.is_large, settings.spree_minutes).alias("purchases"),
        _fastest_journey(settings).alias("journey"),
    )
    return judge(found, BY_CARD, settings, vertical="finance_fraud", entity="card_id", subject=_subject("card_id"))


def by_terminal(transactions: DataFrame, settings: FraudSettings) -> DataFrame:
    """Alerts over the unusual transactions at a terminal within a window."""
    is_unusual = (amount_outlier(settings) >= settings.burst_zscore) | (unseen_region(settings) >= settings.burst_region_km)
    days = (
        transactions.where(is_unusual)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", settings.terminal_window, settings.terminal_slide), "terminal_id")
        .agg(
            F.collect_set("card_id").alias("cards"),
            F.collect_set("transaction_id").alias("transaction_ids"),
            F.max("event_time").alias("event_time"),
            F.max("ingest_time").alias("ingest_time"),
        )
    )
    return judge(days, BY_TERMINAL, settings, vertical="finance_fraud", entity="terminal_id", subject=_subject("terminal_id"))


def log_amount() -> Column:
    """Natural logarithm of the amount; below a cent, of a cent."""
    return F.log(F.greatest(F.col("amount"), F.lit(0.01)))


def distance_km(latitude_a: Column, longitude_a: Column, latitude_b: Column, longitude_b: Column) -> Column:
    """Great-circle distance by the haversine formula, degrees in, km out; null when any of them is."""
    half_latitude = F.sin(F.radians(latitude_b - latitude_a) / 2)
    half_longitude = F.sin(F.radians(longitude_b - longitude_a) / 2)
    chord = half_latitude**2 + F.cos(F.radians(latitude_a)) * F.cos(F.radians(latitude_b)) * half_longitude**2
    # Rounding may take the chord beyond 1. Not `least`: it skips nulls, and an unknown place would be half a world away.
    return 2 * EARTH_RADIUS_KM * F.asin(F.sqrt(F.when(chord > 1, 1.0).otherwise(chord)))


def _is_large(settings: FraudSettings) -> Column:
    """Never so where the card has no habit."""
    usual = F.when(F.col("card_count_30d") >= settings.min_history, F.col("card_amount_median_30d"))
    return F.coalesce(F.col("amount") >= settings.spree_ratio * usual, F.lit(False))


def _one_each(transactions: Column) -> Column:
    """Of a sorted set, one element a transaction: sent again under other baselines it is there twice, and large if either is."""
    def is_last(one: Column, number: Column) -> Column:
        following = F.get(transactions, number + 1)
        return ~(one.event_time.eqNullSafe(following.event_time) & one.transaction_id.eqNullSafe(following.transaction_id))

    return F.when(F.size(transactions) == 1, transactions).otherwise(F.filter(transactions, is_last))


def _largest_burst(which: Callable[[Column], Column], minutes: float) -> Column:
    """Of the stretches of `minutes` that end with a transaction, the one with the most of `which`; null where there are none."""
    transactions = F.col("transactions")

    def ending_with(last: Column, counted: Column) -> Column:
        return F.filter(counted, lambda other: (other.event_time <= last.event_time)
                        & (F.unix_millis(last.event_time) - F.unix_millis(other.event_time) < minutes * 60_000))

    def largest(counted: Column) -> Column:
        bursts = F.transform(counted, lambda last: ending_with(last, counted))
        return F.array_max(F.transform(bursts, lambda burst: F.struct(F.size(burst).alias("size"), burst.alias("burst")))).burst

    # Every event is judged in one or two windows, and most windows hold nothing else: these are not worth a search.
    alone = F.when(which(transactions[0]), transactions)
    return F.when(F.size(transactions) == 1, alone).otherwise(let(F.filter(transactions, which), largest))


def _successive_places() -> Column:
    """Pairs a, b; null where there are fewer than two places."""
    def pairs(places: Column) -> Column:
        rest = F.size(places) - 1
        return F.when(rest > 0, F.arrays_zip(F.slice(places, 1, rest).alias("a"), F.slice(places, 2, rest).alias("b")))
    return let(F.filter(F.col("transactions"), lambda transaction: transaction.latitude.isNotNull()), pairs)


def _fastest_journey(settings: FraudSettings) -> Column:
    """Between two successive places: its kmh and the two transactions; null without any that says something."""
    journeys = F.transform(_successive_places(), lambda pair: F.struct(
        _speed_kmh(pair.a, pair.b, settings.min_travel_km).alias("kmh"), F.array(pair.a, pair.b).alias("places")))
    fastest = F.array_max(F.filter(journeys, lambda journey: journey.kmh.isNotNull()))
    return F.when(F.size("transactions") > 1, fastest)


def _ids(transactions: str) -> Column:
    return F.to_json(F.transform(transactions, lambda transaction: transaction.transaction_id))


def _speed_kmh(earlier: Column, later: Column, min_travel_km: float) -> Column:
    distance = distance_km(earlier.latitude, earlier.longitude, later.latitude, later.longitude)
    hours = F.greatest(F.unix_millis(later.event_time) - F.unix_millis(earlier.event_time), F.lit(60_000)) / 3_600_000
    return let(distance, lambda km: F.when(km >= min_travel_km, km / hours))


def _subject(key: str) -> Column:
    return F.concat_ws("|", F.col(key), F.col("window.start").cast("string"))


QUERIES = (
    Query("per_event", PER_EVENT, per_event, baselines=("card", "terminal"), model=True),
    Query("by_card", BY_CARD, by_card, baselines=("card",), stateful=True),
    Query("by_terminal", BY_TERMINAL, by_terminal, baselines=("card",), stateful=True),
)


def _amount() -> Column:
    return F.col("amount")


# A purchase's amount is what a plain threshold has to go by; for tests of stolen numbers, its smallness.
SCENARIOS = (
    Scenario("compromised_terminal", ("terminal_burst",), _amount),
    Scenario("leaked_card", ("spree",), _amount),
    Scenario("large_amount", ("amount_outlier",), _amount),
    Scenario("card_testing", ("card_testing",), lambda: -F.col("amount")),
    Scenario("velocity", ("velocity",), _amount),
    Scenario("impossible_travel", ("impossible_travel",), _amount),
)
