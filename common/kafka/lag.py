"""Measures consumer lag: how many records of a topic a streaming query has not taken yet."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka.admin import AdminClient

from common.kafka.connection import Connection
from common.kafka.topics import read_end_offsets


class LagMeter:
    """Measures the lag of streaming queries on one topic, with one client for all measurements."""

    def __init__(self, connection: Connection, topic: str) -> None:
        self.topic = topic
        self._connection = connection
        self._admin = AdminClient(connection.client_options())

    def measure(self, progress: Mapping[str, Any] | None) -> int:
        """Records behind, by a StreamingQuery's `lastProgress` (None: it has taken no record yet).

        A real-time query reports once per trigger, so its lag here is up to one checkpoint interval old.
        """
        return records_behind(self.read_ends(), read_offsets(progress, self.topic))

    def read_ends(self) -> dict[int, int]:
        """Per partition, the offset that the topic's next record will get."""
        return read_end_offsets(self._admin, self._connection, self.topic)


def records_behind(ends: Mapping[int, int], offsets: Mapping[int, int]) -> int:
    """Records between a query's offsets and the ends, over all partitions; a partition without an offset counts in full."""
    return sum(max(0, end - offsets.get(partition, 0)) for partition, end in ends.items())


def read_offsets(progress: Mapping[str, Any] | None, topic: str) -> dict[int, int]:
    """Per partition of `topic`, the offset of the next record that the query takes."""
    return least_offsets([source["endOffset"] for source in progress["sources"]] if progress else [], topic)


def least_offsets(sources: Iterable[str | Mapping[str, Any] | None], topic: str) -> dict[int, int]:
    """Per partition of `topic`, the least offset of all sources, as Spark writes these: JSON text, or the object itself."""
    least: dict[int, int] = {}
    for offsets in sources:
        by_topic = json.loads(offsets) if isinstance(offsets, str) else offsets
        for partition, offset in ((by_topic or {}).get(topic) or {}).items():
            least[int(partition)] = min(offset, least.get(int(partition), offset))
    return least
