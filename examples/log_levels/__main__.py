"""`hybrid examples log_levels`: count by level, three ways, on a broker that comes along, or on your cluster."""

from examples.log_levels.story import tell
from examples.running import arguments, say, spark_for, topic_of_this_run, with_broker

TASK_SLOTS = 4 + 2  # a real-time query keeps one for each partition of its topic, and of its state; two for the batch job

if __name__ == "__main__":
    options = arguments(__doc__)
    with with_broker(options.bootstrap_servers) as servers, spark_for("log_levels", TASK_SLOTS) as (spark, folder):
        tell(spark, servers, topic_of_this_run("logs"), folder, say)
