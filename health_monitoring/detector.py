"""Defines the rules of patient monitoring: what each scores, and which rows or window it reads.

Per event (real-time mode, milliseconds): the NEWS2 of every observation, on a topic of its own.
Per patient (real-time mode, RocksDB state): the set of a patient's observations within an event-time window of twice
`cooldown_hours`, one every `cooldown_hours`, judged again at every observation. What is found in its second half becomes an
alert, so that a look back is always at least `cooldown_hours` long and no instant is judged twice.
Alarms are suppressed by this: a rule alarms a patient at most once in a block of `cooldown_hours`, later findings update that
alert. Each severity is a rule of its own, so a rise in severity is always a new alert, never an update that could be overlooked.
Silence (micro-batches, raised when the watermark passes): a session of a patient that ended without being taken off.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.authoring import Query, Rule, Scenario, alert_rows, entity_and_window, judge, threshold
from health_monitoring.rules.news2 import news2
from health_monitoring.rules.observations import CREDIBLE, with_observation
from health_monitoring.rules.patterns import artefact, highest_score, longest_run
from health_monitoring.rules.rise import rise
from health_monitoring.rules.window_rules import FIXED_SEVERITY, WindowRule, alert_of, with_findings
from health_monitoring.settings import HealthSettings

VERTICAL = "health_monitoring"

RED_PARAMETER = WindowRule(
    "red_parameter",
    "Points of the worst vital sign of an observation whose total is below urgent (3: NEWS2's low-medium risk). Per patient.",
    threshold="red_points",
    severity="minor",
    find=lambda window, min_score: highest_score(
        window.believable, lambda observation: F.when(observation.total < threshold("urgent_total"), observation.worst), min_score
    ),
    reason=lambda finding: F.format_string("a vital sign scores %.0f on NEWS2%s", finding.score, partial_note(finding)),
)
URGENT_RESPONSE = WindowRule(
    "urgent_response",
    "The highest NEWS2 below that of an emergency (medium risk: urgent review by the ward's clinician). Per patient.",
    threshold="urgent_total",
    severity="major",
    find=lambda window, min_score: highest_score(
        window.believable,
        lambda observation: F.when(observation.total < threshold("emergency_total"), observation.total),
        min_score,
    ),
    reason=lambda finding: total_in_words(finding),
)
EMERGENCY_RESPONSE = WindowRule(
    "emergency_response",
    "The highest NEWS2 (high risk: emergency assessment by a team with critical-care competencies). Per patient.",
    threshold="emergency_total",
    severity="critical",
    find=lambda window, min_score: highest_score(window.believable, lambda observation: observation.total, min_score),
    reason=lambda finding: total_in_words(finding),
)
DETERIORATION = WindowRule(
    "deterioration",
    "Points by which an hour's NEWS2 lies above that of an hour within `cooldown_hours` before. Per patient.",
    threshold="deterioration_rise",
    severity="critical",
    find=lambda window, min_score: rise(window.observations, window.start, window.settings, min_score),
    reason=lambda finding: F.format_string(
        "NEWS2 rose by %.0f to %d within hours%s", finding.score, finding.level, partial_note(finding)
    ),
)
SUSTAINED_HYPOXIA = WindowRule(
    "sustained_hypoxia",
    "Minutes of unbroken saturation with 3 points on the patient's own scale. Per patient.",
    threshold="hypoxia_minutes",
    severity="critical",
    find=lambda window, min_score: longest_run(window.observations, window.since, "is_hypoxic", min_score),
    reason=lambda finding: F.format_string("saturation red on the patient's scale for %.0f minutes", finding.score),
)
TACHYCARDIA = WindowRule(
    "tachycardia",
    "Minutes of unbroken heart rate above the patient's own baseline by `tachycardia_bpm` and `_deviations`. Per patient.",
    threshold="tachycardia_minutes",
    severity="major",
    find=lambda window, min_score: longest_run(window.observations, window.since, "is_fast", min_score),
    reason=lambda finding: F.format_string("heart faster than this patient's own normal for %.0f minutes", finding.score),
)
SENSOR_ARTEFACT = WindowRule(
    "sensor_artefact",
    "A lone absurd reading's jump there and back, as a multiple of what is credible; null if other signs moved. Per patient.",
    threshold="artefact_jump",
    severity="warning",
    find=lambda window, min_score: artefact(window.observations, window.since, window.settings, min_score),
    reason=lambda finding: F.format_string("check the sensor: %s jumped there and back alone", finding.parameter),
)
DETERIORATION_RISK = WindowRule(
    "deterioration_risk",
    "The highest probability of deterioration by the model in force over a believable observation. Per patient.",
    threshold="risk",
    severity="major",
    find=lambda window, min_score: highest_score(window.believable, lambda observation: observation.model_score, min_score),
    reason=lambda finding: F.format_string("model gives %.2f", finding.score),
)
WINDOW_RULES = (
    RED_PARAMETER, URGENT_RESPONSE, EMERGENCY_RESPONSE, DETERIORATION, SUSTAINED_HYPOXIA, TACHYCARDIA, SENSOR_ARTEFACT,
    DETERIORATION_RISK,
)  # fmt: skip
BY_PATIENT = tuple(window_rule.rule for window_rule in WINDOW_RULES)


def silent_device(settings: HealthSettings) -> Column:
    """Minutes without an observation of a patient whose monitoring was not ended. Per patient, when the watermark passes."""
    return F.when(~F.col("last.has_ended"), F.lit(float(settings.silence_minutes)))


SILENCE = (
    Rule(
        "silent_device",
        silent_device,
        "silence_minutes",
        severity="major",
        critical_at=FIXED_SEVERITY,
        reason=lambda settings: F.format_string(
            "%s has sent nothing for %.0f minutes", F.coalesce("last.device_id", F.lit("the device")), silent_device(settings)
        ),
        evidence=lambda settings: F.col("last.id"),
        live=False,
    ),
)


def per_event(events: DataFrame, settings: HealthSettings) -> DataFrame:
    """NEWS2 of each observation, points by parameter: for a chart at the bedside, not an alarm."""
    score = news2().alias("news2")
    return events.select(F.col("patient_id").alias("entity_id"), "observation_id", "event_time", score, "ingest_time")


def by_patient(events: DataFrame, settings: HealthSettings) -> DataFrame:
    """Alerts over a patient's observations within a window; event_time is when a finding first reached its threshold."""
    block_hours = settings.cooldown_hours
    # A row per patient and window: `observations`, an array of them in order of time.
    windows = (
        with_observation(events, settings)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", f"{2 * block_hours} hours", f"{block_hours} hours"), "patient_id")
        .agg(
            F.collect_set("observation").alias("observations"),
            F.max(F.struct("ingest_time", *_versions(events))).alias("newest"),
        )
        .select("window", "patient_id", F.sort_array("observations").alias("observations"), "newest.*")
    )
    alerts = F.array_compact(F.array(*[alert_of(window_rule, settings) for window_rule in WINDOW_RULES]))
    hits = with_findings(windows, WINDOW_RULES, settings).withColumn("alert_fields", F.explode(alerts))
    alert_fields = F.col("alert_fields")
    rows = hits.withColumn("event_time", alert_fields.reached_time)
    return alert_rows(rows, alert_fields, vertical=VERTICAL, entity="patient_id", subject=entity_and_window("patient_id"))


def by_silence(events: DataFrame, settings: HealthSettings) -> DataFrame:
    """Alerts of sessions that ended though the patient was still monitored; event_time is when the silence became known.

    A session window is enough: such an alert is raised once, and the next observation does not clear it.
    """
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


def total_in_words(finding: Column) -> Column:
    """A NEWS2 as text for people; one with a missing vital sign is a lower bound."""
    return F.format_string("NEWS2 is %.0f%s", finding.score, partial_note(finding, " at least: partial, a vital sign is missing"))


def partial_note(finding: Column, words: str = "; the total is partial, a vital sign is missing") -> Column:
    """`words` where a vital sign is missing behind a finding, else nothing."""
    return F.when(finding.missing > 0, words).otherwise("")


def _versions(events: DataFrame) -> list[Column]:
    names = ("baseline_version", "model_version")
    return [F.col(name) if name in events.columns else F.lit(None).cast("string").alias(name) for name in names]


QUERIES = (
    Query("per_event", (), per_event, topic="news2"),
    Query("by_patient", BY_PATIENT, by_patient, baselines=("patient",), model=True, stateful=True),
    Query("by_silence", SILENCE, by_silence, stateful=True, output_mode="append"),
)

# What a plain threshold on one raw observation would look at for each scenario: printed beside the rules' figures.
LOOSE_SENSOR_NORMAL = {"spo2_percent": 97, "heart_rate_bpm": 75, "respiratory_rate_per_min": 16, "temperature_c": 36.8}
NORMAL_AND_JUMP = tuple(
    (credible.field, LOOSE_SENSOR_NORMAL[credible.field], credible.jump)
    for credible in CREDIBLE
    if credible.field in LOOSE_SENSOR_NORMAL
)


def oddest_value() -> Column:
    """How far the oddest value lies from a healthy adult's, in jumps that are hardly credible."""
    return F.greatest(*[F.abs(F.col(field) - normal) / jump for field, normal, jump in NORMAL_AND_JUMP])


SCENARIOS = (
    Scenario("deterioration", ("deterioration",), lambda: news2().known_total),
    Scenario("sustained_hypoxia", ("sustained_hypoxia",), lambda: -F.col("spo2_percent")),
    Scenario("tachycardia", ("tachycardia",), lambda: F.col("heart_rate_bpm")),
    Scenario("sensor_artefact", ("sensor_artefact",), oddest_value),
    Scenario("silent_device", ("silent_device",), lambda: -F.col("battery_percent")),
)
