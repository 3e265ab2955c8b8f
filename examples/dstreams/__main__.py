"""`hybrid examples dstreams`: eight seconds of log lines, with the legacy API and with what took its place."""

import warnings

from examples.dstreams.story import run_story
from examples.running import parse_arguments, say, spark_for

TASK_SLOTS = 3  # a socket's receiver keeps one

if __name__ == "__main__":
    parse_arguments(__doc__)
    warnings.filterwarnings("ignore", category=FutureWarning)  # that DStreams are deprecated is what this is about
    with spark_for("dstreams", TASK_SLOTS) as (spark, folder):
        run_story(spark, folder, say)
