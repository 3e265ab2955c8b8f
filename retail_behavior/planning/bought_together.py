"""Mines products that go together: association rules between the products of one session, by FP-growth (Spark MLlib)."""

from pyspark.ml.fpm import FPGrowth
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from retail_behavior.events import RESTOCK, order_key

MAX_RECOMMENDATIONS = 5  # per product
LARGEST_BASKET = 12  # products; a visitor of more looks at anything, and the sets of a basket grow exponentially with it
MIN_SHARE = 0.002  # of all baskets that must hold a pair before it is a rule
MIN_CONFIDENCE = 0.02  # share of the baskets with the one product that hold the other
MIN_LIFT = 1.5  # times as likely as by chance


def recommended_products(history: DataFrame) -> DataFrame:
    """product_id and `recommended`: up to MAX_RECOMMENDATIONS products of the same sessions, the strongest lift first."""
    sessions = (
        history.where((F.col("event_type") != RESTOCK) & F.col("session_id").isNotNull())
        .groupBy(order_key())
        .agg(F.sort_array(F.collect_set("product_id")).alias("items"))
    )
    baskets = sessions.where(F.size("items").between(2, LARGEST_BASKET))
    rules = FPGrowth(minSupport=MIN_SHARE, minConfidence=MIN_CONFIDENCE).fit(baskets).associationRules
    pairs = rules.where((F.size("antecedent") == 1) & (F.col("lift") >= MIN_LIFT)).select(
        F.col("antecedent")[0].alias("product_id"),
        F.struct((-F.round("lift", 9)).alias("order"), F.col("consequent")[0].alias("product")).alias("other"),
    )
    best_products = F.slice(F.array_sort(F.collect_list("other")), 1, MAX_RECOMMENDATIONS)
    return pairs.groupBy("product_id").agg(F.transform(best_products, lambda other: other["product"]).alias("recommended"))
