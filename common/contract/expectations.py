"""Reads a contract: checks great-expectations' configuration dictionaries against an event's schema."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column
from pyspark.sql import types as T

from common.contract.argument_checks import Kwargs
from common.contract.kinds import FIELD_TYPES, KINDS, MISSING_FIELD, ExpectationKind
from common.contract.python_conditions import Constants
from common.errors import UserError, did_you_mean

# Entries that great-expectations keeps beside an expectation and that change nothing about which rows meet it.
REMARKS = {"meta", "notes", "description", "severity"}
# Columns of our tables beside those of an event.
RESERVED = {"ingest_time", "topic", "kafka_partition", "kafka_offset", "event_day", "raw", "key", "reason", "detail"}


class ContractError(UserError, ValueError):
    """A contract that cannot be compiled; the message names the expectation and says what to write instead."""


@dataclass(frozen=True)
class Expectation:
    """One validated expectation of a contract: its kind, its arguments and its column's type."""

    kind: ExpectationKind
    type: str
    kwargs: Kwargs
    data_type: T.DataType

    @property
    def columns(self) -> list[str]:
        return [self.kwargs[name] for name in ("column", "column_A", "column_B") if name in self.kwargs]

    @property
    def is_required_field(self) -> bool:
        """Whether it says that a column is never null."""
        return self.kind.reason == MISSING_FIELD

    @property
    def condition(self) -> Column:
        """For Spark: true or false for every row, never null."""
        return self.kind.spark(self.kwargs, self.data_type)

    def python_condition(self, constants: Constants) -> str:
        """For Python: the text of a condition on values that are not null (`python_conditions`)."""
        return self.kind.python(self.kwargs, self.data_type, constants)

    @property
    def json_keywords(self) -> dict[str, Any]:
        """For JSON Schema: what it says of its column."""
        return self.kind.json(self.kwargs)

    def __str__(self) -> str:
        return f"{self.type}({', '.join(f'{name}={value!r}' for name, value in self.kwargs.items())})"


def check_contract(
    schema: T.StructType, contract: Iterable[Mapping[str, Any]], required: Iterable[str] = ()
) -> tuple[Expectation, ...]:
    """The contract's expectations, missing fields first; raises ContractError on what cannot be compiled.

    `required`: columns that the contract must expect not to be null. Needs no Spark session.
    """
    _check_fields(schema)
    expectations = [_read_expectation(schema, number, entry) for number, entry in enumerate(contract, 1)]
    never_null = {expectation.columns[0] for expectation in expectations if expectation.is_required_field}
    for column in required:
        if column not in never_null:
            raise ContractError(f"field {column}: add expect_column_values_to_not_be_null, without it no event can be judged")
    return tuple(sorted(expectations, key=lambda expectation: not expectation.is_required_field))


def _check_fields(schema: T.StructType) -> None:
    for field in schema:
        if not isinstance(field.dataType, FIELD_TYPES):
            supported = ", ".join(kind.typeName() for kind in FIELD_TYPES)
            raise ContractError(f"field {field.name}: type {field.dataType.simpleString()} is not supported; use {supported}")
        if not re.fullmatch(r"[A-Za-z]\w*", field.name, re.ASCII):
            raise ContractError(f"field {field.name!r}: a name is ASCII letters, digits and underscores, a letter first")
        if field.name.lower() in RESERVED:
            raise ContractError(f"field {field.name}: the core has a column of that name; choose another")


def _read_expectation(schema: T.StructType, number: int, entry: Mapping[str, Any]) -> Expectation:
    """The contract's expectation of that number. Raises ContractError."""
    name, kwargs = entry.get("type"), entry.get("kwargs", {})
    subject = f"expectation {number}, {name}"
    if name not in KINDS:
        raise ContractError(f"{subject}: not supported{did_you_mean(str(name), KINDS)}; supported are {', '.join(KINDS)}")
    for key in set(entry) - {"type", "kwargs"} - REMARKS:
        raise ContractError(f"{subject}: unknown entry {key!r}{did_you_mean(key, REMARKS)}")
    kind = KINDS[name]
    arguments = (*kind.required_arguments, *kind.optional_arguments)
    for key in kwargs:
        if key == "mostly":
            raise ContractError(f"{subject}: takes no mostly: each event is judged alone, so it holds for all or is left out")
        if key not in arguments:
            hint = did_you_mean(key, arguments)
            raise ContractError(f"{subject}: unknown argument {key!r}{hint}; it takes {', '.join(arguments)}")
    for key in kind.required_arguments:
        if key not in kwargs:
            raise ContractError(f"{subject}: needs the argument {key!r}")
    data_type = _column_type(schema, kind, kwargs, subject)
    problem = kind.problem(kwargs, data_type)
    if problem:
        raise ContractError(f"{subject}: {problem}")
    return Expectation(kind, name, dict(kwargs), data_type)


def _column_type(schema: T.StructType, kind: ExpectationKind, kwargs: Kwargs, subject: str) -> T.DataType:
    """The type of the expectation's column, or of its first. Raises ContractError."""
    for key in ("column", "column_A", "column_B"):
        column = kwargs.get(key)
        if column is None:
            continue
        if column not in schema.names:
            hint = did_you_mean(str(column), schema.names)
            raise ContractError(f"{subject}: no field {column!r}{hint}; the event has {', '.join(schema.names)}")
        if not isinstance(schema[column].dataType, kind.column_types):
            raise ContractError(f"{subject}: does not apply to {column} of type {schema[column].dataType.simpleString()}")
    data_type: T.DataType = schema[kwargs.get("column", kwargs.get("column_A"))].dataType
    type_b = schema[kwargs["column_B"]].dataType if "column_B" in kwargs else data_type
    if isinstance(data_type, T.TimestampType) != isinstance(type_b, T.TimestampType):
        raise ContractError(f"{subject}: {data_type.simpleString()} and {type_b.simpleString()} cannot be compared")
    return data_type
