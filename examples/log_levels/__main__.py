"""`hybrid examples log_levels`: count by level, three ways, on a broker that comes along, or on your cluster."""

from examples.log_levels.story import run_story
from examples.running import broker_for, parse_arguments, say, spark_for, unique_topic

TASK_SLOTS = 4 + 2  # a real-time query keeps one for each partition of its topic, and of its state; two for the batch job

if __name__ == "__main__":
    options = parse_arguments(__doc__)
    with broker_for(options.bootstrap_servers) as servers, spark_for("log_levels", TASK_SLOTS) as (spark, folder):
        run_story(spark, servers, unique_topic("logs"), folder, say)
