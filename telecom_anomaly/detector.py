"""The rules of the radio network: what each scores, and which reports it reads.

Every report is first compared with its cell's hour of the week (`profiles.deviation`: median and spread that batch learnt),
per event. What stands out is gathered in event-time windows, so that a trouble is one alarm and not a row per report:

- per cell and UTC day: real-time mode, RocksDB state; raised, changed and cleared under one id (`alarms`);
- per site and UTC day: the same, over the cells of the site;
- silence: known when the watermark passes it, over with the next report (micro-batch, append): `silence`;
- the online detector: one state per cell and measurement, in Python (micro-batch): `online_query`.

Suspect reports (planned work) are judged by no rule but silence.
"""

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from common.alerts import Rule
from common.vertical import Query
from telecom_anomaly import online_query, silence
from telecom_anomaly.alarms import in_trouble, raise_alarms, trouble_is_over, worst_stretch
from telecom_anomaly.events import GRANULARITY_S
from telecom_anomaly.profiles import METRICS, SMOOTHING, deviation, speed_residual
from telecom_anomaly.settings import TelecomSettings

LOADED = 3.0             # deviations of use of resource blocks beyond which load explains much
SLEEPY = 2.5             # deviations at which a report counts as in trouble, for each rule
LOSSY = 2.5
REFUSING = 2.0
OUTLYING = 4.0
LATE = 3.5
CELL_STRETCHES = {"outlying": 30, "sleepy": 120, "lossy": 60, "refusing": 60, "falls": 180}   # minutes
SITE_STRETCHES = {"troubled": 60}
DOWN_S = 300.0           # seconds of a period without service that count as trouble of the site
UNSURE = 0.3             # part of a cell's usual share of refused connections that comes and goes
LEAST_HOURS = 6          # of a day, before its median throughput says anything


def kpi_outlier(settings: TelecomSettings) -> Column:
    """Robust deviations of delay, drops or throughput from the hour of the week, mean of two successive reports. Per cell, day.

    Towards the bad side only, and only where load does not explain it.
    """
    return F.col("outlying_worst.weight") / 2


def sleeping_cell(settings: TelecomSettings) -> Column:
    """Robust deviations of attempts below the hour of the week, mean of the eight reports of two hours. Per cell, day."""
    return F.col("sleepy_worst.weight") / 8


def interference(settings: TelecomSettings) -> Column:
    """Robust deviations of uplink loss above the hour of the week without load, mean of the four of an hour. Per cell, day."""
    return F.col("lossy_worst.weight") / 4


def congestion(settings: TelecomSettings) -> Column:
    """Deviations of refused connections above the cell's usual share, mean of the four reports of an hour. Per cell, day."""
    return F.col("refusing_worst.weight") / 4


def flapping(settings: TelecomSettings) -> Column:
    """Changes between available and not available within three hours. Per cell, day."""
    return 2 * F.col("falls_worst.weight")


def slow_drift(settings: TelecomSettings) -> Column:
    """Percent of throughput lost against the reference days at the same load: the lesser of today's and the smoothed loss.

    Today's is the median over its full hours, LEAST_HOURS or more; the smoothed one an exponentially weighted average over
    days (weight SMOOTHING) that batch carried to the start of the day. Per cell, day.
    """
    return 100 * (1 - F.exp("drift"))


def site_alarm(settings: TelecomSettings) -> Column:
    """Reports in trouble within an hour, per cell of the site, which sends four; null where it has one cell. Per site, day.

    In trouble: late without load, or not available for DOWN_S and more.
    """
    cells = F.size("cells")
    return F.when(cells > 1, F.col("troubled_worst.weight") / cells)


BY_CELL = (
    (Rule("kpi_outlier", kpi_outlier, "kpi_outlier",
          lambda s: F.format_string("%.1f deviations from the hour of the week", kpi_outlier(s)),
          lambda s: _evidence("outlying"), "minor"), "outlying"),
    (Rule("sleeping_cell", sleeping_cell, "sleeping_cell",
          lambda s: F.format_string("on the air, and attempts %.1f deviations below the hour of the week", sleeping_cell(s)),
          lambda s: _evidence("sleepy")), "sleepy"),
    (Rule("interference", interference, "interference",
          lambda s: F.format_string("uplink loss %.1f deviations above what load explains", interference(s)),
          lambda s: _evidence("lossy")), "lossy"),
    (Rule("congestion", congestion, "congestion",
          lambda s: F.format_string("refused connections %.1f deviations above the usual", congestion(s)),
          lambda s: _evidence("refusing")), "refusing"),
    (Rule("flapping", flapping, "flapping",
          lambda s: F.format_string("%.0f changes of availability within three hours", flapping(s)),
          lambda s: _evidence("falls")), "down"),
    (Rule("slow_drift", slow_drift, "slow_drift",
          lambda s: F.format_string("%.0f%% of throughput lost at the same load", slow_drift(s)),
          lambda s: F.to_json(F.sort_array(F.transform("residuals", lambda report: report.report_id))), "minor"), None),
)
BY_SITE = (
    (Rule("site_alarm", site_alarm, "site_alarm",
          lambda s: F.concat(F.format_string("%d cells of the site: likely ", F.size("cells")), _likely_cause()),
          lambda s: _evidence("troubled"), critical_at=1.3), "troubled"),
)


def by_cell(reports: DataFrame, settings: TelecomSettings) -> DataFrame:
    """Alarms of a cell within a UTC day; one that goes on after midnight is raised again."""
    days = (
        reports.where(~F.coalesce(F.col("suspect_flag"), F.lit(False)))
        .transform(with_deviations, settings)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", "1 day"), "cell_id")
        .agg(
            in_trouble(_outlying(), OUTLYING).alias("outlying"),
            in_trouble(-F.col("attempts_dev"), SLEEPY).alias("sleepy"),
            in_trouble(_unloaded(F.col("loss_dev")), LOSSY).alias("lossy"),
            in_trouble(_refusing(), REFUSING).alias("refusing"),
            in_trouble(F.when(F.col("RRU_CellUnavailableTime") > 0, 1.0), 1.0).alias("down"),
            _hourly_residuals().alias("residuals"),
            F.max("speed_residual").alias("speed_residual"),
            *_newest(),
        )
    )
    stretched = days.withColumn("falls", _falls()).withColumns(_worst(CELL_STRETCHES)).withColumn("drift", _smoothed_residual())
    return raise_alarms(stretched, _with_end(BY_CELL), settings, entity="cell_id", subject=_subject("cell_id"))


def by_site(reports: DataFrame, settings: TelecomSettings) -> DataFrame:
    """One alarm for the cells of a site that are in trouble together, within a UTC day."""
    is_down = F.coalesce(F.col("RRU_CellUnavailableTime"), F.lit(0.0)) >= DOWN_S
    is_late = F.coalesce(_unloaded(F.col("delay_dev")) >= LATE, F.lit(False))
    loses = F.coalesce(F.col("drops_dev") >= LATE, F.lit(False))
    days = (
        reports.where(~F.coalesce(F.col("suspect_flag"), F.lit(False)))
        .transform(with_deviations, settings)
        .withWatermark("event_time", settings.watermark)
        .groupBy(F.window("event_time", "1 day"), "site_id")
        .agg(
            in_trouble(F.when(is_down | is_late, 1.0), 1.0, is_down.alias("is_down"), loses.alias("loses")).alias("troubled"),
            F.collect_set("cell_id").alias("cells"),
            *_newest(),
        )
    )
    stretched = days.withColumns(_worst(SITE_STRETCHES))
    return raise_alarms(stretched, _with_end(BY_SITE), settings, entity="site_id", subject=_subject("site_id"))


def with_deviations(reports: DataFrame, settings: TelecomSettings) -> DataFrame:
    """Adds <metric>_dev for each of METRICS: robust deviations from the cell's hour of the week. Per event."""
    return reports.withColumns({f"{metric}_dev": deviation(metric, settings.min_history) for metric in METRICS})


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


def _worst(stretches: dict[str, int]) -> dict[str, Column]:
    """Columns of their own, so that Spark finds each worst stretch once and not once for every use."""
    return {f"{reports}_worst": worst_stretch(F.col(reports), minutes) for reports, minutes in stretches.items()}


def _hourly_residuals() -> Column:
    """Aggregate: the set of residuals of throughput at full hours; each of an hour's four would cost four times the state."""
    residual = speed_residual()
    is_one = residual.isNotNull() & (F.minute("event_time") == 0)
    return F.collect_set(F.when(is_one, F.struct("event_time", "report_id", residual.alias("residual"))))


def _smoothed_residual() -> Column:
    """The lesser of the day's median residual and the one smoothed over days, at the hour of the day at which it was least.

    Of every beginning of the day, as a stream saw each of them and never takes back what it said. Null where not known.
    """
    ordered = F.sort_array("residuals")

    def at(hours: Column) -> Column:
        values = F.array_sort(F.transform(F.slice(ordered, 1, hours), lambda report: report.residual))
        today = F.get(values, F.floor(hours / 2).cast("int"))
        smoothed = (1 - SMOOTHING) * F.col("speed_residual") + SMOOTHING * today
        return F.when(today > smoothed, today).otherwise(smoothed)

    hours = F.size("residuals")
    return F.when(hours >= LEAST_HOURS, F.array_min(F.transform(F.sequence(F.lit(LEAST_HOURS), hours), at)))


def _falls() -> Column:
    """Of the reports without full service, those whose report before had it."""
    return F.filter("down", lambda report: ~F.exists("down", lambda other: (
        F.unix_seconds(report.event_time) - F.unix_seconds(other.event_time)).between(1, GRANULARITY_S)))


def _likely_cause() -> Column:
    reports = F.size("troubled")
    down = F.size(F.filter("troubled", lambda report: report.is_down))
    loses = F.size(F.filter("troubled", lambda report: report.loses))
    return (F.when(down > reports / 2, "power or transmission lost").when(loses > reports / 2, "backhaul degraded")
            .otherwise("delay beyond the site"))


def _with_end(rules: tuple[tuple[Rule, str | None], ...]) -> list[tuple[Rule, Column | None]]:
    return [(rule, trouble_is_over(trouble) if trouble else None) for rule, trouble in rules]


def _evidence(reports: str) -> Column:
    return F.to_json(F.col(f"{reports}_worst.ids"))


def _newest() -> tuple[Column, ...]:
    return (F.max("event_time").alias("event_time"), F.max("ingest_time").alias("ingest_time"),
            F.max("baseline_version").alias("baseline_version"))


def _subject(entity: str) -> Column:
    return F.concat_ws("|", F.col(entity), F.col("window.start").cast("string"))


QUERIES = (
    Query("by_cell", tuple(rule for rule, _ in BY_CELL), by_cell, baselines=("cell",), stateful=True),
    Query("by_site", tuple(rule for rule, _ in BY_SITE), by_site, baselines=("cell",), stateful=True),
    Query("silence", silence.RULES, silence.silence, stateful=True, output_mode="append"),
    Query("online", online_query.RULES, online_query.online, stateful=True,
          in_micro_batches="state kept in Python, which real-time mode takes and then fails on"),
)
