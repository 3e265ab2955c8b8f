"""Defines a check of a record, as Spark columns: a condition, and the reason and detail for a record that fails it."""

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F


@dataclass(frozen=True)
class Check:
    """A condition on records, and the reason and detail for a record that does not meet it.

    reason and detail are functions, called only where invalid records are explained: rules see valid records only, and making
    these columns would take most of the time in which a query is built. discreet_detail: in the place of `detail` where the
    record may name a person.
    """

    condition: Column
    reason: Callable[[], Column]
    detail: Callable[[], Column]
    discreet_detail: str = "not shown, as it may name a person"


def constant_text(text: str) -> Callable[[], Column]:
    """A reason or detail that is the same for all records."""
    return lambda: F.lit(text)


def null_as_true(condition: Column) -> Column:
    return F.coalesce(condition, F.lit(True))


def null_as_false(condition: Column) -> Column:
    return F.coalesce(condition, F.lit(False))
