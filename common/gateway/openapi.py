"""What OpenAPI says of the intake: for each vertical a schema made of its contract, and examples made by its generator."""

import json
from datetime import date
from typing import Any

from pyspark.sql import types as T

from common.contract.expectations import check_contract
from common.vertical import Vertical

# What of RFC 3339's date-time is taken: no small t and z, no more digits than nanoseconds, and no leap second.
TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:[0-5]\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$"
TYPES: dict[type[T.DataType], dict[str, str]] = {
    T.StringType: {"type": "string"}, T.DoubleType: {"type": "number"}, T.IntegerType: {"type": "integer"},
    T.LongType: {"type": "integer"}, T.BooleanType: {"type": "boolean"},
    T.TimestampType: {"type": "string", "format": "date-time", "pattern": TIME},
}
ID_LIST = {"type": "array", "items": {"type": "string"}}
REJECTED = {
    "type": "object",
    "required": ["index", "id", "reason", "detail"],
    "properties": {
        "index": {"type": ["integer", "null"], "description": "place in the request, from 0"},
        "id": {"type": ["string", "null"]},
        "reason": {"type": "string"},
        "detail": {"type": "string"},
    },
}
TAKEN = {
    "type": "object",
    "required": ["accepted", "ids"],
    "properties": {
        "accepted": {"type": "integer"},
        "ids": ID_LIST,
        "rejected": {"type": "array", "items": REJECTED},
        "not_acknowledged": ID_LIST,
        "detail": {"type": "string"},
    },
}
PROBLEM = {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}}
ANSWERS: dict[str, tuple[str, dict[str, Any]]] = {
    "202": ("all events are on the topic, acknowledged by all replicas", TAKEN),
    "400": ("a body or header that cannot be read", PROBLEM),
    "401": ("no token, or none of ours", PROBLEM),
    "403": ("the token has no such scope", PROBLEM),
    "408": ("the body took too long", PROBLEM),
    "409": ("the request with this Idempotency-Key is under way", PROBLEM),
    "413": ("the body is too large", PROBLEM),
    "415": ("a content type or encoding that is not read", PROBLEM),
    "422": ("some events break the contract, the others are on the topic; or an Idempotency-Key with another body",
            {"anyOf": [TAKEN, PROBLEM]}),
    "429": ("too many events of this client, or a full buffer; see Retry-After", PROBLEM),
    "503": ("Kafka does not answer; what is in not_acknowledged is to be sent again", {"anyOf": [TAKEN, PROBLEM]}),
}  # fmt: skip
BOUNDS = {("min_value", False): "minimum", ("min_value", True): "exclusiveMinimum",
          ("max_value", False): "maximum", ("max_value", True): "exclusiveMaximum"}


def intake(vertical: Vertical, security: list[dict[str, list[str]]]) -> dict[str, Any]:
    """The path item of `POST /v1/{vertical}/events`."""
    event, examples = event_schema(vertical), examples_of(vertical)
    # An event in another format has another shape.
    one = {"anyOf": [event, {"type": "object"}]} if vertical.also_accepts_plain else event
    texts = "\n".join(json.dumps(each) for each in examples)
    return {"post": {
        "summary": f"Send events of {vertical.name}: {vertical.title}",
        "operationId": f"send_{vertical.name}",
        "security": security,
        "parameters": [{
            "name": "Idempotency-Key", "in": "header", "required": False,
            "description": "the same key with the same body is answered as before, and nothing is sent again",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"}}],
        "requestBody": {"required": True, "content": {
            "application/json": {
                "schema": {"anyOf": [one, {"type": "array", "items": one}]},
                "examples": {"one": {"value": examples[0]}, "several": {"value": examples}}},
            "application/x-ndjson": {"schema": {"type": "string"}, "examples": {"several": {"value": texts}}}}},
        "responses": {status: response(*answer) for status, answer in ANSWERS.items()}}}  # fmt: skip


def event_schema(vertical: Vertical) -> dict[str, Any]:
    """The contract as JSON Schema; what that cannot say (an event of the future) is left to the answer."""
    properties: dict[str, Any] = {field.name: dict(TYPES[type(field.dataType)]) for field in vertical.event_schema}
    required = []
    for expectation in check_contract(vertical.event_schema, vertical.contract):
        if expectation.kind.reason == "missing_field":
            required.append(expectation.columns[0])
        elif len(expectation.columns) == 1:
            properties[expectation.columns[0]] |= _limits(expectation.type, expectation.kwargs)
    for name in properties.keys() - set(required):
        properties[name] = {"anyOf": [properties[name], {"type": "null"}]}
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


def examples_of(vertical: Vertical, number: int = 2) -> list[dict[str, Any]]:
    """Events that the vertical's generator made."""
    chunks = vertical.generate(1, date(2020, 1, 1), 1, vertical.population(**vertical.small), False)
    chunk = next(each for each in chunks if each.messages is not None and len(each.messages) >= number)
    assert chunk.messages is not None
    return [_without_nulls(json.loads(value)) for value in chunk.messages.values[:number]]


def _without_nulls(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if value is not None}


def _limits(kind: str, kwargs: Any) -> dict[str, Any]:
    if kind == "expect_column_values_to_be_in_set":
        return {"enum": list(kwargs["value_set"])}
    if kind == "expect_column_values_to_match_regex":
        return {"pattern": kwargs["regex"]}
    if kind == "expect_column_value_lengths_to_be_between":
        lengths = {"minLength": kwargs.get("min_value"), "maxLength": kwargs.get("max_value")}
        return {name: value for name, value in lengths.items() if value is not None}
    strict = {bound: bool(kwargs.get(f"strict_{bound[:3]}")) for bound in ("min_value", "max_value")}
    return {BOUNDS[bound, strict[bound]]: kwargs[bound] for bound in strict if isinstance(kwargs.get(bound), int | float)}


def response(said: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": said, "content": {"application/json": {"schema": schema}}}
