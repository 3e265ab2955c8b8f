"""The rules of predictive_maintenance: what each scores. All need one reading and what batch learnt (real-time mode)."""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.authoring import Query, Rule, Scenario, judge
from examples.predictive_maintenance.features import temperature_at_usual_load, vibration_at_usual_load
from examples.predictive_maintenance.settings import PredictiveMaintenanceSettings


def work_order(settings: PredictiveMaintenanceSettings) -> Column:
    """Probability, 0 to 1, that the machine fails within five days, by the model in force. Per event."""
    return F.col("model_score")


def worn(settings: PredictiveMaintenanceSettings) -> Column:
    """Wear of the part that is worn most: 1 is what a reading at the end of a life looks like. Per event.

    Of vibration, temperature and pressure the one that is furthest from the machine's own healthy value, in units of how far it
    is when such a machine is worn out. Null for a machine with fewer than `min_history` readings.
    """
    return F.when(F.col("readings") >= settings.min_history, F.greatest(*_wear(settings).values()))


def vibration(settings: PredictiveMaintenanceSettings) -> Column:
    """Vibration in mm/s: above the border of zone D it damages the machine, whatever is usual for it. Per event."""
    return F.col("vibration_mm_s")


def _wear(settings: PredictiveMaintenanceSettings) -> dict[str, Column]:
    """How far each value is from healthy, in units of how far it is when such a machine is worn out."""
    ratio = F.try_divide(vibration_at_usual_load(), F.col("vibration_healthy"))
    excess = temperature_at_usual_load() - F.col("temperature_healthy")
    loss = 1 - F.try_divide(F.col("pressure_bar"), F.col("pressure_healthy"))
    return {
        "vibration": (ratio - 1) / (settings.worn_vibration - 1),
        "temperature": excess / settings.worn_temperature,
        "pressure": loss / settings.worn_pressure,
    }


def _most_worn_part(settings: PredictiveMaintenanceSettings) -> Column:
    """The name of the value whose wear is the highest."""
    wear_by_name = [F.struct(F.coalesce(wear, F.lit(-1.0)).alias("wear"), F.lit(name).alias("name"))
              for name, wear in _wear(settings).items()]  # fmt: skip
    return F.greatest(*wear_by_name)["name"]


def _reading_id(settings: PredictiveMaintenanceSettings) -> Column:
    """The evidence of a rule: the reading."""
    return F.col("reading_id")


PER_EVENT = (
    Rule(
        "work_order",
        work_order,
        "work_order",
        lambda settings: F.format_string(
            "%.0f%% to fail within five days, %.0f hours after its overhaul", 100 * F.col("model_score"), "run_hours"
        ),
        _reading_id,
    ),
    Rule(
        "worn",
        worn,
        "worn",
        lambda settings: F.format_string("worn by %.0f%%, as its %s says", 100 * worn(settings), _most_worn_part(settings)),
        _reading_id,
    ),
    Rule(
        "vibration",
        vibration,
        "vibration_mm_s",
        lambda settings: F.format_string("%.1f mm/s damage it", "vibration_mm_s"),
        _reading_id,
        critical_at=1.3,
    ),
)


def per_event(readings: DataFrame, settings: PredictiveMaintenanceSettings) -> DataFrame:
    """Alerts of the rules that need one reading and what batch learnt."""
    subject = F.col("reading_id")
    return judge(readings, PER_EVENT, settings, vertical="predictive_maintenance", entity="machine_id", subject=subject)


QUERIES = (Query("per_event", PER_EVENT, per_event, baselines=("machine",), model=True),)
# Beside each scenario what a plain threshold on a single event would look at.
SCENARIOS = (
    Scenario("bearing", ("work_order", "worn", "vibration"), lambda: F.col("vibration_mm_s")),
    Scenario("seal", ("work_order", "worn"), lambda: -F.col("pressure_bar")),
)
