"""`hybrid examples ticket_sales`: a flash sale whose sellers are killed, on a broker that comes along, or on your cluster."""

import tempfile
from pathlib import Path

from common.processing.session import start_session
from examples.running import arguments, say, topic_of_this_run, with_broker
from examples.ticket_sales.story import tell

TASK_SLOTS = 2

if __name__ == "__main__":
    options = arguments(__doc__)
    with with_broker(options.bootstrap_servers) as servers, tempfile.TemporaryDirectory(prefix="hybrid-tickets-") as folder:
        spark = start_session("ticket_sales", TASK_SLOTS, Path(folder) / "spark")
        try:
            tell(spark, servers, topic_of_this_run("tickets"), Path(folder) / "checkpoint", say)
        finally:
            spark.stop()
