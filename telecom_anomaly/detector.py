"""The rules of the radio network: what each scores, and which reports it reads.

Every report is first compared with its cell's hour of the week (`profiles.deviation`: median and spread that batch learnt),
per event. What stands out is gathered in event-time windows, so that a trouble is one alarm and not a row per report. Where
a rule sums over a stretch of time, it divides by the reports that the stretch has when none is missing, however many came: one
that is strong enough reaches the threshold alone.

- per cell and UTC day: real-time mode, RocksDB state; raised, changed and cleared under one id (`alarms`);
- per site and UTC day: the same, over the cells of the site;
- silence: known when the watermark passes it, over with the next report (micro-batch, append): `silence`;
- the online detector: one state per cell and measurement, in Python (micro-batch): `online_query`.

Suspect reports (planned work) are judged by no rule but silence.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.columns import let
from common.rules import Rule, threshold_names
from common.thresholds import threshold, with_thresholds
from common.vertical import Query
from telecom_anomaly.baselines import METRICS, SMOOTHING, deviation, is_suspect, speed_residual
from telecom_anomaly.events import GRANULARITY_S
from telecom_anomaly.rules import online_query, silence
from telecom_anomaly.rules.alarms import (
    Alarm,
    raise_alarms,
    reports_in_trouble,
    reports_of_worst,
    trouble_is_over,
    with_stretches,
)
from telecom_anomaly.settings import TelecomSettings

LOADED = 3.0             # deviations of use of resource blocks beyond which load explains much
SLEEPY = 2.5             # deviations at which a report counts as in trouble, for each rule
LOSSY = 2.5
REFUSING = 2.0
OUTLYING = 4.0
DELAYED = 3.5
DROPPING = 3.5
DOWN_S = 300.0           # seconds of a period without service that count as trouble of the site
UNSURE = 0.3             # part of a cell's usual share of refused connections that comes and goes
LEAST_HOURS = 6          # of a day, before its median throughput says anything
ROUNDING = 1e-9          # of a logarithm: more than what a score loses on the way to it and back
NEXT_S = 1.5 * GRANULARITY_S   # within which a report is the next one: reports do not come on the second


def kpi_outlier(settings: TelecomSettings) -> Column:
    """Robust deviations of delay, drops or throughput from the hour of the week, summed over half an hour, by 2. Per cell, day.

    Towards the bad side only, and only where load does not explain it. Two reports of 6 reach 6, and so does one of 12.
    """
    return F.col("outlying_worst.score")


def sleeping_cell(settings: TelecomSettings) -> Column:
    """Robust deviations of attempts below the hour of the week, summed over two hours, by 8. Per cell, day.

    Only of reports without a second out of service.
    """
    return F.col("sleepy_worst.score")


def interference(settings: TelecomSettings) -> Column:
    """Robust deviations of uplink loss above the hour of the week without load, summed over an hour, by 4. Per cell, day."""
    return F.col("lossy_worst.score")


def congestion(settings: TelecomSettings) -> Column:
    """Deviations of refused connections above the cell's usual share, summed over an hour, by 4. Per cell, day."""
    return F.col("refusing_worst.score")


def flapping(settings: TelecomSettings) -> Column:
    """Changes between available and not available within three hours: two for each fall. Per cell, day."""
    return F.col("falls_worst.score")


def slow_drift(settings: TelecomSettings) -> Column:
    """Percent of throughput lost against the reference days at the same load: the lesser of today's and the smoothed loss.

    Today's is the median over its reports of a full hour (minute 0: others are not read), LEAST_HOURS or more; the smoothed one
    an exponentially weighted average over days (weight SMOOTHING) that batch carried to the start of the day. Per cell, day.
    """
    return 100 * (1 - F.exp("drift"))


def site_alarm(settings: TelecomSettings) -> Column:
    """Reports in trouble within an hour, per cell of the site, which sends four. Per site, day.

    In trouble: slow without load, or not available for DOWN_S and more. Null where the site has one cell, or batch knows none.
    """
    return F.col("troubled_worst.score")


CELL_ALARMS = (
    Alarm(Rule("kpi_outlier", kpi_outlier, "kpi_outlier",
               lambda s: F.format_string("%.1f deviations from the hour of the week", kpi_outlier(s)),
               lambda s: _evidence("outlying"), "minor"), "outlying", minutes=30),
    Alarm(Rule("sleeping_cell", sleeping_cell, "sleeping_cell",
               lambda s: F.format_string("on the air, and attempts %.1f deviations below the hour of the week", sleeping_cell(s)),
               lambda s: _evidence("sleepy")), "sleepy", minutes=120),
    Alarm(Rule("interference", interference, "interference",
               lambda s: F.format_string("uplink loss %.1f deviations above what load explains", interference(s)),
               lambda s: _evidence("lossy")), "lossy", minutes=60),
    Alarm(Rule("congestion", congestion, "congestion",
               lambda s: F.format_string("refused connections %.1f deviations above the usual", congestion(s)),
               lambda s: _evidence("refusing")), "refusing", minutes=60),
    Alarm(Rule("flapping", flapping, "flapping",
               lambda s: F.format_string("%.0f changes of availability within three hours", flapping(s)),
               lambda s: _evidence("falls")), "falls", minutes=180, divisor=1 / 2),
)
SLOW_DRIFT = Rule(
    "slow_drift", slow_drift, "slow_drift",
    lambda s: F.format_string("%.0f%% of throughput lost at the same load", slow_drift(s)),
    lambda s: F.to_json(F.sort_array(F.transform("residuals", lambda report: report.report_id))), "minor")
SITE_ALARM = Alarm(
    Rule("site_alarm", site_alarm, "site_alarm",
         lambda s: F.concat(F.format_string("%d cells of the site in trouble: likely ", _cells_in_trouble()), _likely_cause()),
         lambda s: _evidence("troubled"), critical_at=1.3), "troubled", minutes=60, divisor="site_cells")


def by_cell(reports: DataFrame, settings: TelecomSettings) -> DataFrame:
    """Alarms of a cell within a UTC day; one that goes on after midnight is raised again."""
    days = (
        reports.where(~is_suspect())
        .transform(with_deviations, settings)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", "1 day"), "cell_id")
        .agg(
            reports_in_trouble(_outlying(), OUTLYING).alias("outlying"),
            reports_in_trouble(F.when(~_is_down(), -F.col("attempts_dev")), SLEEPY).alias("sleepy"),
            reports_in_trouble(_unloaded(F.col("loss_dev")), LOSSY).alias("lossy"),
            reports_in_trouble(_refusing(), REFUSING).alias("refusing"),
            reports_in_trouble(F.when(_is_down(), 1.0), 1.0).alias("down"),
            F.collect_set(F.when(~_is_down(), F.unix_seconds("event_time"))).alias("served"),
            _hourly_residuals().alias("residuals"),
            F.max("speed_residual").alias("speed_residual"),
            *_newest(),
        )
    )
    ends = [*((alarm.rule, trouble_is_over(alarm)) for alarm in CELL_ALARMS), (SLOW_DRIFT, None)]
    days = with_thresholds(days, threshold_names(rule for rule, _ in ends), settings)
    judged = days.withColumn("falls", _falls()).transform(with_stretches, CELL_ALARMS).withColumn("drift", _least_drift())
    return raise_alarms(judged, ends, settings, entity="cell_id", subject=_subject("cell_id"))


def by_site(reports: DataFrame, settings: TelecomSettings) -> DataFrame:
    """One alarm for the cells of a site that are in trouble together, within a UTC day."""
    is_down = F.coalesce(F.col("RRU_CellUnavailableTime"), F.lit(0.0)) >= DOWN_S
    is_slow = F.coalesce(_unloaded(F.col("delay_dev")) >= DELAYED, F.lit(False))
    drops = F.coalesce(F.col("drops_dev") >= DROPPING, F.lit(False))
    days = (
        reports.where(~is_suspect())
        .transform(with_deviations, settings)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", "1 day"), "site_id")
        .agg(
            reports_in_trouble(
                F.when(is_down | is_slow, 1.0), 1.0, F.col("cell_id"), is_down.alias("is_down"), drops.alias("drops"),
            ).alias("troubled"),
            # The least of what was learnt, should a new baseline know another number: a score never falls.
            F.min(F.when(F.col("site_cells") > 1, F.col("site_cells"))).alias("site_cells"),
            *_newest(),
        )
    )
    judged = days.transform(with_stretches, [SITE_ALARM]).withColumn("together", reports_of_worst(SITE_ALARM))
    ends = [(SITE_ALARM.rule, trouble_is_over(SITE_ALARM))]
    return raise_alarms(judged, ends, settings, entity="site_id", subject=_subject("site_id"))


def with_deviations(reports: DataFrame, settings: TelecomSettings) -> DataFrame:
    """Adds <metric>_dev for each of METRICS: robust deviations from the cell's hour of the week. Per event."""
    return reports.withColumns({f"{metric}_dev": deviation(metric, settings.min_history) for metric in METRICS})


def _is_down() -> Column:
    """Whether the report is of a period without full service; one that does not say counts as on the air."""
    return F.coalesce(F.col("RRU_CellUnavailableTime"), F.lit(0.0)) > 0


def _outlying() -> Column:
    # Not `greatest` of nulls only: it is null then, and no trouble.
    return _unloaded(F.greatest(F.col("delay_dev"), F.col("drops_dev"), -F.col("speed_dev")))


def _unloaded(score: Column) -> Column:
    """Null where more load than usual may explain the score."""
    return F.when(F.col("prb_dev") < LOADED, score)


def _refusing() -> Column:
    """Refused connections above the usual share, in deviations: binomial, and the share itself is not sure."""
    usual = F.col("refused_share") * F.col("RRC_ConnEstabAtt")
    refused = F.col("RRC_ConnEstabAtt") - F.col("RRC_ConnEstabSucc")
    return (refused - usual) / F.sqrt(usual + (UNSURE * usual) ** 2 + 1)


def _hourly_residuals() -> Column:
    """Aggregate: the set of residuals of throughput in reports of minute 0; all four of an hour would be four times the state."""
    residual = speed_residual()
    is_one = residual.isNotNull() & (F.minute("event_time") == 0)
    return F.collect_set(F.when(is_one, F.struct("event_time", "report_id", residual.alias("residual"))))


def _least_drift() -> Column:
    """The lesser of the day's median residual and the one smoothed over days, at the hour of the day at which it was least.

    Of every beginning of the day, as a stream saw each of them and never takes back what it said. Null where not known, and
    where no beginning can reach the threshold, as fewer reports are that low than a median has on its lower side.
    """
    low = F.log1p(-threshold(SLOW_DRIFT.threshold) / 100) + ROUNDING
    enough = F.size(F.filter("residuals", lambda report: report.residual <= low)) > LEAST_HOURS // 2
    numbered = F.transform(F.sort_array("residuals"), lambda report, number: F.struct(report.residual, number.alias("number")))
    hours = F.sequence(F.lit(LEAST_HOURS), F.size("residuals"))

    def median(by_value: Column, hours: Column) -> Column:
        return F.get(F.filter(by_value, lambda one: one.number < hours), F.floor(hours / 2).cast("int")).residual

    def drift(today: Column) -> Column:
        # It grows with today's, so that it is least where that is.
        smoothed = (1 - SMOOTHING) * F.col("speed_residual") + SMOOTHING * today
        return F.when(today > smoothed, today).otherwise(smoothed)

    least = let(F.sort_array(numbered), lambda by_value: F.array_min(F.transform(hours, lambda of: median(by_value, of))))
    return F.when(enough & (F.size("residuals") >= LEAST_HOURS), let(least, drift))


def _falls() -> Column:
    """Of the reports without full service, those whose report before is there and had it: more reports never make fewer."""
    return F.filter("down", lambda report: F.exists(
        "served", lambda before: (F.unix_seconds(report.event_time) - before).between(1, NEXT_S)))


def _cells_in_trouble() -> Column:
    return F.size(F.array_distinct(F.transform("together", lambda report: report.cell_id)))


def _likely_cause() -> Column:
    """By what most reports of the worst stretch show."""
    most = F.size("together") / 2
    down = F.size(F.filter("together", lambda report: report.is_down))
    drops = F.size(F.filter("together", lambda report: report.drops))
    return (F.when(down > most, "power or transmission lost").when(drops > most, "backhaul degraded")
            .otherwise("delay beyond the site"))


def _evidence(reports: str) -> Column:
    return F.to_json(F.col(f"{reports}_worst.ids"))


def _newest() -> tuple[Column, ...]:
    return (F.max("event_time").alias("event_time"), F.max("ingest_time").alias("ingest_time"),
            F.max("baseline_version").alias("baseline_version"))


def _subject(entity: str) -> Column:
    return F.concat_ws("|", F.col(entity), F.col("window.start").cast("string"))


QUERIES = (
    Query("by_cell", (*(alarm.rule for alarm in CELL_ALARMS), SLOW_DRIFT), by_cell, baselines=("cell",), stateful=True),
    Query("by_site", (SITE_ALARM.rule,), by_site, baselines=("cell",), stateful=True),
    # In micro-batches, as what waits for the watermark is: real-time mode has no append.
    Query("silence", silence.RULES, silence.silence, stateful=True, output_mode="append"),
    # In micro-batches, as the detector is a Python function, and none runs per event.
    Query("online", online_query.RULES, online_query.online, stateful=True,
          in_micro_batches="state kept in Python, which real-time mode takes and then fails on"),
)
