"""Whole numbers that a client writes as 3.0, which JSON does not tell from 3, as an event of ours has them."""

from typing import Any

import orjson
from pyspark.sql import types as T

from common.contract.python_parser import names_are_apart

EXACT = 2.0**53  # from here on a double does not hold every whole number


class WholeNumbers:
    """Of the events of one schema."""

    def __init__(self, schema: T.StructType) -> None:
        self._fields = [field.name for field in schema if isinstance(field.dataType, T.IntegerType | T.LongType)]

    def of(self, event: bytes | dict[str, Any]) -> dict[str, Any] | None:
        """The event with whole numbers in the places of integers; None where that changes nothing."""
        if isinstance(event, bytes):
            text, event = event, orjson.loads(event)
            if not (isinstance(event, dict) and names_are_apart(text, len(event))):
                return None
        given = {name: value for name in self._fields if isinstance(value := event.get(name), float)}
        whole = {name: int(value) for name, value in given.items() if value.is_integer() and abs(value) < EXACT}
        return {**event, **whole} if whole else None
