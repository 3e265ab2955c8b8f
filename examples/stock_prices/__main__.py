"""`hybrid examples stock_prices`: a morning of ticks, as a stream and in batch, on a broker that comes along, or your cluster."""

import tempfile
from pathlib import Path

from common.processing.session import start_session
from examples.running import arguments, say, topic_of_this_run, with_broker
from examples.stock_prices.story import tell

TASK_SLOTS = 2

if __name__ == "__main__":
    options = arguments(__doc__)
    with with_broker(options.bootstrap_servers) as servers, tempfile.TemporaryDirectory(prefix="hybrid-stocks-") as folder:
        spark = start_session("stock_prices", TASK_SLOTS, Path(folder) / "spark")
        try:
            tell(spark, servers, topic_of_this_run("ticks"), Path(folder), say)
        finally:
            spark.stop()
