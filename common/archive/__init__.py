"""Keeps what arrives on Kafka in Delta tables: valid events, and quarantined records that can be repaired and sent again."""
