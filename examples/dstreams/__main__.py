"""`hybrid examples dstreams`: eight seconds of log lines, with the legacy API and with what took its place."""

import warnings

from examples.dstreams.story import tell
from examples.running import arguments, say, spark_for

TASK_SLOTS = 3  # a socket's receiver keeps one

if __name__ == "__main__":
    arguments(__doc__)
    warnings.filterwarnings("ignore", category=FutureWarning)  # that DStreams are deprecated is what this is about
    with spark_for("dstreams", TASK_SLOTS) as (spark, folder):
        tell(spark, folder, say)
