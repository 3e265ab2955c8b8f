"""One thing that must hold of a record."""

from dataclasses import dataclass

from pyspark.sql import Column
from pyspark.sql import functions as F


@dataclass(frozen=True)
class Check:
    """One thing that must hold; `reason` and `detail` are looked at only where it does not.

    discreet: what may be said instead of `detail` where the record may name a person.
    """

    holds: Column
    reason: Column
    detail: Column
    discreet: str = "not shown, as it may name a person"


def or_true(holds: Column) -> Column:
    return F.coalesce(holds, F.lit(True))


def or_false(holds: Column) -> Column:
    return F.coalesce(holds, F.lit(False))
