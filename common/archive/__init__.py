"""What arrives on Kafka is kept in Delta tables: valid events, and quarantined ones that can be repaired and sent again."""
