"""`hybrid examples producers_consumers`: the story, on a broker that comes along, or on your cluster."""

from examples.producers_consumers.story import run_story
from examples.running import broker_for, parse_arguments, say, unique_topic

if __name__ == "__main__":
    options = parse_arguments(__doc__)
    with broker_for(options.bootstrap_servers) as servers:
        run_story(servers, unique_topic("orders"), say)
