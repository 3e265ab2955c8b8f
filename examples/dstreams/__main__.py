"""`hybrid examples dstreams`: eight seconds of log lines, with the legacy API and with what took its place."""

import tempfile
import warnings
from pathlib import Path

from common.processing.session import start_session
from examples.dstreams.story import tell
from examples.running import arguments, say

TASK_SLOTS = 3  # a socket's receiver keeps one

if __name__ == "__main__":
    arguments(__doc__)
    warnings.filterwarnings("ignore", category=FutureWarning)  # that DStreams are deprecated is what this is about
    with tempfile.TemporaryDirectory(prefix="hybrid-dstreams-") as folder:
        spark = start_session("dstreams", TASK_SLOTS, Path(folder) / "spark")
        try:
            tell(spark, Path(folder), say)
        finally:
            spark.stop()
