"""What a plain threshold on one raw observation would look at for each scenario: printed beside the rules' figures."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from common.vertical import Scenario
from health_monitoring.rules.news2 import news2
from health_monitoring.rules.observations import CREDIBLE

# Of what a loose sensor measures.
NORMAL = {"spo2_percent": 97, "heart_rate_bpm": 75, "respiratory_rate_per_min": 16, "temperature_c": 36.8}
NORMAL_AND_JUMP = tuple((field, NORMAL[field], jump) for _, field, *_, jump in CREDIBLE if field in NORMAL)


def total() -> Column:
    """NEWS2 itself, the known part of it."""
    return news2().known_total


def low_saturation() -> Column:
    return -F.col("spo2_percent")


def heart_rate() -> Column:
    return F.col("heart_rate_bpm")


def low_battery() -> Column:
    return -F.col("battery_percent")


def oddest_value() -> Column:
    """How far the oddest value lies from a healthy adult's, in jumps that are hardly credible."""
    return F.greatest(*[F.abs(F.col(field) - normal) / jump for field, normal, jump in NORMAL_AND_JUMP])


SCENARIOS = (
    Scenario("deterioration", ("deterioration",), total),
    Scenario("sustained_hypoxia", ("sustained_hypoxia",), low_saturation),
    Scenario("tachycardia", ("tachycardia",), heart_rate),
    Scenario("sensor_artefact", ("sensor_artefact",), oddest_value),
    Scenario("silent_device", ("silent_device",), low_battery),
)
