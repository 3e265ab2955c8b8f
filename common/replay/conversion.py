"""Converts values of files from elsewhere to an event's fields where that is exact, and leaves others as they are.

A value that cannot be converted is sent in its own form, so that the contract says what is wrong with it.
"""

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import orjson
from pyspark.sql import types as T

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
WHOLE_NUMBER = re.compile(r"\s*([+-]?\d+)(\.0*)?\s*", re.ASCII)
EPOCH_TEXT = re.compile(r"-?\d{9,}(\.\d+)?", re.ASCII)
SPECIAL = {"nan": math.nan, "inf": math.inf, "infinity": math.inf, "-inf": -math.inf, "-infinity": -math.inf}
BOOLEANS: dict[Any, bool] = {"true": True, "false": False, "1": True, "0": False, 1: True, 0: False}
INTEGERS: dict[type[T.DataType], int] = {T.ByteType: 8, T.ShortType: 16, T.IntegerType: 32, T.LongType: 64}


def converter_for(field: T.DataType) -> Callable[[Any], Any]:
    """A function from a file's value to that of the event's JSON, for a field of this type."""
    if isinstance(field, T.StringType):
        return as_text
    if isinstance(field, (T.DoubleType, T.FloatType, T.DecimalType)):
        return as_number
    if isinstance(field, T.BooleanType):
        return as_boolean
    if isinstance(field, T.TimestampType):
        return as_time
    if type(field) in INTEGERS:
        bound = 1 << INTEGERS[type(field)] - 1
        return lambda value: as_whole(value, bound)
    return lambda value: value


def as_text(value: Any) -> Any:
    """Whole numbers lose no digit and gain no point: 123 and 123.0 (an id beside a missing one) both become "123"."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return None if math.isnan(value) else str(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return str(value) if isinstance(value, (int, Decimal)) else value


def as_number(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 1 << 63:
        return float(value) if value.bit_length() < 1024 else str(value)
    if isinstance(value, str):
        if NUMBER.fullmatch(value):
            return number if math.isfinite(number := float(value)) else value
        return SPECIAL.get(value.strip().lower(), value)
    return value


def as_whole(value: Any, bound: int) -> Any:
    """A whole number in [-bound, bound)."""
    if isinstance(value, str):
        number = int(digits[1]) if len(value) < 40 and (digits := WHOLE_NUMBER.fullmatch(value)) else None
    elif isinstance(value, (float, Decimal)) and math.isfinite(value) and value == int(value):
        number = int(value)
    else:
        number = value if isinstance(value, int) and not isinstance(value, bool) else None
    if number is not None and -bound <= number < bound:
        return number
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def as_boolean(value: Any) -> Any:
    word = value.strip().lower() if isinstance(value, str) else value
    return BOOLEANS.get(word, value) if isinstance(word, (str, int, float)) else value


def as_time(value: Any) -> Any:
    """ISO-8601 text in UTC with milliseconds; see `epoch_milliseconds` for what is understood."""
    instant = epoch_milliseconds(value)
    return value if instant is None else iso_time(instant)


def epoch_milliseconds(value: Any) -> int | None:
    """Epoch milliseconds of ISO-8601 text (UTC where it names no zone) or of an epoch number; None for anything else.

    An epoch number's unit follows from its size: below 10^11 seconds, 10^14 milliseconds, 10^17 microseconds, else nanoseconds.
    """
    try:
        if isinstance(value, str):
            if EPOCH_TEXT.fullmatch(text := value.strip()):
                return _from_epoch(Decimal(text))
            time = datetime.fromisoformat(text)
            return (time.replace(tzinfo=time.tzinfo or UTC) - EPOCH) // timedelta(milliseconds=1)
        if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
            return _from_epoch(Decimal(value))
    except (ValueError, ArithmeticError):
        return None
    return None


def _from_epoch(number: Decimal) -> int:
    magnitude = abs(number)
    power = 3 if magnitude < 10**11 else 0 if magnitude < 10**14 else -3 if magnitude < 10**17 else -6
    instant = math.floor(number.scaleb(power))
    iso_time(instant)  # raises OverflowError beyond the calendar's range
    return instant


def iso_time(instant: int) -> str:
    """`2026-04-01T12:00:00.123Z` of epoch milliseconds."""
    return (EPOCH + timedelta(milliseconds=instant)).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def to_json(event: dict[str, Any]) -> bytes:
    """The event as JSON. Values beyond JSON stay as they are: NaN as NaN, bytes that are not UTF-8 as those bytes."""
    fragments = {name: _json_fragment(value) for name, value in event.items()}
    try:
        return orjson.dumps(fragments, default=str, option=orjson.OPT_NON_STR_KEYS)
    except TypeError:  # half a surrogate pair, or an integer of more than 64 bits inside a nested value
        return json.dumps(event, default=str).encode()


def _json_fragment(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return orjson.Fragment(b"NaN" if math.isnan(value) else b"Infinity" if value > 0 else b"-Infinity")
    if isinstance(value, bytes):
        return orjson.Fragment(b'"' + b"".join(_escape_byte(byte) for byte in value) + b'"')
    return value


def _escape_byte(byte: int) -> bytes:
    return b"\\u%04x" % byte if byte < 0x20 or byte in b'"\\' else bytes([byte])
