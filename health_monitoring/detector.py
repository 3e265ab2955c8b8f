"""The rules of patient monitoring: what each scores, and which rows or window it reads.

Per patient (real-time mode, RocksDB state): the set of a patient's observations within an event-time window of twice
`cooldown_hours`, one every `cooldown_hours`. What it finds in its second half becomes an alert, so that a look back is always at
least `cooldown_hours` long and no instant is judged twice. It speaks at every observation.
Alarms are suppressed by this: a rule alarms a patient at most once in a block of `cooldown_hours`, later findings update that
alert. Each severity is a rule of its own, so a rise in severity is always a new alert, never an update that could be overlooked.
Silence (micro-batches, speaks when the watermark passes): a session of a patient that ended without being taken off.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.alerts import Rule, judge
from common.vertical import Query
from health_monitoring.observations import with_observation
from health_monitoring.patterns import artefact, confirmed, highest, longest_run, rise
from health_monitoring.settings import HealthSettings

NEVER = float("inf")    # critical_at of a rule whose severity does not grow


def red_parameter(settings: HealthSettings) -> Column:
    """Points of the worst vital sign of an observation whose total is below urgent (NEWS2: low-medium risk). Per patient."""
    return F.col("red_one.score")


def urgent_response(settings: HealthSettings) -> Column:
    """The highest NEWS2 below that of an emergency (medium risk: urgent review by the ward's clinician). Per patient."""
    return F.col("urgent_one.score")


def emergency_response(settings: HealthSettings) -> Column:
    """The highest NEWS2 (high risk: emergency assessment by a team with critical-care competencies). Per patient."""
    return F.col("emergency_one.score")


def deterioration(settings: HealthSettings) -> Column:
    """Points by which an hour's NEWS2 lies above that of an hour within `cooldown_hours` before. Per patient."""
    return F.col("rise_found.rise")


def sustained_hypoxia(settings: HealthSettings) -> Column:
    """Minutes of unbroken saturation with 3 points on the patient's own scale. Per patient."""
    return F.col("hypoxia.minutes")


def tachycardia(settings: HealthSettings) -> Column:
    """Minutes of unbroken heart rate above the patient's own baseline by `tachycardia_bpm` and `_deviations`. Per patient."""
    return F.col("fast_heart.minutes")


def sensor_artefact(settings: HealthSettings) -> Column:
    """A lone absurd reading's jump there and back, as a multiple of what is credible; null if other signs moved. Per patient."""
    return F.col("artefact_found.score")


def deterioration_risk(settings: HealthSettings) -> Column:
    """The highest probability of deterioration by the model in force over a believable observation. Per patient."""
    return F.col("risk_one.score")


def silent_device(settings: HealthSettings) -> Column:
    """Minutes without an observation of a patient whose monitoring was not ended. Per patient, when the watermark passes."""
    return F.when(F.col("last.is_monitored"), F.lit(float(settings.silence_minutes)))


BY_PATIENT = (
    Rule("red_parameter", red_parameter, "red_points", severity="minor", critical_at=NEVER,
         reason=lambda s: F.lit("one vital sign alone scores 3 on NEWS2"), evidence=lambda s: F.col("red_one.id")),
    Rule("urgent_response", urgent_response, "urgent_total", severity="major", critical_at=NEVER,
         reason=lambda s: F.format_string("NEWS2 is %.0f%s", urgent_response(s), _partial("urgent_one")),
         evidence=lambda s: F.col("urgent_one.id")),
    Rule("emergency_response", emergency_response, "emergency_total", severity="critical", critical_at=NEVER,
         reason=lambda s: F.format_string("NEWS2 is %.0f%s", emergency_response(s), _partial("emergency_one")),
         evidence=lambda s: F.col("emergency_one.id")),
    Rule("deterioration", deterioration, "deterioration_rise", severity="critical", critical_at=NEVER,
         reason=lambda s: F.format_string("NEWS2 rose by %.0f to %d within hours", deterioration(s), F.col("rise_found.level")),
         evidence=lambda s: F.to_json(_of_the_risen_hour())),
    Rule("sustained_hypoxia", sustained_hypoxia, "hypoxia_minutes", severity="critical", critical_at=NEVER,
         reason=lambda s: F.format_string("saturation red on the patient's scale for %.0f minutes", sustained_hypoxia(s)),
         evidence=lambda s: F.to_json("hypoxia.found")),
    Rule("tachycardia", tachycardia, "tachycardia_minutes", severity="major", critical_at=NEVER,
         reason=lambda s: F.format_string("heart faster than this patient's own normal for %.0f minutes", tachycardia(s)),
         evidence=lambda s: F.to_json("fast_heart.found")),
    Rule("sensor_artefact", sensor_artefact, "artefact_jump", severity="warning", critical_at=NEVER,
         reason=lambda s: F.format_string("check the sensor: %s jumped there and back alone", "artefact_found.parameter"),
         evidence=lambda s: F.col("artefact_found.id")),
    Rule("deterioration_risk", deterioration_risk, "risk", severity="major", critical_at=NEVER,
         reason=lambda s: F.format_string("model gives %.2f", deterioration_risk(s)), evidence=lambda s: F.col("risk_one.id")),
)
SILENCE = (
    Rule("silent_device", silent_device, "silence_minutes", severity="major", critical_at=NEVER,
         reason=lambda s: F.format_string(
             "%s has sent nothing for %.0f minutes", F.coalesce("last.device_id", F.lit("the device")), silent_device(s)),
         evidence=lambda s: F.col("last.id")),
)


def by_patient(events: DataFrame, settings: HealthSettings) -> DataFrame:
    """Alerts over a patient's observations within a window."""
    block = settings.cooldown_hours
    windows = (
        with_observation(events, settings)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", f"{2 * block} hours", f"{block} hours"), "patient_id")
        .agg(
            F.collect_set("observation").alias("observations"),
            F.max(F.struct("ingest_time", *_versions(events))).alias("newest"),
        )
        .select("window", "patient_id", F.array_sort("observations").alias("observations"), "newest.*")
    )
    found = with_findings(windows, settings)
    return judge(found, BY_PATIENT, settings, vertical="health_monitoring", entity="patient_id", subject=F.concat_ws(
        "|", F.col("patient_id"), F.col("window.start").cast("string")))


def with_findings(windows: DataFrame, settings: HealthSettings) -> DataFrame:
    """Windows with what each rule found in them."""
    start = F.unix_millis("window.start")
    since = start + settings.cooldown_hours * 3_600_000
    observations, believed = F.col("observations"), F.col("believed")
    reached = windows.withColumns({
        "event_time": F.element_at("observations", -1).event_time,
        "believed": confirmed(observations, since, settings),
    })
    return reached.withColumns({
        "red_one": highest(believed, lambda one: F.when(one.total < settings.urgent_total, one.red)),
        "urgent_one": highest(believed, lambda one: F.when(one.total < settings.emergency_total, one.total)),
        "emergency_one": highest(believed, lambda one: one.total),
        "risk_one": highest(believed, lambda one: one.model_score),
        "rise_found": rise(observations, start, settings),
        "hypoxia": longest_run(observations, since, "is_hypoxic"),
        "fast_heart": longest_run(observations, since, "is_fast"),
        "artefact_found": artefact(observations, since, settings),
    })


def by_silence(events: DataFrame, settings: HealthSettings) -> DataFrame:
    """Alerts of sessions that ended though the patient was still monitored; event_time is when the silence became known."""
    is_monitored = F.coalesce(F.col("monitoring") != "ended", F.lit(True))
    last = F.struct("event_time", F.col("observation_id").alias("id"), "device_id", is_monitored.alias("is_monitored"))
    sessions = (
        events.withWatermark("event_time", settings.watermark)
        .groupBy(F.session_window("event_time", f"{round(settings.silence_minutes * 60)} seconds"), "patient_id")
        .agg(F.max(last).alias("last"), F.max("ingest_time").alias("ingest_time"))
        .withColumn("event_time", F.col("session_window.end"))
    )
    return judge(sessions, SILENCE, settings, vertical="health_monitoring", entity="patient_id", subject=F.col("last.id"))


def _versions(events: DataFrame) -> list[Column]:
    names = ("baseline_version", "model_version")
    return [F.col(name) if name in events.columns else F.lit(None).cast("string").alias(name) for name in names]


def _partial(found: str) -> Column:
    known = F.filter("observations", lambda one: one.id == F.col(f"{found}.id"))
    return F.when(F.get(known, 0).missing > 0, F.lit(" at least: partial, a vital sign is missing")).otherwise("")


def _of_the_risen_hour() -> Column:
    risen = F.filter("observations", lambda one: (one.hour == F.col("rise_found.hour"))
                     & (one.total >= F.col("rise_found.level")) & one.is_believable)
    return F.transform(risen, lambda one: one.id)


QUERIES = (
    Query("by_patient", BY_PATIENT, by_patient, baselines=("patient",), model=True, stateful=True),
    Query("by_silence", SILENCE, by_silence, stateful=True, output_mode="append"),
)
