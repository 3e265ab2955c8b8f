"""`hybrid examples flume`: log files through a Flume agent to Kafka, on a broker that comes along, or on your cluster."""

import tempfile
from pathlib import Path

from common.processing.session import start_session
from examples.flume.story import tell
from examples.running import arguments, say, topic_of_this_run, with_broker

TASK_SLOTS = 2

if __name__ == "__main__":
    options = arguments(__doc__)
    with with_broker(options.bootstrap_servers) as servers, tempfile.TemporaryDirectory(prefix="hybrid-flume-") as folder:
        spark = start_session("flume", TASK_SLOTS, Path(folder) / "spark")
        try:
            tell(spark, servers, topic_of_this_run("logs"), Path(folder), say)
        finally:
            spark.stop()
