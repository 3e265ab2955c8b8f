"""Expectations and types as the text of Python conditions, for `python_parser` to compile.

A condition is about values that are not null; a pair's condition, and `not_null`, look at nulls themselves. Constants are never
written into the text: they are put into `constants` under a name of their own.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pyspark.sql import types as T

from common.contract.argument_checks import Kwargs

Constants = dict[str, Any]

EXACT = 2.0**53  # below, comparing a whole number and a double is the same in both languages
TYPES: dict[type[T.DataType], str] = {
    T.StringType: "type({0}) is str",
    T.DoubleType: "(type({0}) is float or type({0}) is int)",
    T.IntegerType: "(type({0}) is int and -2147483648 <= {0} <= 2147483647)",
    T.LongType: "(type({0}) is int and -9223372036854775808 <= {0} <= 9223372036854775807)",
    T.BooleanType: "type({0}) is bool",
    # From here on the variable is the time itself.
    T.TimestampType: "type({0}) is str and ({0} := read_time({0})) is not None",
}
# Where Java's `$` and `\Z` match, and what its dot does not.
JAVA_END = r"(?=(?:\r\n|[\n\r\u0085\u2028\u2029])?\Z)"
JAVA_DOT = r"[^\n\r\u0085\u2028\u2029]"
PIECES = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|[$.]", re.DOTALL)


def variable(column: str) -> str:
    """The variable that holds a column's value: a column may have a name that Python reserves."""
    return f"column_{column}"


def type_test(data_type: T.DataType, name: str) -> str:
    """Whether the value that orjson read, not null, is one of this type."""
    return TYPES[type(data_type)].format(name)


def not_null(kwargs: Kwargs, data_type: T.DataType, constants: Constants) -> str:
    return f"{variable(kwargs['column'])} is not None"


def between(kwargs: Kwargs, data_type: T.DataType, constants: Constants) -> str:
    name = variable(kwargs["column"])
    if isinstance(data_type, T.TimestampType):
        return _within(name, kwargs, constants, datetime.fromisoformat)
    bounds = [kwargs.get(bound) for bound in ("min_value", "max_value")]
    is_exact = all(bound is None or abs(bound) < EXACT for bound in bounds)
    return _within(name if is_exact else f"float({name})", kwargs, constants, float)


def in_set(kwargs: Kwargs, data_type: T.DataType, constants: Constants) -> str:
    return f"{variable(kwargs['column'])} in {_add_constant(constants, frozenset(kwargs['value_set']))}"


def matches_regex(kwargs: Kwargs, data_type: T.DataType, constants: Constants) -> str:
    return f"{_add_constant(constants, java_pattern(kwargs['regex']).search)}({variable(kwargs['column'])}) is not None"


def length_between(kwargs: Kwargs, data_type: T.DataType, constants: Constants) -> str:
    return _within(f"len({variable(kwargs['column'])})", kwargs, constants, float)


def a_greater_than_b(kwargs: Kwargs, data_type: T.DataType, constants: Constants) -> str:
    a, b = variable(kwargs["column_A"]), variable(kwargs["column_B"])
    return f"({a} is None or {b} is None or {a} {'>=' if kwargs.get('or_equal') else '>'} {b})"


def java_pattern(regex: str) -> re.Pattern[str]:
    """A pattern that matches what Java's does, for a regex written in what both languages have."""

    def in_python(piece: re.Match[str]) -> str:
        text = piece[0]
        return {"$": JAVA_END, r"\Z": JAVA_END, r"\z": r"\Z", ".": JAVA_DOT}.get(text, text)

    return re.compile(PIECES.sub(in_python, regex), re.ASCII)


def _within(value: str, kwargs: Kwargs, constants: Constants, read_bound: Callable[[Any], Any]) -> str:
    low, high = (kwargs.get(name) for name in ("min_value", "max_value"))
    text = value
    if low is not None:
        text = f"{_add_constant(constants, read_bound(low))} {'<' if kwargs.get('strict_min') else '<='} {text}"
    if high is not None:
        text = f"{text} {'<' if kwargs.get('strict_max') else '<='} {_add_constant(constants, read_bound(high))}"
    return f"({text})"


def _add_constant(constants: Constants, value: Any) -> str:
    """Put the value into `constants`; returns its name there."""
    name = f"constant_{len(constants)}"
    constants[name] = value
    return name
