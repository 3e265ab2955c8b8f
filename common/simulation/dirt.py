"""Breaks messages in the ways in which producers with bugs, and bad lines, do."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import orjson
from numpy.typing import NDArray

FLAWS = (
    "undecodable",
    "truncated",
    "wrong_type",
    "missing_field",
    "unknown_field",
    "not_a_number",
    "out_of_range",
    "future_time",
)
FAR_AHEAD = timedelta(days=3_650)


@dataclass(frozen=True)
class DirtyFields:
    """The fields of an event that flaws change."""

    number: str  # a required number, which is made text, NaN, or out of range
    out_of_range: float  # a value for it that the contract refuses
    required: str  # a required field, which is left out
    time: str  # the event time, which is set years ahead


def spoil(
    rng: np.random.Generator, values: NDArray[np.object_], fields: DirtyFields
) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """A broken copy of each JSON object in `values`, and the name of its flaw."""
    flaws = np.array(FLAWS, object)[rng.integers(len(FLAWS), size=len(values))]
    cuts = rng.random(len(values))
    broken_values = np.empty(len(values), object)
    broken_values[:] = [_break(value, flaw, fields, cut) for value, flaw, cut in zip(values, flaws, cuts, strict=True)]
    return broken_values, flaws


def _break(value: bytes, flaw: str, fields: DirtyFields, cut: float) -> bytes:
    position = 1 + int(cut * (len(value) - 2))
    if flaw == "undecodable":
        return value[:position] + b"\xff\xfe\x80" + value[position:]
    if flaw == "truncated":
        return value[:position]
    event = orjson.loads(value)
    if flaw == "not_a_number":
        event[fields.number] = "\0"
        return orjson.dumps(event).replace(b'"\\u0000"', b"NaN")
    if flaw == "missing_field":
        del event[fields.required]
    else:
        event |= _wrong_fields(event, flaw, fields)
    return orjson.dumps(event)


def _wrong_fields(event: dict, flaw: str, fields: DirtyFields) -> dict:
    """The fields that the flaw changes or adds, with their new values."""
    if flaw == "wrong_type":
        return {fields.number: "twelve"}
    if flaw == "unknown_field":
        return {"debug_trace": "x1"}
    if flaw == "out_of_range":
        return {fields.number: fields.out_of_range}
    future_time = datetime.fromisoformat(event[fields.time].removesuffix("Z")) + FAR_AHEAD
    return {fields.time: future_time.isoformat(timespec="milliseconds") + "Z"}
