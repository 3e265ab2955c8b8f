"""Describes a vertical's events as JSON Schema, by its contract."""

from typing import Any

from pyspark.sql import types as T

from common.contract.expectations import check_contract
from common.vertical import Vertical

# What we read of RFC 3339's date-time: no small t and z, no more digits than nanoseconds, and no leap second.
TIME_PATTERN = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$"
JSON_TYPES: dict[type[T.DataType], dict[str, str]] = {
    T.StringType: {"type": "string"},
    T.DoubleType: {"type": "number"},
    T.IntegerType: {"type": "integer"},
    T.LongType: {"type": "integer"},
    T.BooleanType: {"type": "boolean"},
    T.TimestampType: {"type": "string", "format": "date-time", "pattern": TIME_PATTERN},
}


def event_schema(vertical: Vertical) -> dict[str, Any]:
    """The schema of an event. JSON Schema cannot express all of the contract, such as that an event is not from the future."""
    properties: dict[str, Any] = {field.name: dict(JSON_TYPES[type(field.dataType)]) for field in vertical.event_schema}
    required = []
    for expectation in check_contract(vertical.event_schema, vertical.contract):
        properties[expectation.columns[0]] |= expectation.json_keywords
        if expectation.is_required_field:
            required.append(expectation.columns[0])
    for name in properties.keys() - set(required):
        properties[name] = {"anyOf": [properties[name], {"type": "null"}]}
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}
