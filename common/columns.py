"""Makes column expressions for which Spark has no function."""

from collections.abc import Callable
from typing import Any

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F


def let(value: Column, body: Callable[[Column], Column]) -> Column:
    """`body(value)`, where the value is computed once, however often `body` uses it."""
    return F.get(F.transform(F.array(value), body), 0)


def null_on_error(value: Column) -> Column:
    """The value, or null in rows where computing it is an error, such as a cast, a division or a time's format.

    It wraps any expression in what Spark's try_ functions are made of (TryEval), inside a lambda: outside lambdas Spark computes
    repeated subexpressions once, before the expressions that use them, and so outside of TryEval, where an error is not caught.
    """
    jvm: Any = SparkSession.active()._jvm
    columns = jvm.org.apache.spark.sql.classic.ExpressionUtils
    try_eval = jvm.org.apache.spark.sql.catalyst.expressions.TryEval(columns.expression(value._jc))
    value_or_null = Column(columns.column(try_eval))
    return let(F.lit(0), lambda _: value_or_null)
