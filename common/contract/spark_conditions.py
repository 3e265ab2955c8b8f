"""Expectations as Spark columns: true or false for every row, never null. A null value meets all but `not_null`."""

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.contract.argument_checks import NUMBERS, Kwargs
from common.contract.check import null_as_true


def not_null(kwargs: Kwargs, data_type: T.DataType) -> Column:
    return F.col(kwargs["column"]).isNotNull()


def between(kwargs: Kwargs, data_type: T.DataType) -> Column:
    # A bound of 0.5 on a whole number must stay 0.5.
    return _within(F.col(kwargs["column"]), kwargs, T.DoubleType() if isinstance(data_type, NUMBERS) else data_type)


def in_set(kwargs: Kwargs, data_type: T.DataType) -> Column:
    return null_as_true(F.col(kwargs["column"]).isin(list(kwargs["value_set"])))


def matches_regex(kwargs: Kwargs, data_type: T.DataType) -> Column:
    return null_as_true(F.col(kwargs["column"]).rlike(kwargs["regex"]))


def length_between(kwargs: Kwargs, data_type: T.DataType) -> Column:
    return _within(F.char_length(kwargs["column"]), kwargs, T.DoubleType())


def a_greater_than_b(kwargs: Kwargs, data_type: T.DataType) -> Column:
    a, b = F.col(kwargs["column_A"]), F.col(kwargs["column_B"])
    # One value without the other passes, whatever ignore_row_if says: great-expectations does so on Spark.
    return null_as_true(a >= b if kwargs.get("or_equal") else a > b)


def _within(value: Column, kwargs: Kwargs, data_type: T.DataType) -> Column:
    low, high = (kwargs.get(name) for name in ("min_value", "max_value"))
    is_within = F.lit(True)
    if low is not None:
        bound = F.lit(low).cast(data_type)
        is_within = value > bound if kwargs.get("strict_min") else value >= bound
    if high is not None:
        bound = F.lit(high).cast(data_type)
        is_below = value < bound if kwargs.get("strict_max") else value <= bound
        is_within = is_below if low is None else is_within & is_below
    return null_as_true(is_within)
