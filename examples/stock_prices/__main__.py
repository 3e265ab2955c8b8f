"""`hybrid examples stock_prices`: a morning of ticks, as a stream and in batch, on a broker that comes along, or your cluster."""

from examples.running import broker_for, parse_arguments, say, spark_for, unique_topic
from examples.stock_prices.story import run_story

TASK_SLOTS = 2

if __name__ == "__main__":
    options = parse_arguments(__doc__)
    with broker_for(options.bootstrap_servers) as servers, spark_for("stock_prices", TASK_SLOTS) as (spark, folder):
        run_story(spark, servers, unique_topic("ticks"), folder, say)
