"""Computes what batch reports to people: frauds and losses, cards whose spending moved, drift of the model's features, alerts."""

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from common.authoring import Bars, Chart, DailyLines, TrainedModel, stability, with_score
from finance_fraud.baselines import baselines, events_between
from finance_fraud.events import LABEL_DELAY
from finance_fraud.features import FEATURES, with_features

WEEK = timedelta(days=7)
TOP_MOVERS = 50  # cards that are reported

CHARTS: tuple[tuple[str, Chart], ...] = (
    ("fraud_by_scenario", DailyLines("Frauds known, by scenario", "scenario", "frauds", "frauds a day")),
    ("fraud_by_scenario", DailyLines("Loss to known frauds, by scenario", "scenario", "loss", "loss a day (currency)")),
    ("fraud_by_channel", DailyLines("Loss to known frauds, by channel", "channel", "loss", "loss a day (currency)")),
    ("alerts_by_rule", DailyLines("Alerts, by rule", "rule", "alerts", "alerts a day")),
    ("top_movers", Bars("Cards whose weekly spending moved most", "card_id", "change", "change (currency)")),
    ("drift", Bars("Drift, last week against the week before", "feature", "psi", "population stability index", (0.1, 0.25))),
)


def trends(history: DataFrame, labels: DataFrame, alerts: DataFrame, model: TrainedModel | None = None) -> dict[str, DataFrame]:
    """Daily fraud and loss by scenario, channel and terminal; cards whose spending moved most; drift; alerts by rule.

    Fraud is reported of whole days whose labels were due by the end of the newest day. `model` adds its score to the drift
    of its features. Empty without history.
    """
    newest_day = history.agg(F.max(F.to_date("event_time"))).first()
    if newest_day is None or newest_day[0] is None:
        return {}
    last_day: date = newest_day[0]
    end = last_day + timedelta(days=1)
    frauds = labels.where(F.col("known_time") <= F.lit(end).cast("timestamp"))
    frauds = frauds.select(F.col("event_id").alias("transaction_id"), "scenario")
    # Younger days look free of fraud only because their labels are still to come.
    labelled_transactions = history.withColumn("day", F.to_date("event_time")).where(F.col("day") < F.lit(end - LABEL_DELAY))
    transactions = labelled_transactions.join(frauds.dropDuplicates(["transaction_id"]), "transaction_id", "left")
    return {
        "fraud_by_scenario": _frauds_by(transactions.where("scenario IS NOT NULL"), "scenario"),
        "fraud_by_channel": _frauds_by(transactions.fillna("unknown", ["channel"]), "channel"),
        "fraud_by_terminal": _frauds_by(transactions, "terminal_id").where("frauds > 0"),
        "top_movers": _top_movers(history, last_day),
        "drift": _drift(history, labels, last_day, model),
        "alerts_by_rule": alerts.groupBy(F.to_date("event_time").alias("day"), "rule").agg(F.count("*").alias("alerts")),
    }


def _frauds_by(transactions: DataFrame, column: str) -> DataFrame:
    """Transactions, frauds and the frauds' total amount, by day and `column`."""
    is_fraud = F.col("scenario").isNotNull()
    loss = F.round(F.sum(F.when(is_fraud, F.col("amount")).otherwise(0.0)), 2)
    return transactions.groupBy("day", F.col(column).alias(column)).agg(
        F.count("*").alias("transactions"), F.count_if(is_fraud).alias("frauds"), loss.alias("loss")
    )


def _top_movers(history: DataFrame, last_day: date) -> DataFrame:
    """Cards whose spending of the last 7 days differs most from the 7 days before, in currency units."""
    middle, end = last_day - WEEK + timedelta(days=1), last_day + timedelta(days=1)
    is_current = F.col("event_time") >= F.lit(middle).cast("timestamp")
    spending = (
        events_between(history, middle - WEEK, end)
        .groupBy("card_id")
        .agg(
            F.round(F.sum(F.when(is_current, F.col("amount")).otherwise(0.0)), 2).alias("amount_7d"),
            F.round(F.sum(F.when(~is_current, F.col("amount")).otherwise(0.0)), 2).alias("amount_7d_before"),
        )
    )
    change = F.round(F.col("amount_7d") - F.col("amount_7d_before"), 2)
    return spending.withColumn("change", change).orderBy(F.abs("change").desc(), "card_id").limit(TOP_MOVERS)


def _drift(history: DataFrame, labels: DataFrame, last_day: date, model: TrainedModel | None) -> DataFrame:
    """PSI of the model's features and score, as serving has them: the last 7 days against the 7 days before."""
    days = [last_day - timedelta(days=age) for age in range(14)]
    transactions = history.withColumn("as_of", F.to_date("event_time")).where(F.col("as_of").isin(days))
    baseline_tables = baselines(history, labels, days)
    transactions_with_baselines = transactions.join(baseline_tables["card"], ["card_id", "as_of"], "left").join(
        baseline_tables["terminal"], ["terminal_id", "as_of"], "left"
    )
    rows = with_features(transactions_with_baselines).withColumn("is_current", F.col("as_of") > F.lit(last_day - WEEK))
    if model is None:
        return stability(rows, ["amount", *FEATURES])
    return stability(with_score(rows, model), ["amount", *FEATURES, "model_score"])
