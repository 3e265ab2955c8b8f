"""Kafka's producers and consumers: topics, keys, partitions, acknowledgements, offsets, groups and a rebalance.

    .venv/bin/hybrid examples producers_consumers

A shop's orders are sent to a topic; a kitchen's readers share its partitions, leave, come back and go on where they stopped.
"""
