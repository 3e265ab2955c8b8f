"""The rules of patient monitoring: what each scores, and which rows or window it reads.

Per event (real-time mode, milliseconds): the NEWS2 of every observation, on a topic of its own.
Per patient (real-time mode, RocksDB state): the set of a patient's observations within an event-time window of twice
`cooldown_hours`, one every `cooldown_hours`. What it finds in its second half becomes an alert, so that a look back is always at
least `cooldown_hours` long and no instant is judged twice. It speaks at every observation.
Alarms are suppressed by this: a rule alarms a patient at most once in a block of `cooldown_hours`, later findings update that
alert. Each severity is a rule of its own, so a rise in severity is always a new alert, never an update that could be overlooked.
Silence (micro-batches, speaks when the watermark passes): a session of a patient that ended without being taken off.
"""

from collections.abc import Callable

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.alerts import shaped
from common.columns import let
from common.rules import Rule, judge, threshold_names
from common.thresholds import threshold, with_thresholds
from common.vertical import Query
from health_monitoring.rules.news2 import news2
from health_monitoring.rules.observations import with_observation
from health_monitoring.rules.patterns import artefact, confirmed, highest, longest_run, millis, rise
from health_monitoring.settings import HealthSettings

VERTICAL = "health_monitoring"
NEVER = float("inf")    # critical_at of a rule whose severity does not grow


def red_parameter(settings: HealthSettings) -> Column:
    """Points of the worst vital sign of an observation whose total is below urgent (3: NEWS2's low-medium risk). Per patient."""
    return F.col("red_parameter.score")


def urgent_response(settings: HealthSettings) -> Column:
    """The highest NEWS2 below that of an emergency (medium risk: urgent review by the ward's clinician). Per patient."""
    return F.col("urgent_response.score")


def emergency_response(settings: HealthSettings) -> Column:
    """The highest NEWS2 (high risk: emergency assessment by a team with critical-care competencies). Per patient."""
    return F.col("emergency_response.score")


def deterioration(settings: HealthSettings) -> Column:
    """Points by which an hour's NEWS2 lies above that of an hour within `cooldown_hours` before. Per patient."""
    return F.col("deterioration.score")


def sustained_hypoxia(settings: HealthSettings) -> Column:
    """Minutes of unbroken saturation with 3 points on the patient's own scale. Per patient."""
    return F.col("sustained_hypoxia.score")


def tachycardia(settings: HealthSettings) -> Column:
    """Minutes of unbroken heart rate above the patient's own baseline by `tachycardia_bpm` and `_deviations`. Per patient."""
    return F.col("tachycardia.score")


def sensor_artefact(settings: HealthSettings) -> Column:
    """A lone absurd reading's jump there and back, as a multiple of what is credible; null if other signs moved. Per patient."""
    return F.col("sensor_artefact.score")


def deterioration_risk(settings: HealthSettings) -> Column:
    """The highest probability of deterioration by the model in force over a believable observation. Per patient."""
    return F.col("deterioration_risk.score")


def silent_device(settings: HealthSettings) -> Column:
    """Minutes without an observation of a patient whose monitoring was not ended. Per patient, when the watermark passes."""
    return F.when(~F.col("last.has_ended"), F.lit(float(settings.silence_minutes)))


def _rule(
    score: Callable[[HealthSettings], Column], threshold: str, severity: str, reason: Callable[[HealthSettings], Column]
) -> Rule:
    """A rule over a column of its own name, a finding of `patterns`."""
    name = score.__name__
    return Rule(name, score, threshold, reason, lambda s: F.to_json(f"{name}.found"), severity, NEVER)


BY_PATIENT = (
    _rule(red_parameter, "red_points", "minor",
          lambda s: F.format_string("a vital sign scores %.0f on NEWS2%s", red_parameter(s), _if_partial("red_parameter"))),
    _rule(urgent_response, "urgent_total", "major", lambda s: _total(urgent_response(s), "urgent_response")),
    _rule(emergency_response, "emergency_total", "critical", lambda s: _total(emergency_response(s), "emergency_response")),
    _rule(deterioration, "deterioration_rise", "critical",
          lambda s: F.format_string("NEWS2 rose by %.0f to %d within hours%s",
                                    deterioration(s), "deterioration.level", _if_partial("deterioration"))),
    _rule(sustained_hypoxia, "hypoxia_minutes", "critical",
          lambda s: F.format_string("saturation red on the patient's scale for %.0f minutes", sustained_hypoxia(s))),
    _rule(tachycardia, "tachycardia_minutes", "major",
          lambda s: F.format_string("heart faster than this patient's own normal for %.0f minutes", tachycardia(s))),
    _rule(sensor_artefact, "artefact_jump", "warning",
          lambda s: F.format_string("check the sensor: %s jumped there and back alone", "sensor_artefact.parameter")),
    _rule(deterioration_risk, "risk", "major", lambda s: F.format_string("model gives %.2f", deterioration_risk(s))),
)
SILENCE = (
    Rule("silent_device", silent_device, "silence_minutes", severity="major", critical_at=NEVER,
         reason=lambda s: F.format_string(
             "%s has sent nothing for %.0f minutes", F.coalesce("last.device_id", F.lit("the device")), silent_device(s)),
         evidence=lambda s: F.col("last.id"), live=False),
)


def per_event(events: DataFrame, settings: HealthSettings) -> DataFrame:
    """NEWS2 of each observation, points by parameter: for a chart at the bedside, not an alarm."""
    score = news2().alias("news2")
    return events.select(F.col("patient_id").alias("entity_id"), "observation_id", "event_time", score, "ingest_time")


def by_patient(events: DataFrame, settings: HealthSettings) -> DataFrame:
    """Alerts over a patient's observations within a window; event_time is when a finding first reached its threshold."""
    block = settings.cooldown_hours
    windows = (
        with_observation(events, settings)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", f"{2 * block} hours", f"{block} hours"), "patient_id")
        .agg(
            F.collect_set("observation").alias("observations"),
            F.max(F.struct("ingest_time", *_versions(events))).alias("newest"),
        )
        .select("window", "patient_id", F.sort_array("observations").alias("observations"), "newest.*")
    )
    verdicts = F.array_compact(F.array(*[_verdict(rule, settings) for rule in BY_PATIENT]))
    hits = with_findings(windows, settings).withColumn("verdict", F.explode(verdicts))
    verdict = F.col("verdict")
    return shaped(
        hits.withColumn("event_time", verdict.reached), vertical=VERTICAL, entity="patient_id",
        subject=F.concat_ws("|", F.col("patient_id"), F.col("window.start").cast("string")), rule=verdict.rule,
        severity=verdict.severity, score=verdict.score, threshold=verdict.threshold, reason=verdict.reason,
        evidence=verdict.evidence)  # fmt: skip


def with_findings(windows: DataFrame, settings: HealthSettings) -> DataFrame:
    """Windows whose second half has begun, with a column for each rule of BY_PATIENT, in its name: what it found there."""
    start = F.unix_millis("window.start")
    since = start + settings.cooldown_hours * 3_600_000
    observations, urgent, emergency = F.col("observations"), threshold("urgent_total"), threshold("emergency_total")

    def findings(believed: Column) -> Column:
        return F.struct(
            highest(believed, lambda one: F.when(one.total < urgent, one.worst), threshold("red_points")).alias("red_parameter"),
            highest(believed, lambda one: F.when(one.total < emergency, one.total), urgent).alias("urgent_response"),
            highest(believed, lambda one: one.total, emergency).alias("emergency_response"),
            rise(observations, start, settings).alias("deterioration"),
            longest_run(observations, since, "is_hypoxic", threshold("hypoxia_minutes")).alias("sustained_hypoxia"),
            longest_run(observations, since, "is_fast", threshold("tachycardia_minutes")).alias("tachycardia"),
            artefact(observations, since, settings).alias("sensor_artefact"),
            highest(believed, lambda one: one.model_score, threshold("risk")).alias("deterioration_risk"),
        )

    # Of the two windows that an observation is in, it is in the second half of one only; the other has nothing new to say.
    is_due = millis(F.element_at(observations, -1)) >= since
    found = F.when(is_due, F.array(let(confirmed(observations, since, settings), findings)))
    # A generator, as a projection would be merged with what reads it and computed anew for every field that is read.
    return with_thresholds(windows, threshold_names(BY_PATIENT), settings).select("*", F.inline(found))


def by_silence(events: DataFrame, settings: HealthSettings) -> DataFrame:
    """Alerts of sessions that ended though the patient was still monitored; event_time is when the silence became known."""
    # Before the id: of two observations at one instant it is the end that counts.
    has_ended = F.coalesce(F.col("monitoring") == "ended", F.lit(False)).alias("has_ended")
    last = F.struct("event_time", has_ended, F.col("observation_id").alias("id"), "device_id")
    silence = round(settings.silence_minutes * 60)
    sessions = (
        events.withWatermark("event_time", settings.watermark)
        .groupBy(F.session_window("event_time", f"{silence} seconds"), "patient_id")
        .agg(F.max(last).alias("last"), F.max("ingest_time").alias("ingest_time"))
        # Not the session's end: a filter on that is pushed below the aggregation and cuts sessions in two (Spark 4.3.0).
        .withColumn("event_time", F.col("last.event_time") + F.make_dt_interval(secs=F.lit(silence)))
    )
    return judge(sessions, SILENCE, settings, vertical=VERTICAL, entity="patient_id", subject=F.col("last.id"))


def _verdict(rule: Rule, settings: HealthSettings) -> Column:
    """What a rule says of a window; null where it does not reach its threshold."""
    least = threshold(rule.threshold)
    return F.when(rule.score(settings) >= least, F.struct(
        F.lit(rule.name).alias("rule"),
        rule.score(settings).alias("score"),
        least.alias("threshold"),
        F.lit(rule.severity).alias("severity"),
        rule.reason(settings).alias("reason"),
        rule.evidence(settings).alias("evidence"),
        F.col(f"{rule.name}.reached").alias("reached"),
    ))


def _versions(events: DataFrame) -> list[Column]:
    names = ("baseline_version", "model_version")
    return [F.col(name) if name in events.columns else F.lit(None).cast("string").alias(name) for name in names]


def _total(score: Column, found: str) -> Column:
    return F.format_string("NEWS2 is %.0f%s", score, _if_partial(found, " at least: partial, a vital sign is missing"))


def _if_partial(found: str, words: str = "; the total is partial, a vital sign is missing") -> Column:
    return F.when(F.col(f"{found}.missing") > 0, words).otherwise("")


QUERIES = (
    Query("per_event", (), per_event, topic="news2"),
    Query("by_patient", BY_PATIENT, by_patient, baselines=("patient",), model=True, stateful=True),
    Query("by_silence", SILENCE, by_silence, stateful=True, output_mode="append"),
)
