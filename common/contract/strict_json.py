"""JSON and times as strictly as the stream reads them, in plain Python: slow, and exact about what is wrong."""

import json
import re
from datetime import UTC, datetime
from typing import Any

from common.contract.spark_parser import ISO_8601

LONGEST_NUMBER, LONGEST_NAME = 1_000, 50_000  # characters: Jackson, Spark's JSON reader, takes no longer ones
TIME = re.compile(ISO_8601.replace(r"\z", r"\Z"), re.ASCII)
LARGEST_OFFSET = "18:00"  # of Java's zones
EARLIEST = datetime.min.replace(tzinfo=UTC)


class MalformedJson(ValueError):
    """A text that is not one JSON object; the message says where."""


class Constant(float):
    """NaN or Infinity without quotes, which is no JSON."""


class Pairs(list[tuple[str, Any]]):
    """A JSON object's names and values as written, names that are there twice included."""


def read_object(raw: bytes) -> Pairs:
    """The one JSON object in `raw`. Raises UnicodeDecodeError or MalformedJson."""
    text = raw.decode()
    try:
        found = json.loads(text, object_pairs_hook=Pairs, parse_int=_whole, parse_float=_decimal, parse_constant=Constant)
    except (ValueError, RecursionError) as problem:
        raise MalformedJson(str(problem)) from None
    if not isinstance(found, Pairs):
        raise MalformedJson("it is another JSON value")
    if any(len(name) > LONGEST_NAME for name, _ in found):
        raise MalformedJson(f"a name of more than {LONGEST_NAME:,} characters")
    return found


def read_time(text: str) -> datetime | None:
    """The moment that an ISO 8601 date and time with its zone names; None for any other text."""
    if TIME.match(text) is None or (text[-1] != "Z" and not _is_offset(text[-5:])):
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        # The stream knows a year 0, a leap year as 2000 is one.
        return EARLIEST if text.startswith("0000") and read_time("2" + text[1:]) else None


def _is_offset(text: str) -> bool:
    return text <= LARGEST_OFFSET and text[3] < "6"


def _whole(digits: str) -> int:
    _check_length(digits)
    return int(digits)


def _decimal(digits: str) -> float:
    _check_length(digits)
    return float(digits)


def _check_length(digits: str) -> None:
    if len(digits) > LONGEST_NUMBER:
        raise ValueError(f"a number of {len(digits)} characters")
    return None
