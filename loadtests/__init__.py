"""Load tests with locust, and the commands `hybrid bench` and `hybrid chaos`, which measure and disturb the running system."""
