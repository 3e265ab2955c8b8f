"""Turns whole numbers that a client writes as 3.0 into the integers of our events: JSON does not tell 3.0 from 3."""

from typing import Any

import orjson
from pyspark.sql import types as T

from common.contract.python_parser import has_distinct_names
from common.contract.strict_json import read_object

INEXACT_FROM = 2.0**53  # from here on a double does not hold every whole number


class IntegerFields:
    """The fields of one schema that hold integers."""

    def __init__(self, schema: T.StructType) -> None:
        self._fields = [field.name for field in schema if isinstance(field.dataType, T.IntegerType | T.LongType)]

    def convert(self, event: bytes | dict[str, Any]) -> dict[str, Any] | None:
        """The event with integers in these fields where it has whole floats; None where that changes nothing."""
        if isinstance(event, bytes):
            try:
                text, event = event, orjson.loads(event)
            except orjson.JSONDecodeError:  # as half a surrogate pair, which the contract's own reader takes
                return None
            if not isinstance(event, dict) or _repeats_a_name(text, event):
                return None
        floats = {name: value for name in self._fields if isinstance(value := event.get(name), float)}
        integers = {name: int(value) for name, value in floats.items() if value.is_integer() and abs(value) < INEXACT_FROM}
        return {**event, **integers} if integers else None


def _repeats_a_name(text: bytes, event: dict[str, Any]) -> bool:
    return not has_distinct_names(text, len(event)) and len(read_object(text)) != len(event)
