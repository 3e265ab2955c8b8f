"""Files and simulated events sent to a topic at the pace of their own event times."""
