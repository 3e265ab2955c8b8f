"""`hybrid examples ticket_sales`: a flash sale whose sellers are killed, on a broker that comes along, or on your cluster."""

from examples.running import broker_for, parse_arguments, say, spark_for, unique_topic
from examples.ticket_sales.story import run_story

TASK_SLOTS = 2

if __name__ == "__main__":
    options = parse_arguments(__doc__)
    with broker_for(options.bootstrap_servers) as servers, spark_for("ticket_sales", TASK_SLOTS) as (spark, folder):
        run_story(spark, servers, unique_topic("tickets"), folder / "checkpoint", say)
