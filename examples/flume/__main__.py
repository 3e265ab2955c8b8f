"""`hybrid examples flume`: log files through a Flume agent to Kafka, on a broker that comes along, or on your cluster."""

from examples.flume.story import tell
from examples.running import arguments, say, spark_for, topic_of_this_run, with_broker

TASK_SLOTS = 2

if __name__ == "__main__":
    options = arguments(__doc__)
    with with_broker(options.bootstrap_servers) as servers, spark_for("flume", TASK_SLOTS) as (spark, folder):
        tell(spark, servers, topic_of_this_run("logs"), folder, say)
