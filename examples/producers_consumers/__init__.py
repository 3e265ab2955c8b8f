"""Kafka's producers and consumers: topics, keys, partitions, acknowledgements, offsets, groups, and a rebalance that one sees."""
