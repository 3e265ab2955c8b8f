"""Kafka as a client sees it: connecting, topics, reading, sending, lag and access rights."""
