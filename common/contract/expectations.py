"""great-expectations' configuration dictionaries, checked when a contract is read and compiled to Spark predicates."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.errors import UserError, did_you_mean

NUMBERS = (T.DoubleType, T.LongType, T.IntegerType)
FIELD_TYPES = (T.StringType, *NUMBERS, T.BooleanType, T.TimestampType)
# What great-expectations keeps beside an expectation and no row depends on.
REMARKS = {"meta", "notes", "description", "severity"}
# Columns that stand beside an event's own.
RESERVED = {"ingest_time", "topic", "kafka_partition", "kafka_offset", "event_day", "raw", "key", "reason", "detail"}

Kwargs = Mapping[str, Any]


class ContractError(UserError, ValueError):
    """A contract that cannot be compiled; the message names the expectation and says what would do."""


@dataclass(frozen=True)
class Kind:
    """A supported type of expectation: its arguments, why a row that fails it is rejected, and the predicate."""

    reason: str
    needs: tuple[str, ...]
    takes: tuple[str, ...]
    on: tuple[type[T.DataType], ...]
    problem: Callable[[Kwargs, T.DataType], str | None]
    holds: Callable[[Kwargs, T.DataType], Column]


@dataclass(frozen=True)
class Expectation:
    """One expectation of a contract on columns that exist, with arguments that fit them."""

    kind: Kind
    type: str
    kwargs: Kwargs
    data_type: T.DataType

    @property
    def columns(self) -> list[str]:
        return [self.kwargs[name] for name in ("column", "column_A", "column_B") if name in self.kwargs]

    @property
    def holds(self) -> Column:
        """True or false for every row, never null."""
        return self.kind.holds(self.kwargs, self.data_type)

    def __str__(self) -> str:
        return f"{self.type}({', '.join(f'{name}={value!r}' for name, value in self.kwargs.items())})"


def _nulls_pass(holds: Column) -> Column:
    return F.coalesce(holds, F.lit(True))


def _within(value: Column, kwargs: Kwargs, data_type: T.DataType) -> Column:
    low, high = (kwargs.get(name) for name in ("min_value", "max_value"))
    holds = F.lit(True)
    if low is not None:
        bound = F.lit(low).cast(data_type)
        holds = value > bound if kwargs.get("strict_min") else value >= bound
    if high is not None:
        bound = F.lit(high).cast(data_type)
        below = value < bound if kwargs.get("strict_max") else value <= bound
        holds = below if low is None else holds & below
    return _nulls_pass(holds)


def _between(kwargs: Kwargs, data_type: T.DataType) -> Column:
    # A bound of 0.5 on a whole number must stay 0.5.
    return _within(F.col(kwargs["column"]), kwargs, T.DoubleType() if isinstance(data_type, NUMBERS) else data_type)


def _lengths(kwargs: Kwargs, data_type: T.DataType) -> Column:
    return _within(F.char_length(kwargs["column"]), kwargs, T.DoubleType())


def _greater(kwargs: Kwargs, data_type: T.DataType) -> Column:
    a, b = F.col(kwargs["column_A"]), F.col(kwargs["column_B"])
    # One value without the other passes, whatever ignore_row_if says: great-expectations does so on Spark.
    return _nulls_pass(a >= b if kwargs.get("or_equal") else a > b)


def _bounds_problem(kwargs: Kwargs, data_type: T.DataType) -> str | None:
    bounds = [kwargs[name] for name in ("min_value", "max_value") if kwargs.get(name) is not None]
    if not bounds:
        return "needs min_value, max_value or both"
    wrong = [bound for bound in bounds if not _fits(bound, data_type)]
    return f"{wrong[0]!r} is no bound for a column of type {data_type.simpleString()}" if wrong else None


def _length_problem(kwargs: Kwargs, data_type: T.DataType) -> str | None:
    return _bounds_problem(kwargs, T.LongType())


def _set_problem(kwargs: Kwargs, data_type: T.DataType) -> str | None:
    values = kwargs["value_set"]
    if not isinstance(values, list | tuple) or not values:
        return "value_set must be a list with at least one value"
    wrong = [value for value in values if not _fits(value, data_type)]
    return f"{wrong[0]!r} is never in a column of type {data_type.simpleString()}" if wrong else None


def _regex_problem(kwargs: Kwargs, data_type: T.DataType) -> str | None:
    try:
        re.compile(kwargs["regex"])
    except (re.error, TypeError) as error:
        return f"regex {kwargs['regex']!r} cannot be read: {error}"
    return None


def _pair_problem(kwargs: Kwargs, data_type: T.DataType) -> str | None:
    known = ("both_values_are_missing", "either_value_is_missing")
    if kwargs.get("ignore_row_if", known[0]) not in known:
        return f"ignore_row_if must be {' or '.join(known)}"
    return None


def _fits(value: Any, data_type: T.DataType) -> bool:
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


def _nothing_wrong(kwargs: Kwargs, data_type: T.DataType) -> str | None:
    return None


_RANGE = ("min_value", "max_value", "strict_min", "strict_max")
_TEXT = (T.StringType,)
_ORDERED = (*NUMBERS, T.TimestampType)

KINDS: dict[str, Kind] = {
    "expect_column_values_to_not_be_null": Kind(
        "missing_field", ("column",), (), FIELD_TYPES, _nothing_wrong, lambda kwargs, _: F.col(kwargs["column"]).isNotNull()
    ),
    "expect_column_values_to_be_between": Kind("out_of_range", ("column",), _RANGE, _ORDERED, _bounds_problem, _between),
    "expect_column_values_to_be_in_set": Kind(
        "not_in_set", ("column", "value_set"), (), (*_TEXT, *NUMBERS, T.BooleanType), _set_problem,
        lambda kwargs, _: _nulls_pass(F.col(kwargs["column"]).isin(list(kwargs["value_set"]))),
    ),
    "expect_column_values_to_match_regex": Kind(
        "bad_format", ("column", "regex"), (), _TEXT, _regex_problem,
        lambda kwargs, _: _nulls_pass(F.col(kwargs["column"]).rlike(kwargs["regex"])),
    ),
    "expect_column_value_lengths_to_be_between": Kind("bad_format", ("column",), _RANGE, _TEXT, _length_problem, _lengths),
    "expect_column_pair_values_a_to_be_greater_than_b": Kind(
        "out_of_range", ("column_A", "column_B"), ("or_equal", "ignore_row_if"), _ORDERED, _pair_problem, _greater
    ),
}  # fmt: skip


def check_contract(
    schema: T.StructType, contract: Iterable[Mapping[str, Any]], required: Iterable[str] = ()
) -> tuple[Expectation, ...]:
    """The contract's expectations, missing fields first; raises ContractError on what cannot be compiled.

    `required`: columns that the contract must expect not to be null. Needs no Spark session.
    """
    _check_fields(schema)
    expectations = [_expectation(schema, number, entry) for number, entry in enumerate(contract, 1)]
    never_null = {e.columns[0] for e in expectations if e.kind.reason == "missing_field"}
    for column in required:
        if column not in never_null:
            raise ContractError(f"field {column}: add expect_column_values_to_not_be_null, without it no event can be judged")
    return tuple(sorted(expectations, key=lambda e: e.kind.reason != "missing_field"))


def _check_fields(schema: T.StructType) -> None:
    for field in schema:
        if not isinstance(field.dataType, FIELD_TYPES):
            supported = ", ".join(kind.typeName() for kind in FIELD_TYPES)
            raise ContractError(f"field {field.name}: type {field.dataType.simpleString()} is not supported; use {supported}")
        if not re.fullmatch(r"[A-Za-z]\w*", field.name, re.ASCII):
            raise ContractError(f"field {field.name!r}: a name is ASCII letters, digits and underscores, a letter first")
        if field.name.lower() in RESERVED:
            raise ContractError(f"field {field.name}: the core has a column of that name; choose another")


def _expectation(schema: T.StructType, number: int, entry: Mapping[str, Any]) -> Expectation:
    name, kwargs = entry.get("type"), entry.get("kwargs", {})
    where = f"expectation {number}, {name}"
    if name not in KINDS:
        raise ContractError(f"{where}: not supported{did_you_mean(str(name), KINDS)}; supported are {', '.join(KINDS)}")
    for key in set(entry) - {"type", "kwargs"} - REMARKS:
        raise ContractError(f"{where}: unknown entry {key!r}{did_you_mean(key, REMARKS)}")
    kind = KINDS[name]
    known = (*kind.needs, *kind.takes)
    for key in kwargs:
        if key == "mostly":
            raise ContractError(f"{where}: takes no mostly: each event is judged alone, so it holds for all or is left out")
        if key not in known:
            raise ContractError(f"{where}: unknown argument {key!r}{did_you_mean(key, known)}; it takes {', '.join(known)}")
    for key in kind.needs:
        if key not in kwargs:
            raise ContractError(f"{where}: needs the argument {key!r}")
    data_type = _data_type(schema, kind, kwargs, where)
    problem = kind.problem(kwargs, data_type)
    if problem:
        raise ContractError(f"{where}: {problem}")
    return Expectation(kind, name, dict(kwargs), data_type)


def _data_type(schema: T.StructType, kind: Kind, kwargs: Kwargs, where: str) -> T.DataType:
    for key in ("column", "column_A", "column_B"):
        column = kwargs.get(key)
        if column is None:
            continue
        if column not in schema.names:
            near = did_you_mean(str(column), schema.names)
            raise ContractError(f"{where}: no field {column!r}{near}; the event has {', '.join(schema.names)}")
        if not isinstance(schema[column].dataType, kind.on):
            raise ContractError(f"{where}: does not apply to {column} of type {schema[column].dataType.simpleString()}")
    data_type: T.DataType = schema[kwargs.get("column", kwargs.get("column_A"))].dataType
    other = schema[kwargs["column_B"]].dataType if "column_B" in kwargs else data_type
    if isinstance(data_type, T.TimestampType) != isinstance(other, T.TimestampType):
        raise ContractError(f"{where}: {data_type.simpleString()} and {other.simpleString()} cannot be compared")
    return data_type
