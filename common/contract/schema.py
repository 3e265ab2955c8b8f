"""Checks, when a vertical is loaded, that the core can hold its events: before a topic or a table is created."""

from pyspark.sql import types as T

from common.contract.expectations import ContractError, check_contract
from common.contract.kinds import FIELD_TYPES
from common.vertical import Vertical

# What to do about a type that is not supported.
REMEDIES: tuple[tuple[type[T.DataType], str], ...] = (
    (T.StructType, "give each of its values a field of its own, as in place_lat and place_lon"),
    (T.ArrayType, "send an event for each of its values, or its values as one text"),
    (T.MapType, "give each of its values a field of its own"),
    (T.DateType, "use timestamp: midnight with its zone"),
    (T.TimestampNTZType, "use timestamp: a time without a zone is no moment"),
    (T.DecimalType, "use double, or long in the smallest unit"),
    (T.FloatType, "use double"),
    (T.ShortType, "use integer"),
    (T.ByteType, "use integer"),
    (T.BinaryType, "use string, as base64"),
)


def check_vertical(vertical: Vertical) -> None:
    """Raises ContractError, which names the vertical and the field and says what to do. Needs no Spark session."""
    try:
        _check_types(vertical.event_schema)
        _check_roles(vertical)
        check_contract(vertical.event_schema, vertical.contract, (vertical.event_id, vertical.entity, vertical.event_time))
    except ContractError as problem:
        raise ContractError(f"vertical {vertical.name}, events.py: {problem}") from None


def _check_types(schema: T.StructType) -> None:
    for field in schema:
        if not isinstance(field.dataType, FIELD_TYPES):
            remedy = next((remedy for kind, remedy in REMEDIES if isinstance(field.dataType, kind)), "")
            supported = ", ".join(kind.typeName() for kind in FIELD_TYPES)
            problem = f"type {field.dataType.simpleString()} is not supported, only {supported} are"
            raise ContractError(f"field {field.name}: {problem}" + (f"; {remedy}" if remedy else ""))


def _check_roles(vertical: Vertical) -> None:
    roles: tuple[tuple[str, str, type[T.DataType]], ...] = (
        ("event_id", vertical.event_id, T.StringType),
        ("entity", vertical.entity, T.StringType),
        ("event_time", vertical.event_time, T.TimestampType),
    )
    for role, name, role_type in roles:
        if name not in vertical.event_schema.names:
            fields = ", ".join(vertical.event_schema.names)
            raise ContractError(f"{role} is to be field {name!r}, and the events have {fields}")
        field_type = vertical.event_schema[name].dataType
        if not isinstance(field_type, role_type):
            remedy = _remedy(role_type, field_type)
            raise ContractError(f"field {name}: type {field_type.simpleString()} cannot be the {role}; {remedy}")


def _remedy(role_type: type[T.DataType], field_type: T.DataType) -> str:
    if role_type is T.StringType:
        return "use string: ids are compared and hashed as text"
    return (
        "use timestamp, which is sent as ISO 8601 text with its zone (2026-01-31T12:00:00.000Z): the producer must "
        "convert a number, such as seconds or milliseconds since 1970"
        if isinstance(field_type, T.NumericType)
        else "use timestamp, which is sent as ISO 8601 text with its zone"
    )
