"""The rules of the radio network: what each scores, and which reports it reads.

Every report is first compared with its cell's hour of the week (`baselines.deviation`: median and spread that batch learnt),
per event. What stands out is gathered in event-time windows, so that a trouble is one alarm and not a row per report. Where
a rule sums over a stretch of time, it divides by the reports that the stretch has when none is missing, however many came: one
that is strong enough reaches the threshold alone.

A query gets valid events with what the core adds: ingest_time, kafka_partition and kafka_offset; where it names `baselines` also
the columns of CELL_BASELINE and baseline_version, those of the cell's row in force, null for a cell without one.

- per cell and UTC day: real-time mode, RocksDB state; raised, changed and cleared under one id (`rules.alarms`);
- per site and UTC day: the same, over the cells of the site;
- silence: known when the watermark passes it, over with the next report (micro-batch, append): `rules.silence`;
- the online detector: one state per cell and measurement, in Python (micro-batch): `rules.online_query`.

Suspect reports (planned work) are judged by no rule but silence.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.authoring import Query, Rule, Scenario, entity_and_window, threshold, threshold_names, with_thresholds
from telecom_anomaly.baselines import METRICS, deviation, is_suspect
from telecom_anomaly.events import GRANULARITY_S
from telecom_anomaly.rules import online_query, silence
from telecom_anomaly.rules.alarms import (
    Alarm,
    AlarmColumns,
    gather_reports,
    raise_alarms,
    reports_of_worst,
    trouble_is_over,
    with_stretches,
)
from telecom_anomaly.rules.drift import hourly_residuals, lasting_residual
from telecom_anomaly.settings import TelecomSettings

LOADED_DEVIATIONS = 3.0  # of use of resource blocks, beyond which load explains much
SLOW_DEVIATIONS = 3.5  # of delay, from which a cell counts as slow, for its site
DROPPING_DEVIATIONS = 3.5  # of drops, from which a cell counts as dropping packets, for its site
DOWN_S = 300.0  # seconds of a period out of service, from which a cell counts as down, for its site
UNSURE_SHARE = 0.3  # part of a cell's usual share of refused connections that comes and goes
MAX_NEXT_S = 1.5 * GRANULARITY_S  # within which a report is the next one: reports do not come on the second

KPI_OUTLIER = Alarm(
    "kpi_outlier",
    "Robust deviations of delay, drops or throughput from the hour of the week, summed over half an hour and "
    "divided by 2. Per cell, day. Towards the bad side only, and only where load does not explain it. Two reports of 6 reach 6, "
    "and so does one of 12.",
    # `greatest` skips nulls; all null gives null: no trouble.
    weight=lambda: unless_loaded(F.greatest(F.col("delay_dev"), F.col("drops_dev"), -F.col("speed_dev"))),
    counts_from=4.0,
    stretch_minutes=30,
    severity="minor",
    reason=lambda score: F.format_string("%.1f deviations from the hour of the week", score),
    columns=AlarmColumns("outlying", "outlying_stretches", "outlying_worst"),
)
SLEEPING_CELL = Alarm(
    "sleeping_cell",
    "Robust deviations of attempts below the hour of the week, summed over two hours and divided by 8. Per cell, day. "
    "Only of reports with full service.",
    weight=lambda: F.when(~lacks_service(), -F.col("attempts_dev")),
    counts_from=2.5,
    stretch_minutes=120,
    reason=lambda score: F.format_string("on the air, and attempts %.1f deviations below the hour of the week", score),
    columns=AlarmColumns("sleepy", "sleepy_stretches", "sleepy_worst"),
)
INTERFERENCE = Alarm(
    "interference",
    "Robust deviations of uplink loss above the hour of the week without load, summed over an hour and divided by 4. "
    "Per cell, day.",
    weight=lambda: unless_loaded(F.col("loss_dev")),
    counts_from=2.5,
    stretch_minutes=60,
    reason=lambda score: F.format_string("uplink loss %.1f deviations above what load explains", score),
    columns=AlarmColumns("lossy", "lossy_stretches", "lossy_worst"),
)
CONGESTION = Alarm(
    "congestion",
    "Deviations of refused connections above the cell's usual share, summed over an hour and divided by 4. Per cell, day.",
    weight=lambda: refused_deviations(),
    counts_from=2.0,
    stretch_minutes=60,
    reason=lambda score: F.format_string("refused connections %.1f deviations above the usual", score),
    columns=AlarmColumns("refusing", "refusing_stretches", "refusing_worst"),
)
FLAPPING = Alarm(
    "flapping",
    "Changes between full service and less, within three hours: two for each fall (`falls`). Per cell, day.",
    weight=lambda: F.when(lacks_service(), 1.0),
    counts_from=1.0,
    stretch_minutes=180,
    # Each fall is two changes, the fall and the return. A weight of 2 would be another state than running checkpoints hold.
    divisor=1 / 2,
    reason=lambda score: F.format_string("%.0f changes of availability within three hours", score),
    # `down` holds the reports of `lacks_service`, not of `is_down`. The name stays: it is part of the checkpoint's structure, as
    # is `served`, the times of reports with full service.
    columns=AlarmColumns("down", "falls_stretches", "falls_worst", summed_reports="falls"),
)
SITE_ALARM = Alarm(
    "site_alarm",
    "Reports in trouble within an hour, per cell of the site, which sends four. Per site, day. "
    "In trouble: slow without load, or down. Null where the site has one cell, or batch knows none.",
    weight=lambda: F.when(is_down() | is_slow(), 1.0),
    counts_from=1.0,
    stretch_minutes=60,
    divisor="site_cells",
    critical_at=1.3,
    details=lambda: (F.col("cell_id"), is_down().alias("is_down"), drops_packets().alias("drops")),
    reason=lambda score: F.concat(
        F.format_string("%d cells of the site in trouble: likely ", cells_in_trouble()), likely_cause()
    ),
    columns=AlarmColumns("troubled", "troubled_stretches", "troubled_worst"),
)
CELL_ALARMS = (KPI_OUTLIER, SLEEPING_CELL, INTERFERENCE, CONGESTION, FLAPPING)


def slow_drift(settings: TelecomSettings) -> Column:
    """Percent of throughput lost against the reference days at the same load: the lesser of today's and the smoothed loss.

    Today's is that of the lowest median of all beginnings of the day that have LEAST_HOURS or more reports of a full hour
    (minute 0: others are not read). The smoothed one is an exponentially weighted average over days (weight SMOOTHING): batch
    carries it to the start of the day, and today is added. Per cell, day.
    """
    return 100 * (1 - F.exp("lasting_residual"))


SLOW_DRIFT = Rule(
    name="slow_drift",
    score=slow_drift,
    threshold="slow_drift",
    reason=lambda settings: F.format_string("%.0f%% of throughput lost at the same load", slow_drift(settings)),
    evidence=lambda settings: F.to_json(F.sort_array(F.transform("residuals", lambda report: report.report_id))),
    severity="minor",
)


def by_cell(reports: DataFrame, settings: TelecomSettings) -> DataFrame:
    """Alarms of a cell within a UTC day; one that goes on after midnight is raised again."""
    days = (
        reports.where(~is_suspect())
        .transform(with_deviations, settings)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", "1 day"), "cell_id")
        .agg(
            *(gather_reports(alarm) for alarm in CELL_ALARMS),
            F.collect_set(F.when(~lacks_service(), F.unix_seconds("event_time"))).alias("served"),
            hourly_residuals().alias("residuals"),
            F.max("speed_residual").alias("speed_residual"),
            *_newest(),
        )
    )
    ends = [*((alarm.rule, trouble_is_over(alarm)) for alarm in CELL_ALARMS), (SLOW_DRIFT, None)]
    # `lasting_residual` reads a threshold, so they are added here; `raise_alarms` then adds none.
    days = with_thresholds(days, threshold_names(rule for rule, _ in ends), settings)
    residual = lasting_residual(F.col("residuals"), F.col("speed_residual"), threshold("slow_drift"))
    days = days.withColumn("falls", falls()).transform(with_stretches, CELL_ALARMS).withColumn("lasting_residual", residual)
    return raise_alarms(days, ends, settings, entity="cell_id", subject=entity_and_window("cell_id"))


def by_site(reports: DataFrame, settings: TelecomSettings) -> DataFrame:
    """One alarm for the cells of a site that are in trouble together, within a UTC day."""
    days = (
        reports.where(~is_suspect())
        .transform(with_deviations, settings)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", "1 day"), "site_id")
        .agg(
            gather_reports(SITE_ALARM),
            # The least that batch knew, should a new baseline know another number: a score never falls.
            F.min(F.when(F.col("site_cells") > 1, F.col("site_cells"))).alias("site_cells"),
            *_newest(),
        )
    )
    days = days.transform(with_stretches, [SITE_ALARM]).withColumn("worst_reports", reports_of_worst(SITE_ALARM))
    ends = [(SITE_ALARM.rule, trouble_is_over(SITE_ALARM))]
    return raise_alarms(days, ends, settings, entity="site_id", subject=entity_and_window("site_id"))


def with_deviations(reports: DataFrame, settings: TelecomSettings) -> DataFrame:
    """Adds `<metric>_dev` of each of METRICS: its robust deviations from the cell's hour of the week. Per event."""
    return reports.withColumns({f"{metric}_dev": deviation(metric, settings.min_history) for metric in METRICS})


def lacks_service() -> Column:
    """Whether the report is of a period without full service: a second out of service or more. One that does not say had it."""
    return F.coalesce(F.col("RRU_CellUnavailableTime"), F.lit(0.0)) > 0


def unless_loaded(score: Column) -> Column:
    """Null where more load than usual may explain the score."""
    return F.when(F.col("prb_dev") < LOADED_DEVIATIONS, score)


def refused_deviations() -> Column:
    """Refused connections above the usual share, in deviations: binomial, and the share itself is not sure."""
    usual = F.col("refused_share") * F.col("RRC_ConnEstabAtt")
    refused = F.col("RRC_ConnEstabAtt") - F.col("RRC_ConnEstabSucc")
    return (refused - usual) / F.sqrt(usual + (UNSURE_SHARE * usual) ** 2 + 1)


def falls() -> Column:
    """The reports without full service that come right after one with it: more reports never make fewer falls."""
    return F.filter(
        "down",
        lambda report: F.exists(
            "served", lambda served_second: (F.unix_seconds(report.event_time) - served_second).between(1, MAX_NEXT_S)
        ),
    )


def is_down() -> Column:
    """Whether the cell was down: out of service for DOWN_S or more of the period."""
    return F.coalesce(F.col("RRU_CellUnavailableTime"), F.lit(0.0)) >= DOWN_S


def is_slow() -> Column:
    """Whether the cell's delay is far above its hour of the week, and load does not explain it."""
    return F.coalesce(unless_loaded(F.col("delay_dev")) >= SLOW_DEVIATIONS, F.lit(False))


def drops_packets() -> Column:
    """Whether the cell drops far more packets than in its hour of the week."""
    return F.coalesce(F.col("drops_dev") >= DROPPING_DEVIATIONS, F.lit(False))


def cells_in_trouble() -> Column:
    """How many cells of the site have a report in trouble in its worst stretch."""
    return F.size(F.array_distinct(F.transform("worst_reports", lambda report: report.cell_id)))


def likely_cause() -> Column:
    """The site's likely trouble, by what most reports of its worst stretch show."""
    half = F.size("worst_reports") / 2
    down = F.size(F.filter("worst_reports", lambda report: report.is_down))
    dropping = F.size(F.filter("worst_reports", lambda report: report.drops))
    return (
        F.when(down > half, "power or transmission lost")
        .when(dropping > half, "backhaul degraded")
        .otherwise("delay beyond the site")
    )


def _newest() -> tuple[Column, ...]:
    """Aggregates: the newest event_time, ingest_time and baseline_version of the reports behind a row."""
    return (
        F.max("event_time").alias("event_time"),
        F.max("ingest_time").alias("ingest_time"),
        F.max("baseline_version").alias("baseline_version"),
    )


QUERIES = (
    Query("by_cell", (*(alarm.rule for alarm in CELL_ALARMS), SLOW_DRIFT), by_cell, baselines=("cell",), stateful=True),
    Query("by_site", (SITE_ALARM.rule,), by_site, baselines=("cell",), stateful=True),
    # In micro-batches, as what waits for the watermark is: real-time mode has no append.
    Query("silence", silence.RULES, silence.silence, stateful=True, output_mode="append"),
    Query(
        "online",
        online_query.RULES,
        online_query.online,
        stateful=True,
        in_micro_batches="state kept in Python, which real-time mode takes and then fails on",
    ),
)
# The faults that the generator puts in: the rule meant to catch each, and what a threshold on one measurement would look at.
SCENARIOS = (
    Scenario("sleeping_cell", ("sleeping_cell",), lambda: -F.col("RRC_ConnEstabAtt")),
    Scenario("site_backhaul", ("site_alarm",), lambda: F.col("DRB_RlcPacketDropRateDl")),
    Scenario("interference", ("interference",), lambda: F.col("DRB_PacketLossRateUl")),
    Scenario("flapping", ("flapping",), lambda: F.col("RRU_CellUnavailableTime")),
    Scenario("congestion", ("congestion",), lambda: F.col("RRC_ConnEstabAtt") - F.col("RRC_ConnEstabSucc")),
    Scenario("degraded_cell", ("kpi_outlier",), lambda: F.col("DRB_RlcPacketDropRateDl")),
    Scenario("silent_cell", ("silent_cell",), lambda: -F.col("RRC_ConnMean")),
    Scenario("slow_drift", ("slow_drift",), lambda: -F.col("DRB_UEThpDl")),
)
