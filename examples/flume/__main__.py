"""`hybrid examples flume`: log files through a Flume agent to Kafka, on a broker that comes along, or on your cluster."""

from examples.flume.story import run_story
from examples.running import broker_for, parse_arguments, say, spark_for, unique_topic

TASK_SLOTS = 2

if __name__ == "__main__":
    options = parse_arguments(__doc__)
    with broker_for(options.bootstrap_servers) as servers, spark_for("flume", TASK_SLOTS) as (spark, folder):
        run_story(spark, servers, unique_topic("logs"), folder, say)
