"""`hybrid examples ticket_sales`: a flash sale whose sellers are killed, on a broker that comes along, or on your cluster."""

from examples.running import arguments, say, spark_for, topic_of_this_run, with_broker
from examples.ticket_sales.story import tell

TASK_SLOTS = 2

if __name__ == "__main__":
    options = arguments(__doc__)
    with with_broker(options.bootstrap_servers) as servers, spark_for("ticket_sales", TASK_SLOTS) as (spark, folder):
        tell(spark, servers, topic_of_this_run("tickets"), folder / "checkpoint", say)
