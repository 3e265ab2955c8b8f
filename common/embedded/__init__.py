"""Java, jars and a one-node Kafka for a machine that has none of them."""
