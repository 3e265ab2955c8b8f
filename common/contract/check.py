"""One thing that must hold of a record."""

from collections.abc import Callable
from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F


@dataclass(frozen=True)
class Check:
    """One thing that must hold, and the reason and detail of it where it does not.

    These two are made when they are asked for: the rules see valid records only, and most of the time that a query takes to
    be put together would go into what explains. discreet: what may be said instead of `detail` where the record may name a
    person.
    """

    holds: Column
    reason: Callable[[], Column]
    detail: Callable[[], Column]
    discreet: str = "not shown, as it may name a person"


def always(reason: str) -> Callable[[], Column]:
    """A reason that is always the same."""
    return lambda: F.lit(reason)


def or_true(holds: Column) -> Column:
    return F.coalesce(holds, F.lit(True))


def or_false(holds: Column) -> Column:
    return F.coalesce(holds, F.lit(False))
