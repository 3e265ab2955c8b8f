"""Computes what the model reads of a transaction: the event, its card's habits and its terminal's past.

`with_features` is the one definition, for training and for serving. It reads the columns of the event joined with a
card's and a terminal's baseline and uses native columns only, so that it runs in Spark's real-time mode. Where those
columns come from is the only difference between

- serving, and training for it: the baselines in force at the start of the event's day (`finance_fraud.baselines`);
- batch scoring: exact sliding windows up to the event itself (`exact_windows`).

`exact_windows` follows the Fraud Detection Handbook's idea: a card's count and mean amount over (t-w, t], the event
included; a terminal's count and share of known frauds over (t-7d-w, t-7d], as no label is known before 7 days.
"""

from pyspark.sql import Column, DataFrame, Window, WindowSpec
from pyspark.sql import functions as F

from finance_fraud.events import LABEL_DELAY

WINDOWS_DAYS = (1, 7, 30)

# Above this amount a purchase is rare whoever makes it (currency units of the data).
HIGH_AMOUNT = 220.0
NIGHT_ENDS_HOUR = 6

FEATURES = (
    "is_high_amount", "is_night", "is_weekend",
    "amount_ratio", "amount_ratio_above_2", "amount_ratio_above_3",
    "amount_deviations", "amount_deviations_above_3",
    "spending_change_1d", "spending_change_7d",
    "risk_1d", "risk_7d", "risk_30d", "any_fraud_1d", "any_fraud_7d", "any_fraud_30d", "frauds_7d", "frauds_30d",
)  # fmt: skip

MICROSECONDS_PER_SECOND = 1_000_000
TIES_PER_MICROSECOND = 1_000  # transactions of one card at one time that `exact_windows` can tell apart


def with_features(transactions: DataFrame) -> DataFrame:
    """Adds FEATURES, never null, to transactions with the card_ and terminal_ columns of their baselines, which may be null.

    A card or terminal without a baseline counts as ordinary: its ratios are 1, its deviations and risks 0.
    """
    return transactions.withColumns(_amount_features() | _terminal_features()).withColumns(
        {
            "amount_ratio_above_2": _above("amount_ratio", 2.0),
            "amount_ratio_above_3": _above("amount_ratio", 3.0),
            "amount_deviations_above_3": _above("amount_deviations", 3.0),
        }
    )


def _amount_features() -> dict[str, Column]:
    mean, std = F.col("card_amount_mean_30d"), F.col("card_amount_std_30d")
    # Below one unit of currency a spread says that there were too few purchases, not that they are all alike.
    deviations = F.when(std > 0, (F.col("amount") - mean) / F.greatest(std, F.lit(1.0)))
    return {
        "is_high_amount": _flag(F.col("amount") > HIGH_AMOUNT),
        "is_night": _flag(F.hour("event_time") < NIGHT_ENDS_HOUR),
        "is_weekend": _flag(F.weekday("event_time") >= 5),
        "amount_ratio": _clamp(_ratio(F.col("amount"), mean), 0.0, 10.0, default=1.0),
        "amount_deviations": _clamp(deviations, -3.0, 10.0, default=0.0),
        "spending_change_1d": _clamp(_ratio(F.col("card_amount_mean_1d"), mean), 0.0, 5.0, default=1.0),
        "spending_change_7d": _clamp(_ratio(F.col("card_amount_mean_7d"), mean), 0.0, 5.0, default=1.0),
    }


def _terminal_features() -> dict[str, Column]:
    risks = {f"risk_{days}d": F.coalesce(f"terminal_risk_{days}d", F.lit(0.0)) for days in WINDOWS_DAYS}
    any_fraud = {f"any_fraud_{days}d": _flag(F.col(f"terminal_fraud_count_{days}d") > 0) for days in WINDOWS_DAYS}
    counts = {days: F.col(f"terminal_fraud_count_{days}d").cast("double") for days in (7, 30)}
    return risks | any_fraud | {f"frauds_{days}d": _clamp(count, 0.0, 10.0, default=0.0) for days, count in counts.items()}


def _ratio(amount: Column, usual_amount: Column) -> Column:
    return F.when(usual_amount > 0, amount / usual_amount)


def _clamp(value: Column, low: float, high: float, default: float) -> Column:
    # Nulls are filled first, as greatest and least skip them.
    return F.least(F.greatest(F.coalesce(value, F.lit(default)), F.lit(low)), F.lit(high))


def _flag(condition: Column) -> Column:
    return F.when(condition, 1.0).otherwise(0.0)


def _above(feature: str, knee: float) -> Column:
    return F.greatest(F.col(feature) - knee, F.lit(0.0))


def exact_windows(history: DataFrame, labels: DataFrame) -> DataFrame:
    """Every transaction of `history` with the counts, means and risks of its baselines as exact sliding windows ending at it.

    Of a card's transactions at the same instant, one sees those of a lower transaction_id. Times count in milliseconds.
    A label that took longer than LABEL_DELAY to be known is not counted: no window would be sure to have it.
    """
    is_known_in_time = F.col("known_time") <= F.col("event_time") + F.expr(f"INTERVAL {LABEL_DELAY.days} DAYS")
    frauds = (
        labels.where(is_known_in_time).select(F.col("event_id").alias("transaction_id"), F.lit(1.0).alias("is_fraud")).distinct()
    )
    transactions = history.join(frauds, "transaction_id", "left").fillna(0.0, ["is_fraud"])
    return transactions.transform(_with_card_windows).transform(_with_terminal_windows).drop("is_fraud")


def _with_card_windows(transactions: DataFrame) -> DataFrame:
    """Adds counts, means and deviations of the card's amounts over the days that end with each transaction.

    A window over a range of values takes one number to order by. `position` is that number: the time in microseconds, times
    TIES_PER_MICROSECOND, plus 0, 1, 2 ... for the card's transactions at the same time, in the order of their ids.
    """
    card = Window.partitionBy("card_id")
    tie = F.row_number().over(card.orderBy("event_time", "transaction_id")) - F.rank().over(card.orderBy("event_time"))
    ordered_transactions = transactions.withColumn("position", F.unix_micros("event_time") * TIES_PER_MICROSECOND + tie)
    columns: dict[str, Column] = {}
    for days in WINDOWS_DAYS:
        reach = (_microseconds(days) - 1) * TIES_PER_MICROSECOND  # exclusive: a transaction just `days` before is left out
        window = card.orderBy("position").rangeBetween(-reach, 0)
        columns |= {
            f"card_count_{days}d": F.count("*").over(window),
            f"card_amount_mean_{days}d": F.avg("amount").over(window),
            f"card_amount_std_{days}d": F.stddev_pop("amount").over(window),
        }
    return ordered_transactions.withColumns(columns).drop("position")


def _with_terminal_windows(transactions: DataFrame) -> DataFrame:
    """Adds counts and shares of frauds at the terminal over the days that end LABEL_DELAY before each transaction."""
    ordered_transactions = transactions.withColumn("microsecond", F.unix_micros("event_time"))
    columns: dict[str, Column] = {}
    for days in WINDOWS_DAYS:
        window = _delayed_window(days)
        columns |= {
            f"terminal_count_{days}d": F.count("*").over(window),
            f"terminal_fraud_count_{days}d": F.coalesce(F.sum("is_fraud").over(window), F.lit(0.0)).cast("long"),
            f"terminal_risk_{days}d": F.coalesce(F.avg("is_fraud").over(window), F.lit(0.0)),
        }
    return ordered_transactions.withColumns(columns).drop("microsecond")


def _delayed_window(days: int) -> WindowSpec:
    end = _microseconds(LABEL_DELAY.days)
    return Window.partitionBy("terminal_id").orderBy("microsecond").rangeBetween(-end - _microseconds(days) + 1, -end)


def _microseconds(days: int) -> int:
    return days * 86_400 * MICROSECONDS_PER_SECOND
