"""What the model reads of a machine: how far its reading is from its own healthy values, and how long it has run."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

FEATURES = (
    "run_weeks", "vibration_ratio", "vibration_above_1_4", "temperature_excess", "temperature_above_6", "pressure_lost",
    "pressure_above_5",
)  # fmt: skip


def with_features(readings: DataFrame) -> DataFrame:
    """Adds FEATURES, never null, to readings with their machine's baseline; a machine without one counts as healthy."""
    ratio = _clamp(F.try_divide(vibration_at_usual_load(), F.col("vibration_healthy")), 0.0, 6.0, default=1.0)
    excess = _clamp(temperature_at_usual_load() - F.col("temperature_healthy"), -20.0, 60.0, default=0.0)
    pressure_loss = _clamp(1 - F.try_divide(F.col("pressure_bar"), F.col("pressure_healthy")), -0.3, 1.0, default=0.0)
    return readings.withColumns(
        {
            "run_weeks": F.least(F.col("run_hours") / 168, F.lit(52.0)),
            "vibration_ratio": ratio,
            "temperature_excess": excess / 10,
            "pressure_lost": pressure_loss * 10,
        }
    ).withColumns(
        {
            "vibration_above_1_4": _above("vibration_ratio", 1.4),
            "temperature_above_6": _above("temperature_excess", 0.6),
            "pressure_above_5": _above("pressure_lost", 0.5),
        }
    )


def vibration_at_usual_load() -> Column:
    """Vibration as it would be at a load of 0.6: it grows with the load as new machines of this make do."""
    return F.col("vibration_mm_s") * (1.04 / (0.8 + 0.4 * F.col("load")))


def temperature_at_usual_load() -> Column:
    """Temperature as it would be at a load of 0.6."""
    return F.col("temperature_c") - 10 * (F.col("load") - 0.6)


def _above(name: str, border: float) -> Column:
    return F.greatest(F.col(name) - border, F.lit(0.0))


def _clamp(value: Column, low: float, high: float, default: float) -> Column:
    return F.coalesce(F.least(F.greatest(value, F.lit(low)), F.lit(high)), F.lit(default))
