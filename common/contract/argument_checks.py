"""Checks an expectation's arguments when a contract is read: each function gives what is wrong with them, or None."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pyspark.sql import types as T

NUMBERS = (T.DoubleType, T.LongType, T.IntegerType)
ROW_CONDITIONS = ("both_values_are_missing", "either_value_is_missing")  # of great-expectations' ignore_row_if

Kwargs = Mapping[str, Any]


def no_problem(kwargs: Kwargs, data_type: T.DataType) -> str | None:
    return None


def bounds_problem(kwargs: Kwargs, data_type: T.DataType) -> str | None:
    bounds = [kwargs[name] for name in ("min_value", "max_value") if kwargs.get(name) is not None]
    if not bounds:
        return "needs min_value, max_value or both"
    misfits = [bound for bound in bounds if not _fits(bound, data_type)]
    return f"{misfits[0]!r} is no bound for a column of type {data_type.simpleString()}" if misfits else None


def lengths_problem(kwargs: Kwargs, data_type: T.DataType) -> str | None:
    return bounds_problem(kwargs, T.LongType())


def set_problem(kwargs: Kwargs, data_type: T.DataType) -> str | None:
    values = kwargs["value_set"]
    if not isinstance(values, list | tuple) or not values:
        return "value_set must be a list with at least one value"
    misfits = [value for value in values if not _fits(value, data_type)]
    return f"{misfits[0]!r} is never in a column of type {data_type.simpleString()}" if misfits else None


def regex_problem(kwargs: Kwargs, data_type: T.DataType) -> str | None:
    try:
        re.compile(kwargs["regex"])
    except (re.error, TypeError) as error:
        return f"regex {kwargs['regex']!r} cannot be read: {error}"
    return None


def pair_problem(kwargs: Kwargs, data_type: T.DataType) -> str | None:
    if kwargs.get("ignore_row_if", ROW_CONDITIONS[0]) not in ROW_CONDITIONS:
        return f"ignore_row_if must be {' or '.join(ROW_CONDITIONS)}"
    return None


def _fits(value: Any, data_type: T.DataType) -> bool:
    """Whether a column of the type can hold the value, as a bound or as one of a set."""
    if isinstance(data_type, NUMBERS):
        return isinstance(value, int | float) and not isinstance(value, bool) and value == value
    if isinstance(data_type, T.BooleanType):
        return isinstance(value, bool)
    if not isinstance(value, str):
        return False
    return isinstance(data_type, T.StringType) or _is_timestamp(value)


def _is_timestamp(text: str) -> bool:
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
