"""Reads JSON and times as strictly as the stream does, in plain Python: slow, and exact about what is wrong."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from common.contract.spark_parser import ISO_8601

MAX_NUMBER_CHARACTERS, MAX_NAME_CHARACTERS = 1_000, 50_000  # characters: Jackson, Spark's JSON reader, takes no longer ones
TIME = re.compile(ISO_8601.replace(r"\z", r"\Z"), re.ASCII)
MAX_OFFSET = "18:00"  # of Java's zones
EARLIEST = datetime.min.replace(tzinfo=UTC)


class MalformedJson(ValueError):
    """A text that is not one JSON object; the message says where."""


class Constant(float):
    """NaN or Infinity without quotes, which JSON does not have."""


class Pairs(list[tuple[str, Any]]):
    """A JSON object's names and values as written; a name may occur twice."""


def read_object(raw: bytes) -> Pairs:
    """The one JSON object in `raw`. Raises UnicodeDecodeError or MalformedJson."""
    text = raw.decode()
    try:
        value = json.loads(
            text, object_pairs_hook=Pairs, parse_int=_parse_whole, parse_float=_parse_decimal, parse_constant=Constant
        )
    except (ValueError, RecursionError) as problem:
        raise MalformedJson(str(problem)) from None
    if not isinstance(value, Pairs):
        raise MalformedJson("it is another JSON value")
    if any(len(name) > MAX_NAME_CHARACTERS for name, _ in value):
        raise MalformedJson(f"a name of more than {MAX_NAME_CHARACTERS:,} characters")
    return value


def read_time(text: str) -> datetime | None:
    """The moment of an ISO 8601 date and time with its zone; None for any other text."""
    if TIME.match(text) is None or (text[-1] != "Z" and not _is_offset(text[-5:])):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        # The stream has a year 0, which is a leap year, as 2000 is.
        return EARLIEST if text.startswith("0000") and read_time("2" + text[1:]) else None


def _is_offset(text: str) -> bool:
    return text <= MAX_OFFSET and text[3] < "6"


def _parse_whole(digits: str) -> int:
    _check_length(digits)
    return int(digits)


def _parse_decimal(digits: str) -> float:
    _check_length(digits)
    return float(digits)


def _check_length(digits: str) -> None:
    if len(digits) > MAX_NUMBER_CHARACTERS:
        raise ValueError(f"a number of {len(digits)} characters")
    return None
