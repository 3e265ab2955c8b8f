"""Makes records such as a hostile or very broken producer may put on a topic, each by changing a valid one."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

LARGEST_VALUE_BYTES = 900_000  # a topic takes records of 1 MB, unless it is set to another size
OVERSIZED_BYTES = 10_000_000  # more than a topic takes
DEPTHS = (3, 64, 900, 1_100, 20_000)  # Jackson, Spark's JSON reader, gives up at 1,000 levels
ODD_VALUES = (
    b"null", b"true", b"[]", b"{}", b'""', b'"\\u0000"', b'"\\ud800"', b'"NaN"', b"NaN", b"-0.0", b"1e400", b"-1e999999999",
    b"9223372036854775808", b"0.1e-400", b"1" * 1_500, b'"' + b"9" * 1_500 + b'"', b"[[[[[]]]]]", b'{"a": {"a": 1}}',
    b'"9999-12-31T23:59:59Z"', b'"0000-00-00T00:00:00Z"', b'"0000-06-01T00:00:00Z"', b"01", b"+1", b".5", b"'text'", b'"\t"',
    b'"\x00"',
)  # fmt: skip
WRAPPINGS = (
    b"%s%s", b"%s, %s", b"[%s, %s]", b"%s\n%s", b"\xef\xbb\xbf%s", b"/* */%s", b"%s//", b"\x00%s", b"%s\x00", b"%s}", b"{%s",
    b"  %s  ",
)  # fmt: skip

# Milliseconds: none, long before Kafka, seconds and microseconds by mistake, and beyond what Spark, Python and Java can hold.
TIMESTAMPS = (
    -1, -5, 0, 1, 1_711_965_600, 1_711_965_600_000_000, 4_070_944_800_000, 253_402_300_800_000, 9_223_372_036_854_775,
    9_300_000_000_000_000, (1 << 63) - 1, -(1 << 63),
)  # fmt: skip
KEYS = (None, b"", b"\x00", b"\xff\xfe", b"fuzz", b"x" * 5_000)
HEADERS: tuple[tuple[str, bytes | None], ...] = (
    ("", b""), ("", None), ("reason", b"\xff"), ("x" * 1_000, None), ("offset", b"-1"), ("\u2028", b"\x00" * 500),
)  # fmt: skip

Fuzzer = Callable[[np.random.Generator, bytes], bytes | None]
Headers = list[tuple[str, bytes | None]]


class Envelope(NamedTuple):
    """A record without its value; timestamp in epoch milliseconds, as a producer may set it."""

    key: bytes | None
    headers: Headers
    timestamp: int


def fuzz_envelope(rng: np.random.Generator) -> Envelope:
    """Key, headers and timestamp that are random, or taken from lists of odd ones."""
    key = KEYS[rng.integers(len(KEYS))] if rng.random() < 0.5 else rng.bytes(int(rng.integers(1, 30)))
    headers = [HEADERS[rng.integers(len(HEADERS))] for _ in range(int(rng.integers(4)))]
    is_listed = rng.random() < 0.7
    timestamp = TIMESTAMPS[rng.integers(len(TIMESTAMPS))] if is_listed else int(rng.integers(-(1 << 63), (1 << 63) - 1))
    return Envelope(key, headers, timestamp)


def fuzz_value(rng: np.random.Generator, value: bytes) -> bytes | None:
    """A broken variant of `value`, which is one valid JSON object; by chance the variant may be valid too."""
    fuzzer: Fuzzer = FUZZERS[rng.integers(len(FUZZERS))]
    return fuzzer(rng, value)


def _replace_by_random_bytes(rng: np.random.Generator, value: bytes) -> bytes:
    return rng.bytes(int(rng.integers(300)))


def _flip_bytes(rng: np.random.Generator, value: bytes) -> bytes:
    changed_bytes = bytearray(value)
    for _ in range(int(rng.integers(1, 6))):
        changed_bytes[rng.integers(len(changed_bytes))] = rng.integers(256)
    return bytes(changed_bytes)


def _truncate(rng: np.random.Generator, value: bytes) -> bytes:
    return value[: rng.integers(len(value))]


def _nest(rng: np.random.Generator, value: bytes) -> bytes:
    depth = int(rng.choice(DEPTHS))
    prefix, suffix = ((b'{"a":', b"}"), (b"[", b"]"))[rng.integers(2)]
    nested = prefix * depth + b"1" + suffix * depth
    return nested if rng.random() < 0.5 else _with_value(rng, value, nested)


def _replace_value(rng: np.random.Generator, value: bytes) -> bytes:
    return _with_value(rng, value, ODD_VALUES[rng.integers(len(ODD_VALUES))])


def _insert_control_character(rng: np.random.Generator, value: bytes) -> bytes:
    position = rng.integers(len(value))
    return value[:position] + bytes([rng.integers(32)]) + value[position:]


def _duplicate_field(rng: np.random.Generator, value: bytes) -> bytes:
    fields = value[1:-1].split(b",")
    return b"{" + b",".join([*fields, fields[rng.integers(len(fields))]]) + b"}"


def _wrap(rng: np.random.Generator, value: bytes) -> bytes:
    return WRAPPINGS[rng.integers(len(WRAPPINGS))].replace(b"%s", value)


def _lengthen(rng: np.random.Generator, value: bytes) -> bytes:
    text = b"x" * int(rng.choice((1_000, 60_000, LARGEST_VALUE_BYTES, OVERSIZED_BYTES), p=(0.7, 0.28, 0.015, 0.005)))
    return _with_value(rng, value, b'"' + text + b'"') if rng.random() < 0.5 else b'{"' + text + b'":1,' + value[1:]


def _reencode(rng: np.random.Generator, value: bytes) -> bytes:
    return value.decode().encode(("utf-16", "utf-32-be", "utf-7")[rng.integers(3)])


def _replace_by_no_event(rng: np.random.Generator, value: bytes) -> bytes | None:
    return (None, b"", b" ", b"null", b"[]", b"{}", b'""', b"0")[rng.integers(8)]


def _with_value(rng: np.random.Generator, value: bytes, new_value: bytes) -> bytes:
    """The object with one field's value replaced; a comma within a text makes it no JSON, which serves as well."""
    fields = value[1:-1].split(b",")
    index = rng.integers(len(fields))
    fields[index] = fields[index].partition(b":")[0] + b":" + new_value
    return b"{" + b",".join(fields) + b"}"


FUZZERS: tuple[Fuzzer, ...] = (
    _replace_by_random_bytes, _flip_bytes, _truncate, _nest, _replace_value, _insert_control_character, _duplicate_field, _wrap,
    _lengthen, _reencode, _replace_by_no_event,
)  # fmt: skip
