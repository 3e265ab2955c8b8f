"""What the rules need to know of one observation, computed once, before it joins the set of its patient's window."""

from functools import reduce
from operator import add

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from health_monitoring.rules.news2 import PARAMETERS, RED, SCALE_2_HIGHEST, news2
from health_monitoring.settings import HealthSettings

# Beyond these a reading is more often the sensor than the patient: parameter of NEWS2, field, lowest and highest credible
# value, and the jump between two readings that no patient makes there and back while all else stands still.
CREDIBLE = (
    ("spo2", "spo2_percent", 75, 100, 20),
    ("pulse", "heart_rate_bpm", 35, 180, 50),
    ("respiratory_rate", "respiratory_rate_per_min", 6, 40, 20),
    ("temperature", "temperature_c", 33.5, 41.5, 2.5),
    ("systolic", "systolic_mmhg", 60, 240, 60),
)
CORROBORATED = 2    # points of the other vital signs, oxygen being none, that make an extreme reading believable at once
BEATS_GAP = 1.5     # sampling intervals for which a reading stands: a run of readings goes on when the next comes within them


def with_observation(events: DataFrame, settings: HealthSettings) -> DataFrame:
    """Adds `observation`, a struct that sorts by time: what the rules over a patient's window read.

    `events` may have been joined with the patients' baseline and scored; without these columns their parts are null.
    """
    score = F.col("score")
    extreme = _extreme()
    model_score = F.col("model_score") if "model_score" in events.columns else F.lit(None).cast("double")
    of_extremes = reduce(add, [F.when(_beyond(field, low, high), F.coalesce(score[name], F.lit(0))).otherwise(0)
                               for name, field, low, high, _ in CREDIBLE])
    of_others = score.known_total - F.coalesce(score.oxygen, F.lit(0)) - of_extremes
    too_low = F.col("spo2_percent") <= SCALE_2_HIGHEST  # red on scale 2 is too much oxygen as well
    observation = F.struct(
        "event_time",
        F.col("observation_id").alias("id"),
        F.floor(F.unix_seconds("event_time") / 3_600).alias("hour"),
        score.known_total.alias("total"),
        score.missing.alias("missing"),
        F.greatest(*[score[name] for name in PARAMETERS if name != "oxygen"]).alias("worst"),
        extreme.alias("extreme"),
        ((extreme == 0) | (of_others >= CORROBORATED)).alias("is_believable"),
        F.coalesce((score.spo2 == RED) & too_low, F.lit(False)).alias("is_hypoxic"),
        is_fast(settings).alias("is_fast"),
        (BEATS_GAP * 60_000 * F.coalesce("sampling_minutes", F.lit(settings.sampling_minutes))).cast("long").alias("gap_ms"),
        *(F.col(field).alias(name) for name, field, *_ in CREDIBLE),
        model_score.alias("model_score"),
    )
    return events.withColumn("score", news2()).withColumn("observation", observation).drop("score")


def is_fast(settings: HealthSettings) -> Column:
    """Whether the heart beats faster than is normal for this patient; false for one whose normal is not known yet."""
    beyond = F.greatest(F.lit(settings.tachycardia_bpm), settings.tachycardia_deviations * F.col("patient_heart_rate_std"))
    known = F.col("patient_observations") >= settings.min_baseline
    return F.coalesce(known & (F.col("heart_rate_bpm") - F.col("patient_heart_rate_mean") >= beyond), F.lit(False))


def _extreme() -> Column:
    """A bit for each of CREDIBLE that is beyond its limits; 0 when none is."""
    bits = [F.when(_beyond(field, low, high), 1 << bit).otherwise(0) for bit, (_, field, low, high, _) in enumerate(CREDIBLE)]
    return reduce(add, bits)


def _beyond(field: str, low: float, high: float) -> Column:
    return F.coalesce((F.col(field) < low) | (F.col(field) > high), F.lit(False))
