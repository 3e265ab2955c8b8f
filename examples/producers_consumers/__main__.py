"""`hybrid examples producers_consumers`: the story, on a broker that comes along, or on your cluster."""

from examples.producers_consumers.story import tell
from examples.running import arguments, say, topic_of_this_run, with_broker

if __name__ == "__main__":
    options = arguments(__doc__)
    with with_broker(options.bootstrap_servers) as servers:
        tell(servers, topic_of_this_run("orders"), say)
