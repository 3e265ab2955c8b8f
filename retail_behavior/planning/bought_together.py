"""What goes with what: association rules between products that are wanted in one session, by FP-growth (Spark MLlib)."""

from pyspark.ml.fpm import FPGrowth
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from retail_behavior.events import RESTOCK, order

MOST = 5                 # recommendations per product
LARGEST_BASKET = 12      # products; who looks at more looks at anything, and larger ones hold exponentially many sets
MIN_SHARE = 0.002        # of all baskets that must hold a pair before it is a rule
MIN_CONFIDENCE = 0.02
MIN_LIFT = 1.5           # how much likelier than by chance


def recommended(history: DataFrame) -> DataFrame:
    """product_id and `recommended`: up to MOST products seen or bought in the same sessions, the strongest lift first."""
    sessions = history.where((F.col("event_type") != RESTOCK) & F.col("session_id").isNotNull()).groupBy(order()).agg(
        F.sort_array(F.collect_set("product_id")).alias("items"))
    baskets = sessions.where(F.size("items").between(2, LARGEST_BASKET))
    rules = FPGrowth(minSupport=MIN_SHARE, minConfidence=MIN_CONFIDENCE).fit(baskets).associationRules
    pairs = rules.where((F.size("antecedent") == 1) & (F.col("lift") >= MIN_LIFT)).select(
        F.col("antecedent")[0].alias("product_id"),
        F.struct((-F.round("lift", 9)).alias("order"), F.col("consequent")[0].alias("product")).alias("other"))
    best = F.slice(F.array_sort(F.collect_list("other")), 1, MOST)
    return pairs.groupBy("product_id").agg(F.transform(best, lambda other: other["product"]).alias("recommended"))
