"""Describes the intake for OpenAPI: for each vertical a schema made from its contract, and examples made by its generator."""

import json
from datetime import date
from typing import Any

from common.contract.json_schema import event_schema
from common.vertical import Vertical

IDS_SCHEMA = {"type": "array", "items": {"type": "string"}}
REJECTED_EVENT_SCHEMA = {
    "type": "object",
    "required": ["index", "id", "reason", "detail"],
    "properties": {
        "index": {"type": ["integer", "null"], "description": "place in the request, from 0"},
        "id": {"type": ["string", "null"]},
        "reason": {"type": "string"},
        "detail": {"type": "string"},
    },
}
RESULT_SCHEMA = {
    "type": "object",
    "required": ["accepted", "ids"],
    "properties": {
        "accepted": {"type": "integer"},
        "ids": IDS_SCHEMA,
        "rejected": {"type": "array", "items": REJECTED_EVENT_SCHEMA},
        "not_acknowledged": IDS_SCHEMA,
        "detail": {"type": "string"},
    },
}
PROBLEM_SCHEMA = {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}}
INTAKE_RESPONSES: dict[str, tuple[str, dict[str, Any]]] = {
    "202": ("all events are on the topic, acknowledged by all replicas", RESULT_SCHEMA),
    "400": ("a body or header that cannot be read", PROBLEM_SCHEMA),
    "401": ("no token, or none of ours", PROBLEM_SCHEMA),
    "403": ("the token has no such scope", PROBLEM_SCHEMA),
    "408": ("the body took too long", PROBLEM_SCHEMA),
    "409": ("the request with this Idempotency-Key is under way", PROBLEM_SCHEMA),
    "413": ("the body is too large", PROBLEM_SCHEMA),
    "415": ("a content type or encoding that is not read", PROBLEM_SCHEMA),
    "422": ("some events break the contract, the others are on the topic; or an Idempotency-Key with another body",
            {"anyOf": [RESULT_SCHEMA, PROBLEM_SCHEMA]}),
    "429": ("too many events of this client, or a full buffer; see Retry-After", PROBLEM_SCHEMA),
    "503": ("Kafka does not answer; what is in not_acknowledged is to be sent again", {"anyOf": [RESULT_SCHEMA, PROBLEM_SCHEMA]}),
}  # fmt: skip


def intake_path_item(vertical: Vertical, security: list[dict[str, list[str]]]) -> dict[str, Any]:
    """OpenAPI's path item of `POST /v1/{vertical}/events`."""
    event, examples = event_schema(vertical), example_events(vertical)
    # An event in another format has another shape.
    one_event = {"anyOf": [event, {"type": "object"}]} if vertical.formats else event
    ndjson = "\n".join(json.dumps(example) for example in examples)
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
                "schema": {"anyOf": [one_event, {"type": "array", "items": one_event}]},
                "examples": {"one": {"value": examples[0]}, "several": {"value": examples}}},
            "application/x-ndjson": {"schema": {"type": "string"}, "examples": {"several": {"value": ndjson}}}}},
        "responses": {status: json_response(*answer) for status, answer in INTAKE_RESPONSES.items()}}}  # fmt: skip


def example_events(vertical: Vertical, number: int = 2) -> list[dict[str, Any]]:
    """`number` events of the vertical's generator, without their empty fields."""
    chunks = vertical.generate(1, date(2020, 1, 1), 1, vertical.population(**vertical.small), False)
    chunk = next(chunk for chunk in chunks if chunk.messages is not None and len(chunk.messages) >= number)
    assert chunk.messages is not None
    return [_without_nulls(json.loads(value)) for value in chunk.messages.values[:number]]


def _without_nulls(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if value is not None}


def json_response(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's object of a response whose body is JSON."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}
