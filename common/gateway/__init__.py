"""The HTTP gateway: takes events in and gives alerts out, for all verticals in one process without Spark."""
