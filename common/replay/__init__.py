"""Sends files and simulated events to a topic at the pace of their own event times."""
