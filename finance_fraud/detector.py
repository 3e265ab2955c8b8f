"""Defines the rules of card fraud: what each scores, and which rows or window it reads.

Per event (real-time mode, milliseconds): the transaction joined with its card's and terminal's baselines, and the model.
Per card and window (real-time mode, RocksDB state): the set of the card's distinct transactions within an event-time
window, judged again at every event. As it is a set, a transaction that was sent twice counts once.
Per terminal and window (real-time mode, RocksDB state): the transactions that are unusual for their own cards.
"""

from collections.abc import Callable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.authoring import Query, Rule, Scenario, entity_and_window, judge, let
from finance_fraud.settings import FraudSettings

EARTH_RADIUS_KM = 6371.0088
PRIOR_TRANSACTIONS = 10.0  # that a card's spread of amounts is drawn towards `usual_spread` by


def model_score(settings: FraudSettings) -> Column:
    """Probability of fraud, 0 to 1, by the model in force over the transaction and its baselines. Per event."""
    return F.col("model_score")


def amount_outlier(settings: FraudSettings) -> Column:
    """Standard deviations that the amount lies above the card's own 30 days, in logarithms. Per event.

    Amounts spread in proportion, hence logarithms. The card's deviation is drawn towards what is usual for cards
    (`usual_spread`, as if PRIOR_TRANSACTIONS more had it), so that few or equal amounts promise no certainty. At a terminal
    where the card has been within 30 days one deviation less counts. Null for a card with fewer than `min_history`
    transactions, as a new card has no habit to leave, and for less than `least_ratio` times its mean: a card that always
    spends alike may spend thrice that once.
    """
    count = F.col("card_count_30d")
    squares = count * F.col("card_log_amount_std_30d") ** 2 + PRIOR_TRANSACTIONS * settings.usual_spread**2
    variance = squares / (count + PRIOR_TRANSACTIONS)
    deviations = (log_amount() - F.col("card_log_amount_mean_30d")) / F.sqrt(variance)
    is_usual_terminal = F.coalesce(F.array_contains("card_terminals_30d", F.col("terminal_id")), F.lit(False))
    is_large = F.col("amount") >= settings.least_ratio * F.col("card_amount_mean_30d")
    return F.when((count >= settings.min_history) & is_large, deviations - F.when(is_usual_terminal, 1.0).otherwise(0.0))


def unseen_region(settings: FraudSettings) -> Column:
    """Distance in km from the card's home beyond the farthest it has been in 30 days; card present only. Per event."""
    distance = distance_km(F.col("latitude"), F.col("longitude"), F.col("card_home_latitude"), F.col("card_home_longitude"))
    return F.when(F.col("card_count_30d") >= settings.min_history, distance - F.col("card_max_distance_km_30d"))


def terminal_risk(settings: FraudSettings) -> Column:
    """Share of frauds among the terminal's transactions over 7 days, known with the labels' 7-day delay. Per event."""
    return F.when(F.col("terminal_count_7d") >= settings.min_terminal_history, F.col("terminal_risk_7d"))


def velocity(settings: FraudSettings) -> Column:
    """Most transactions of the card within `burst_minutes`, exact sliding, tiny ones aside. Per card and window.

    Windows of `card_window` every `card_slide` overlap by more than a burst lasts (FraudSettings refuses others), so that
    each burst lies whole in one window; a burst in the overlap is reported by both.
    """
    return F.size("burst").cast("double")


def card_testing(settings: FraudSettings) -> Column:
    """Most transactions of less than `tiny_amount` within `testing_minutes`, exact sliding. Per card and window, as velocity."""
    return F.size("tests").cast("double")


def spree(settings: FraudSettings) -> Column:
    """Most transactions of the card within `spree_minutes` that are each `spree_ratio` times its 30-day median or more.

    The median, because the first sprees on a card that leaked have moved its mean. Exact sliding inside the window. Per card
    and window, as velocity; but a spree may last longer than two windows overlap: of one across a border each window sees
    a part, which may be too small to be reported.
    """
    return F.size("purchases").cast("double")


def impossible_travel(settings: FraudSettings) -> Column:
    """Highest speed in km/h between two successive places of the card, exact within its window. Per card and window.

    Pairs up to the overlap of two windows apart (`card_window` - `card_slide`) always lie together in one window. Two places
    less than `min_travel_km` apart have no speed, and two times less than a minute apart count as a minute.
    """
    return F.col("journey.kmh")


def terminal_burst(settings: FraudSettings) -> Column:
    """Different cards at one terminal with an amount or at a place far beyond their habit. Per terminal and window.

    Windows of `terminal_window` every `terminal_slide` (hopping): what happens within their overlap lies whole in both
    windows, and both report it.
    """
    return F.size("cards").cast("double")


def transaction_id(settings: FraudSettings) -> Column:
    """The evidence of a rule that needs one transaction."""
    return F.col("transaction_id")


PER_EVENT = (
    Rule(
        "model_score",
        model_score,
        "model_score",
        lambda settings: F.format_string("model gives %.2f", "model_score"),
        transaction_id,
        critical_at=1.5,
    ),
    Rule(
        "amount_outlier",
        amount_outlier,
        "amount_zscore",
        lambda settings: F.format_string("%.2f where the card's mean is %.2f", "amount", "card_amount_mean_30d"),
        transaction_id,
        critical_at=1.5,
    ),
    Rule(
        "unseen_region",
        unseen_region,
        "unseen_region_km",
        lambda settings: F.format_string("%.0f km beyond anywhere in 30 days", unseen_region(settings)),
        transaction_id,
    ),
    Rule(
        "terminal_risk",
        terminal_risk,
        "terminal_risk",
        lambda settings: F.format_string("%.0f%% of the terminal's transactions were fraud", 100 * F.col("terminal_risk_7d")),
        transaction_id,
    ),
)
BY_CARD = (
    Rule(
        "velocity",
        velocity,
        "velocity",
        lambda settings: F.format_string(
            "%.0f transactions in %s minutes", velocity(settings), F.lit(str(settings.burst_minutes))
        ),
        lambda settings: _ids_of("burst"),
    ),
    Rule(
        "card_testing",
        card_testing,
        "card_testing",
        lambda settings: F.format_string(
            "%.0f tiny amounts in %s minutes", card_testing(settings), F.lit(str(settings.testing_minutes))
        ),
        lambda settings: _ids_of("tests"),
    ),
    Rule(
        "spree",
        spree,
        "spree",
        lambda settings: F.format_string("%.0f large amounts in %s minutes", spree(settings), F.lit(str(settings.spree_minutes))),
        lambda settings: _ids_of("purchases"),
    ),
    Rule(
        "impossible_travel",
        impossible_travel,
        "travel_kmh",
        lambda settings: F.format_string("%.0f km/h between two places", impossible_travel(settings)),
        lambda settings: _ids_of("journey.places"),
    ),
)
BY_TERMINAL = (
    Rule(
        "terminal_burst",
        terminal_burst,
        "terminal_burst",
        lambda settings: F.format_string("%d cards far beyond their habits", F.size("cards")),
        lambda settings: F.to_json(F.sort_array("transaction_ids")),
    ),
)


def per_event(transactions: DataFrame, settings: FraudSettings) -> DataFrame:
    """Alerts of the rules that need one transaction and what batch learnt."""
    return judge(transactions, PER_EVENT, settings, vertical="finance_fraud", entity="card_id", subject=F.col("transaction_id"))


def by_card(transactions: DataFrame, settings: FraudSettings) -> DataFrame:
    """Alerts over a card's transactions within a window."""
    transaction = F.struct(
        "event_time", "transaction_id", "amount", "latitude", "longitude", _is_large(settings).alias("is_large")
    )
    # A row per card and window: `transactions`, an array of them in order of time.
    windows = (
        transactions.withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", settings.card_window, settings.card_slide), "card_id")
        .agg(
            # Sorted within the aggregation: of a column made after it, the optimizer would sort anew at every mention.
            let(F.sort_array(F.collect_set(transaction)), _distinct_transactions).alias("transactions"),
            F.max("ingest_time").alias("ingest_time"),
        )
    )
    # The same rows, with the patterns that the rules look at: `burst`, `tests`, `purchases` and `journey`, null where none is.
    patterns = windows.select(
        "*",
        F.element_at("transactions", -1).event_time.alias("event_time"),
        _largest_burst(lambda transaction: transaction.amount >= settings.tiny_amount, settings.burst_minutes).alias("burst"),
        _largest_burst(lambda transaction: transaction.amount < settings.tiny_amount, settings.testing_minutes).alias("tests"),
        _largest_burst(lambda transaction: transaction.is_large, settings.spree_minutes).alias("purchases"),
        _fastest_journey(settings).alias("journey"),
    )
    return judge(patterns, BY_CARD, settings, vertical="finance_fraud", entity="card_id", subject=entity_and_window("card_id"))


def by_terminal(transactions: DataFrame, settings: FraudSettings) -> DataFrame:
    """Alerts over the unusual transactions at a terminal within a window."""
    is_unusual = (amount_outlier(settings) >= settings.burst_zscore) | (unseen_region(settings) >= settings.burst_region_km)
    windows = (
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
    subject = entity_and_window("terminal_id")
    return judge(windows, BY_TERMINAL, settings, vertical="finance_fraud", entity="terminal_id", subject=subject)


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
    """Whether the amount is `spree_ratio` times the card's median or more; false for a card without a habit."""
    median = F.when(F.col("card_count_30d") >= settings.min_history, F.col("card_amount_median_30d"))
    return F.coalesce(F.col("amount") >= settings.spree_ratio * median, F.lit(False))


def _distinct_transactions(transactions: Column) -> Column:
    """A sorted array of transactions without those that are in it twice.

    A transaction that was sent again under another version of its card's baseline stands in the array twice, side by side,
    if its `is_large` has changed. The later one is kept, which is the one that is large, as false sorts before true.
    """

    def is_last_of_its_id(transaction: Column, position: Column) -> Column:
        following = F.get(transactions, position + 1)
        is_same_time = transaction.event_time.eqNullSafe(following.event_time)
        return ~(is_same_time & transaction.transaction_id.eqNullSafe(following.transaction_id))

    return F.when(F.size(transactions) == 1, transactions).otherwise(F.filter(transactions, is_last_of_its_id))


def _largest_burst(is_counted: Callable[[Column], Column], minutes: float) -> Column:
    """The most transactions that lie within `minutes`, of those that `is_counted` is true of; null where it is true of none.

    Every stretch of `minutes` that ends with a transaction is looked at, and the one with the most of them is the burst.
    """
    transactions = F.col("transactions")

    def burst_ending_with(last: Column, candidates: Column) -> Column:
        return F.filter(
            candidates,
            lambda other: (
                (other.event_time <= last.event_time)
                & (F.unix_millis(last.event_time) - F.unix_millis(other.event_time) < minutes * 60_000)
            ),
        )

    def largest_burst(candidates: Column) -> Column:
        bursts = F.transform(candidates, lambda last: burst_ending_with(last, candidates))
        return F.array_max(F.transform(bursts, lambda burst: F.struct(F.size(burst).alias("size"), burst.alias("burst")))).burst

    # Every event is judged in one or two windows, and most windows hold no other event: these are not worth a search.
    single_burst = F.when(is_counted(transactions[0]), transactions)
    return F.when(F.size(transactions) == 1, single_burst).otherwise(let(F.filter(transactions, is_counted), largest_burst))


def _successive_places() -> Column:
    """Pairs (a, b) of transactions that have a place and follow each other; null where fewer than two have one."""

    def pairs(places: Column) -> Column:
        count = F.size(places) - 1
        return F.when(count > 0, F.arrays_zip(F.slice(places, 1, count).alias("a"), F.slice(places, 2, count).alias("b")))

    return let(F.filter(F.col("transactions"), lambda transaction: transaction.latitude.isNotNull()), pairs)


def _fastest_journey(settings: FraudSettings) -> Column:
    """struct(kmh, places: its two transactions) of the fastest two successive places; null where no two have a speed."""
    journeys = F.transform(
        _successive_places(),
        lambda pair: F.struct(
            _speed_kmh(pair.a, pair.b, settings.min_travel_km).alias("kmh"), F.array(pair.a, pair.b).alias("places")
        ),
    )
    fastest = F.array_max(F.filter(journeys, lambda journey: journey.kmh.isNotNull()))
    return F.when(F.size("transactions") > 1, fastest)


def _speed_kmh(earlier: Column, later: Column, min_travel_km: float) -> Column:
    """Null for two places that are less than `min_travel_km` apart."""
    distance = distance_km(earlier.latitude, earlier.longitude, later.latitude, later.longitude)
    hours = F.greatest(F.unix_millis(later.event_time) - F.unix_millis(earlier.event_time), F.lit(60_000)) / 3_600_000
    return let(distance, lambda km: F.when(km >= min_travel_km, km / hours))


def _ids_of(transactions: str) -> Column:
    """The ids of an array of transactions, as JSON."""
    return F.to_json(F.transform(transactions, lambda transaction: transaction.transaction_id))


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
