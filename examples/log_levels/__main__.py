"""`hybrid examples log_levels`: count by level, three ways, on a broker that comes along, or on your cluster."""

import tempfile
from pathlib import Path

from common.processing.session import start_session
from examples.log_levels.story import tell
from examples.running import arguments, say, topic_of_this_run, with_broker

TASK_SLOTS = 4 + 2  # a real-time query keeps one for each partition of its topic, and of its state; two for the batch job

if __name__ == "__main__":
    options = arguments(__doc__)
    with with_broker(options.bootstrap_servers) as servers, tempfile.TemporaryDirectory(prefix="hybrid-logs-") as folder:
        spark = start_session("log_levels", TASK_SLOTS, Path(folder) / "spark")
        try:
            tell(spark, servers, topic_of_this_run("logs"), Path(folder), say)
        finally:
            spark.stop()
