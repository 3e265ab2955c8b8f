"""Computes what the rules read of a single observation, once, before it joins the set of its patient's window."""

from functools import reduce
from operator import add
from typing import NamedTuple

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from health_monitoring.rules.news2 import PARAMETERS, RED, SCALE_2_HIGHEST, news2
from health_monitoring.settings import HealthSettings


class CredibleRange(NamedTuple):
    """Lowest and highest value beyond which a reading is more often the sensor than the patient.

    jump: the difference between two readings that no patient makes there and back while all else stands still.
    """

    parameter: str  # of NEWS2
    field: str  # of the event
    lowest: float
    highest: float
    jump: float


CREDIBLE = (
    CredibleRange("spo2", "spo2_percent", 75, 100, 20),
    CredibleRange("pulse", "heart_rate_bpm", 35, 180, 50),
    CredibleRange("respiratory_rate", "respiratory_rate_per_min", 6, 40, 20),
    CredibleRange("temperature", "temperature_c", 33.5, 41.5, 2.5),
    CredibleRange("systolic", "systolic_mmhg", 60, 240, 60),
)
CORROBORATING_POINTS = 2  # of the other vital signs, oxygen being none, that make an extreme reading believable at once
MAX_GAP_INTERVALS = 1.5  # sampling intervals for which a reading counts: a run goes on when the next comes within them


def with_observation(events: DataFrame, settings: HealthSettings) -> DataFrame:
    """Adds `observation`, a struct that sorts by time: what the rules over a patient's window read.

    `events` may have been joined with the patients' baseline and scored; without these columns their parts are null.
    """
    score = F.col("score")
    extreme = _extreme_bits()
    model_score = F.col("model_score") if "model_score" in events.columns else F.lit(None).cast("double")
    points_of_extremes = reduce(
        add, [F.when(_is_beyond(credible), F.coalesce(score[credible.parameter], F.lit(0))).otherwise(0) for credible in CREDIBLE]
    )
    points_of_others = score.known_total - F.coalesce(score.oxygen, F.lit(0)) - points_of_extremes
    max_gap_ms = MAX_GAP_INTERVALS * 60_000 * F.coalesce("sampling_minutes", F.lit(settings.sampling_minutes))
    is_low = F.col("spo2_percent") <= SCALE_2_HIGHEST  # red on scale 2 is too much oxygen as well
    observation = F.struct(
        "event_time",
        F.col("observation_id").alias("id"),
        F.floor(F.unix_seconds("event_time") / 3_600).alias("hour"),
        score.known_total.alias("total"),
        score.missing.alias("missing"),
        F.greatest(*[score[parameter] for parameter in PARAMETERS if parameter != "oxygen"]).alias("worst"),
        extreme.alias("extreme"),
        ((extreme == 0) | (points_of_others >= CORROBORATING_POINTS)).alias("is_believable"),
        F.coalesce((score.spo2 == RED) & is_low, F.lit(False)).alias("is_hypoxic"),
        is_fast(settings).alias("is_fast"),
        max_gap_ms.cast("long").alias("gap_ms"),
        # A field for each parameter: spo2, pulse, respiratory_rate, temperature, systolic.
        *(F.col(credible.field).alias(credible.parameter) for credible in CREDIBLE),
        model_score.alias("model_score"),
    )
    return events.withColumn("score", news2()).withColumn("observation", observation).drop("score")


def is_fast(settings: HealthSettings) -> Column:
    """Whether the heart beats faster than is normal for this patient; false for one whose normal is not known yet."""
    least_excess = F.greatest(F.lit(settings.tachycardia_bpm), settings.tachycardia_deviations * F.col("patient_heart_rate_std"))
    has_baseline = F.col("patient_observations") >= settings.min_baseline
    excess = F.col("heart_rate_bpm") - F.col("patient_heart_rate_mean")
    return F.coalesce(has_baseline & (excess >= least_excess), F.lit(False))


def _extreme_bits() -> Column:
    """A number with a bit for each of CREDIBLE that the observation is beyond; 0 when it is beyond none."""
    bits = [F.when(_is_beyond(credible), 1 << bit).otherwise(0) for bit, credible in enumerate(CREDIBLE)]
    return reduce(add, bits)


def _is_beyond(credible: CredibleRange) -> Column:
    value = F.col(credible.field)
    return F.coalesce((value < credible.lowest) | (value > credible.highest), F.lit(False))
