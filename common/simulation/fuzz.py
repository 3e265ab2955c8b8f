"""Records as nobody meant them: what a hostile or very broken producer may put on a topic. Each kind starts from a valid one."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LARGEST = 900_000  # bytes: a topic takes records of 1 MB unless told otherwise
BEYOND_A_TOPIC = 10_000_000
DEPTHS = (3, 64, 900, 1_100, 20_000)  # Jackson, Spark's JSON reader, gives up at 1,000 levels
VALUES = (
    b"null", b"true", b"[]", b"{}", b'""', b'"\\u0000"', b'"\\ud800"', b'"NaN"', b"NaN", b"-0.0", b"1e400", b"-1e999999999",
    b"9223372036854775808", b"0.1e-400", b"1" * 1_500, b'"' + b"9" * 1_500 + b'"', b"[[[[[]]]]]", b'{"a": {"a": 1}}',
    b'"9999-12-31T23:59:59Z"', b'"0000-00-00T00:00:00Z"', b'"0000-06-01T00:00:00Z"', b"01", b"+1", b".5", b"'text'", b'"\t"',
    b'"\x00"',
)  # fmt: skip
WRAPPED = (
    b"%s%s", b"%s, %s", b"[%s, %s]", b"%s\n%s", b"\xef\xbb\xbf%s", b"/* */%s", b"%s//", b"\x00%s", b"%s\x00", b"%s}", b"{%s",
    b"  %s  ",
)  # fmt: skip

# Milliseconds: none, long before Kafka, seconds and microseconds in their place, and beyond what Spark, Python and Java can hold.
TIMESTAMPS = (
    -1, -5, 0, 1, 1_711_965_600, 1_711_965_600_000_000, 4_070_944_800_000, 253_402_300_800_000, 9_223_372_036_854_775,
    9_300_000_000_000_000, (1 << 63) - 1, -(1 << 63),
)  # fmt: skip
KEYS = (None, b"", b"\x00", b"\xff\xfe", b"fuzz", b"x" * 5_000)
HEADERS: tuple[tuple[str, bytes | None], ...] = (
    ("", b""), ("", None), ("reason", b"\xff"), ("x" * 1_000, None), ("offset", b"-1"), ("\u2028", b"\x00" * 500),
)  # fmt: skip

Fuzz = Callable[[np.random.Generator, bytes], bytes | None]
Headers = list[tuple[str, bytes | None]]


class Envelope(NamedTuple):
    """What stands around a record's value; timestamp in epoch milliseconds, as a producer may write it."""

    key: bytes | None
    headers: Headers
    timestamp: int


def envelope(rng: np.random.Generator) -> Envelope:
    """Something around a value that nobody meant."""
    key = KEYS[rng.integers(len(KEYS))] if rng.random() < 0.5 else rng.bytes(int(rng.integers(1, 30)))
    headers = [HEADERS[rng.integers(len(HEADERS))] for _ in range(int(rng.integers(4)))]
    odd = rng.random() < 0.7
    timestamp = TIMESTAMPS[rng.integers(len(TIMESTAMPS))] if odd else int(rng.integers(-(1 << 63), (1 << 63) - 1))
    return Envelope(key, headers, timestamp)


def fuzzed(rng: np.random.Generator, value: bytes) -> bytes | None:
    """Something in the place of `value`, one valid JSON object; by chance it may be valid all the same."""
    kind: Fuzz = KINDS[rng.integers(len(KINDS))]
    return kind(rng, value)


def _random_bytes(rng: np.random.Generator, value: bytes) -> bytes:
    return rng.bytes(int(rng.integers(300)))


def _flipped(rng: np.random.Generator, value: bytes) -> bytes:
    spoilt = bytearray(value)
    for _ in range(int(rng.integers(1, 6))):
        spoilt[rng.integers(len(spoilt))] = rng.integers(256)
    return bytes(spoilt)


def _truncated(rng: np.random.Generator, value: bytes) -> bytes:
    return value[: rng.integers(len(value))]


def _nested(rng: np.random.Generator, value: bytes) -> bytes:
    depth = int(rng.choice(DEPTHS))
    left, right = ((b'{"a":', b"}"), (b"[", b"]"))[rng.integers(2)]
    deep = left * depth + b"1" + right * depth
    return deep if rng.random() < 0.5 else _with_value(rng, value, deep)


def _wrong_value(rng: np.random.Generator, value: bytes) -> bytes:
    return _with_value(rng, value, VALUES[rng.integers(len(VALUES))])


def _control_characters(rng: np.random.Generator, value: bytes) -> bytes:
    at = rng.integers(len(value))
    return value[:at] + bytes([rng.integers(32)]) + value[at:]


def _duplicate_key(rng: np.random.Generator, value: bytes) -> bytes:
    fields = value[1:-1].split(b",")
    return b"{" + b",".join([*fields, fields[rng.integers(len(fields))]]) + b"}"


def _wrapped(rng: np.random.Generator, value: bytes) -> bytes:
    return WRAPPED[rng.integers(len(WRAPPED))].replace(b"%s", value)


def _long(rng: np.random.Generator, value: bytes) -> bytes:
    text = b"x" * int(rng.choice((1_000, 60_000, LARGEST, BEYOND_A_TOPIC), p=(0.7, 0.28, 0.015, 0.005)))
    return _with_value(rng, value, b'"' + text + b'"') if rng.random() < 0.5 else b'{"' + text + b'":1,' + value[1:]


def _other_encoding(rng: np.random.Generator, value: bytes) -> bytes:
    return value.decode().encode(("utf-16", "utf-32-be", "utf-7")[rng.integers(3)])


def _nothing(rng: np.random.Generator, value: bytes) -> bytes | None:
    return (None, b"", b" ", b"null", b"[]", b"{}", b'""', b"0")[rng.integers(8)]


def _with_value(rng: np.random.Generator, value: bytes, other: bytes) -> bytes:
    """The object with one field's value replaced; where a comma stands within a text it becomes no JSON, which will do too."""
    fields = value[1:-1].split(b",")
    at = rng.integers(len(fields))
    fields[at] = fields[at].partition(b":")[0] + b":" + other
    return b"{" + b",".join(fields) + b"}"


KINDS: tuple[Fuzz, ...] = (
    _random_bytes, _flipped, _truncated, _nested, _wrong_value, _control_characters, _duplicate_key, _wrapped, _long,
    _other_encoding, _nothing,
)  # fmt: skip
