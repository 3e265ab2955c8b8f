"""Column expressions that Spark has no function for."""

from collections.abc import Callable
from typing import Any

from pyspark.sql import Column, SparkSession
from pyspark.sql import functions as F


def let(value: Column, then: Callable[[Column], Column]) -> Column:
    """`then` of a value that is computed once, however often `then` names it."""
    return F.get(F.transform(F.array(value), then), 0)


def null_where_it_fails(value: Column) -> Column:
    """The value; null in rows where an error comes of it, such as of a cast, of a division or of a time's format.

    What makes Spark's own try_ functions, around any expression. In a lambda, as Spark leaves those as they are: elsewhere it
    computes what an expression has twice, or two have in common, before either of them, where nothing catches.
    """
    jvm: Any = SparkSession.active()._jvm
    columns = jvm.org.apache.spark.sql.classic.ExpressionUtils
    tried = Column(columns.column(jvm.org.apache.spark.sql.catalyst.expressions.TryEval(columns.expression(value._jc))))
    return let(F.lit(0), lambda _: tried)
