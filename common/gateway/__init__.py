"""Events in and alerts out over HTTP, for all verticals in one process without Spark."""
