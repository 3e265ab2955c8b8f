"""Consumer lag: how many records of a topic a streaming query has yet to take."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka.admin import AdminClient

from common.kafka.connection import Connection
from common.kafka.topics import read_end_offsets


class Lag:
    """Measures the lag of streaming queries on one topic, over one client that is kept."""

    def __init__(self, connection: Connection, topic: str) -> None:
        self.topic = topic
        self._connection = connection
        self._admin = AdminClient(connection.client_options())

    def of(self, progress: Mapping[str, Any] | None) -> int:
        """Records behind, by a StreamingQuery's `lastProgress` (None: it has taken nothing yet).

        A real-time query reports once per trigger, so its lag here is up to one checkpoint interval old.
        """
        return records_behind(self.ends(), read_offsets(progress, self.topic))

    def ends(self) -> dict[int, int]:
        """Per partition, the offset that the topic's next record will get."""
        return read_end_offsets(self._admin, self._connection, self.topic)


def records_behind(ends: Mapping[int, int], taken: Mapping[int, int]) -> int:
    """Records between the offsets that were taken and the ends, over all partitions (a new one counts in full)."""
    return sum(max(0, end - taken.get(partition, 0)) for partition, end in ends.items())


def read_offsets(progress: Mapping[str, Any] | None, topic: str) -> dict[int, int]:
    """Per partition of `topic`, the offset a query goes on from."""
    return slowest([source["endOffset"] for source in progress["sources"]] if progress else [], topic)


def slowest(sources: Iterable[str | Mapping[str, Any] | None], topic: str) -> dict[int, int]:
    """Per partition of `topic`, the least of its sources' offsets, as Spark writes these: JSON text, or the object itself."""
    taken: dict[int, int] = {}
    for offsets in sources:
        by_topic = json.loads(offsets) if isinstance(offsets, str) else offsets
        for partition, offset in ((by_topic or {}).get(topic) or {}).items():
            taken[int(partition)] = min(offset, taken.get(int(partition), offset))
    return taken
