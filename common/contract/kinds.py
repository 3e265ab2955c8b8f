"""The kinds of expectations that a contract may have: one row for each, with its form in every target.

A further kind is a row here, and a function of the same name in each target's module. great-expectations needs none: it takes an
expectation as it is in the contract, by the name of its type.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column
from pyspark.sql import types as T

from common.contract import argument_checks, json_keywords, python_conditions, spark_conditions
from common.contract.argument_checks import NUMBERS, Kwargs
from common.contract.python_conditions import Constants

FIELD_TYPES = (T.StringType, *NUMBERS, T.BooleanType, T.TimestampType)
MISSING_FIELD = "missing_field"


@dataclass(frozen=True)
class ExpectationKind:
    """A type of expectation: its arguments, why an event that fails it is rejected, and its form in each target.

    problem: what is wrong with its arguments, for a column of some type. spark: true or false for every row. python: the text of
    a condition, whose constants it adds to a dictionary. json: keywords of JSON Schema.
    """

    reason: str
    required_arguments: tuple[str, ...]
    optional_arguments: tuple[str, ...]
    column_types: tuple[type[T.DataType], ...]
    problem: Callable[[Kwargs, T.DataType], str | None]
    spark: Callable[[Kwargs, T.DataType], Column]
    python: Callable[[Kwargs, T.DataType, Constants], str]
    json: Callable[[Kwargs], dict[str, Any]]


_RANGE = ("min_value", "max_value", "strict_min", "strict_max")
_TEXT = (T.StringType,)
_ORDERED = (*NUMBERS, T.TimestampType)

KINDS: dict[str, ExpectationKind] = {
    "expect_column_values_to_not_be_null": ExpectationKind(
        MISSING_FIELD, ("column",), (), FIELD_TYPES,
        argument_checks.no_problem, spark_conditions.not_null, python_conditions.not_null, json_keywords.not_null,
    ),
    "expect_column_values_to_be_between": ExpectationKind(
        "out_of_range", ("column",), _RANGE, _ORDERED,
        argument_checks.bounds_problem, spark_conditions.between, python_conditions.between, json_keywords.between,
    ),
    "expect_column_values_to_be_in_set": ExpectationKind(
        "not_in_set", ("column", "value_set"), (), (*_TEXT, *NUMBERS, T.BooleanType),
        argument_checks.set_problem, spark_conditions.in_set, python_conditions.in_set, json_keywords.in_set,
    ),
    "expect_column_values_to_match_regex": ExpectationKind(
        "bad_format", ("column", "regex"), (), _TEXT,
        argument_checks.regex_problem, spark_conditions.matches_regex, python_conditions.matches_regex,
        json_keywords.matches_regex,
    ),
    "expect_column_value_lengths_to_be_between": ExpectationKind(
        "bad_format", ("column",), _RANGE, _TEXT,
        argument_checks.lengths_problem, spark_conditions.length_between, python_conditions.length_between,
        json_keywords.length_between,
    ),
    "expect_column_pair_values_a_to_be_greater_than_b": ExpectationKind(
        "out_of_range", ("column_A", "column_B"), ("or_equal", "ignore_row_if"), _ORDERED,
        argument_checks.pair_problem, spark_conditions.a_greater_than_b, python_conditions.a_greater_than_b,
        json_keywords.a_greater_than_b,
    ),
}  # fmt: skip
