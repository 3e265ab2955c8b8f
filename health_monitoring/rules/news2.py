"""Computes the National Early Warning Score 2 (Royal College of Physicians, 2017) as native Spark columns.

Every function takes columns, so that an event of a stream, a row of a table and an element of an array have one definition.
Values are rounded first, half up: to whole units, temperature to 0.1. Adults only, not in pregnancy; SpO2 scale 2 only where
a clinician prescribed it (hypercapnic respiratory failure).
"""

from collections.abc import Callable
from functools import reduce
from operator import add

from pyspark.sql import Column
from pyspark.sql import functions as F

RED = 3  # points of a single parameter that ask for a review whatever the total
SCALE_2_HIGHEST = 92  # %; a saturation above it scores on scale 2, where it is oxygen that made it so
URGENT, EMERGENCY = 5, 7  # totals from which the college asks for an urgent and for an emergency response
PARAMETERS = ("respiratory_rate", "spo2", "oxygen", "systolic", "pulse", "consciousness", "temperature")


def news2(value: Callable[[str], Column] = F.col) -> Column:
    """A struct: points of each of PARAMETERS, total, known_total, missing, any_red, risk.

    value(name): the event's field of that name (of `events.EVENT_SCHEMA`). A missing parameter has null points; then `total`
    and `risk` are null, `missing_count` counts them and `known_total`, the sum of the others, is what the score is at least.
    """
    points = points_of(value)
    missing_count = reduce(add, [column.isNull().cast("int") for column in points.values()])
    known_total = reduce(add, [F.coalesce(column, F.lit(0)) for column in points.values()])
    any_red = reduce(Column.__or__, [F.coalesce(column == RED, F.lit(False)) for column in points.values()])
    is_complete = missing_count == 0
    return F.struct(
        *[column.alias(name) for name, column in points.items()],
        F.when(is_complete, known_total).alias("total"),
        known_total.alias("known_total"),
        missing_count.alias("missing"),
        any_red.alias("any_red"),
        F.when(is_complete, risk(known_total, any_red)).alias("risk"),
    )


def points_of(value: Callable[[str], Column] = F.col) -> dict[str, Column]:
    """{parameter: points, 0 to 3, null where the parameter is missing}."""
    on_oxygen = supplemental_oxygen(value)
    return {
        "respiratory_rate": respiratory_rate_points(value("respiratory_rate_per_min")),
        "spo2": spo2_points(value("spo2_percent"), value("spo2_scale"), on_oxygen),
        "oxygen": F.when(on_oxygen, 2).when(~on_oxygen, 0),
        "systolic": systolic_points(value("systolic_mmhg")),
        "pulse": pulse_points(value("heart_rate_bpm")),
        "consciousness": F.when(value("consciousness") == "A", 0).when(value("consciousness").isin("C", "V", "P", "U"), RED),
        "temperature": temperature_points(value("temperature_c")),
    }


def supplemental_oxygen(value: Callable[[str], Column] = F.col) -> Column:
    """Whether the patient breathes more than air: as charted, else by the inspired fraction or by the flow; null if unknown."""
    # Air is often charted as the fraction beside a flow: either alone is enough. `greatest` passes over nulls.
    return F.coalesce(value("on_oxygen"), F.greatest(value("fio2") > 0.21, value("oxygen_flow_l_per_min") > 0))


def risk(total: Column, any_red: Column) -> Column:
    """The college's clinical risk: high from 7, medium from 5, low-medium for a single red parameter, low otherwise."""
    return (
        F.when(total >= EMERGENCY, F.lit("high")).when(total >= URGENT, F.lit("medium"))
        .when(any_red, F.lit("low-medium")).otherwise(F.lit("low"))
    )  # fmt: skip


def respiratory_rate_points(per_minute: Column) -> Column:
    return _points(F.round(per_minute), [(8, 3), (11, 1), (20, 0), (24, 2)], 3)


def spo2_points(percent: Column, scale: Column, on_oxygen: Column) -> Column:
    """Scale 1 unless `scale` is 2. On scale 2 a saturation of 93 and more counts only on oxygen: null while that is unknown."""
    whole_percent = F.round(percent)
    on_scale_1 = _points(whole_percent, [(91, 3), (93, 2), (95, 1)], 0)
    too_much_oxygen = _points(whole_percent, [(94, 1), (96, 2)], 3)
    on_scale_2 = F.when(whole_percent > SCALE_2_HIGHEST, F.when(on_oxygen, too_much_oxygen).when(~on_oxygen, 0)).otherwise(
        _points(whole_percent, [(83, 3), (85, 2), (87, 1)], 0)
    )
    return F.when(F.coalesce(scale == 2, F.lit(False)), on_scale_2).otherwise(on_scale_1)


def systolic_points(mmhg: Column) -> Column:
    return _points(F.round(mmhg), [(90, 3), (100, 2), (110, 1), (219, 0)], 3)


def pulse_points(per_minute: Column) -> Column:
    return _points(F.round(per_minute), [(40, 3), (50, 1), (90, 0), (110, 1), (130, 2)], 3)


def temperature_points(celsius: Column) -> Column:
    return _points(F.round(celsius, 1), [(35.0, 3), (36.0, 1), (38.0, 0), (39.0, 1)], 2)


def _points(value: Column, bounds: list[tuple[float, int]], points_above: int) -> Column:
    """The points of the first bound that `value` does not pass, `points_above` beyond the last; null for a null."""
    points = F.when(value.isNull(), F.lit(None).cast("int"))
    for bound, bound_points in bounds:
        points = points.when(value <= bound, bound_points)
    return points.otherwise(points_above)
