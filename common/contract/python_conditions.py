"""Expectations and types as the text of Python conditions, for `plain` to compile.

Constants are never written into the text: they are put into `constants` under a name of their own.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

from pyspark.sql import types as T

from common.contract.expectations import Expectation

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
    """The variable that holds a column's value: a column may have a name that Python keeps for itself."""
    return f"column_{column}"


def type_test(data_type: T.DataType, name: str) -> str:
    """Whether what orjson made of a JSON value, not null, is one of this type."""
    return TYPES[type(data_type)].format(name)


def predicate(expectation: Expectation, constants: Constants) -> str:
    """Whether it holds for values that are there and of their type; for a pair of columns, nulls are looked at here."""
    return PREDICATES[expectation.type](expectation, constants)


def java_pattern(regex: str) -> re.Pattern[str]:
    """A pattern that finds what Java's finds, where it is written in what both languages have."""
    def same(piece: re.Match[str]) -> str:
        text = piece[0]
        return {"$": JAVA_END, r"\Z": JAVA_END, r"\z": r"\Z", ".": JAVA_DOT}.get(text, text)

    return re.compile(PIECES.sub(same, regex), re.ASCII)


def _there(expectation: Expectation, constants: Constants) -> str:
    return f"{_column(expectation)} is not None"


def _between(expectation: Expectation, constants: Constants) -> str:
    name = _column(expectation)
    if isinstance(expectation.data_type, T.TimestampType):
        return _within(name, expectation, constants, datetime.fromisoformat)
    bounds = [expectation.kwargs.get(bound) for bound in ("min_value", "max_value")]
    exact = all(bound is None or abs(bound) < EXACT for bound in bounds)
    return _within(name if exact else f"float({name})", expectation, constants, float)


def _lengths(expectation: Expectation, constants: Constants) -> str:
    return _within(f"len({_column(expectation)})", expectation, constants, float)


def _within(value: str, expectation: Expectation, constants: Constants, read: Callable[[Any], Any]) -> str:
    low, high = (expectation.kwargs.get(name) for name in ("min_value", "max_value"))
    text = value
    if low is not None:
        text = f"{_named(constants, read(low))} {'<' if expectation.kwargs.get('strict_min') else '<='} {text}"
    if high is not None:
        text = f"{text} {'<' if expectation.kwargs.get('strict_max') else '<='} {_named(constants, read(high))}"
    return f"({text})"


def _in_set(expectation: Expectation, constants: Constants) -> str:
    return f"{_column(expectation)} in {_named(constants, frozenset(expectation.kwargs['value_set']))}"


def _matches(expectation: Expectation, constants: Constants) -> str:
    search = java_pattern(expectation.kwargs["regex"]).search
    return f"{_named(constants, search)}({_column(expectation)}) is not None"


def _greater(expectation: Expectation, constants: Constants) -> str:
    a, b = map(variable, expectation.columns)
    return f"({a} is None or {b} is None or {a} {'>=' if expectation.kwargs.get('or_equal') else '>'} {b})"


def _column(expectation: Expectation) -> str:
    return variable(expectation.columns[0])


def _named(constants: Constants, value: Any) -> str:
    name = f"constant_{len(constants)}"
    constants[name] = value
    return name


PREDICATES: dict[str, Callable[[Expectation, Constants], str]] = {
    "expect_column_values_to_not_be_null": _there,
    "expect_column_values_to_be_between": _between,
    "expect_column_values_to_be_in_set": _in_set,
    "expect_column_values_to_match_regex": _matches,
    "expect_column_value_lengths_to_be_between": _lengths,
    "expect_column_pair_values_a_to_be_greater_than_b": _greater,
}
