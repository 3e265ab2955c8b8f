"""Provides Java, jars and a one-node Kafka on a machine that has none of them."""
