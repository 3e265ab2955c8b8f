"""`hybrid examples stock_prices`: a morning of ticks, as a stream and in batch, on a broker that comes along, or your cluster."""

from examples.running import arguments, say, spark_for, topic_of_this_run, with_broker
from examples.stock_prices.story import tell

TASK_SLOTS = 2

if __name__ == "__main__":
    options = arguments(__doc__)
    with with_broker(options.bootstrap_servers) as servers, spark_for("stock_prices", TASK_SLOTS) as (spark, folder):
        tell(spark, servers, topic_of_this_run("ticks"), folder, say)
