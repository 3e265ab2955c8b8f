"""Cells that fall silent: found by time passing, and over with the next report, under one id.

What a stream says depends on which reports there are, not on when they came: a silence is settled only when the watermark has
passed its end, so that a report that comes out of order, but in time, still fills the gap it belongs into. Neither a window
nor a session of Spark's knows the one before it, so this query is transformWithState in Python, in micro-batches.
"""

from collections.abc import Iterator
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.streaming import StatefulProcessor, StatefulProcessorHandle

from common.rules import Rule
from telecom_anomaly.events import GRANULARITY_S
from telecom_anomaly.rules.alarms import raise_alarms
from telecom_anomaly.settings import TelecomSettings

FOUND = T.StructType([
    T.StructField("cell_id", T.StringType()), T.StructField("report_id", T.StringType()),
    T.StructField("event_micros", T.LongType()), T.StructField("ingest_micros", T.LongType()),
    T.StructField("minutes", T.DoubleType()), T.StructField("is_over", T.BooleanType()),
])
REPORT = T.StructType([
    T.StructField("event_micros", T.LongType()), T.StructField("report_id", T.StringType()),
    T.StructField("ingest_micros", T.LongType()),
])
STATE = T.StructType([
    T.StructField("last", REPORT), T.StructField("is_silent", T.BooleanType()), T.StructField("later", T.ArrayType(REPORT)),
    T.StructField("timer_ms", T.LongType()),
])


class Report(NamedTuple):
    """In the order of time; what REPORT stores."""

    event_micros: int
    report_id: str
    ingest_micros: int


def silent_cell(settings: TelecomSettings) -> Column:
    """Whole reporting periods since the last report: the threshold when the silence is raised, all when it is over. Per cell.

    Of a silence that is over, that is one more than the reports that are missing.
    """
    return F.greatest(F.lit(float(settings.silent_cell)), F.floor(F.col("minutes") * 60 / GRANULARITY_S).cast("double"))


RULES = (
    Rule("silent_cell", silent_cell, "silent_cell",
         lambda s: F.format_string("no report for %.0f minutes, %.0f whole periods", "minutes", silent_cell(s)),
         lambda s: F.col("report_id"), live=False),
)


def silence(reports: DataFrame, settings: TelecomSettings) -> DataFrame:
    """A cell that sends nothing any more, and that it sends again. Of suspect reports, too: they are reports.

    An alarm's event_time is the moment at which the silence became known or, once it is over, that of the report which ended it.
    A table gives each silence once, as over only if the watermark has passed its end: until then a stream has not said so.
    """
    times = {f"{kind}_micros": F.unix_micros(f"{kind}_time") for kind in ("event", "ingest")}
    told = reports.withWatermark("event_time", settings.watermark).select("cell_id", "report_id", "event_time", "ingest_time")
    if not reports.isStreaming:
        passed = F.max("event_time") - F.expr(f"interval {settings.watermark}")
        told = told.crossJoin(F.broadcast(reports.agg(F.unix_micros(passed).alias("passed_micros"))))
    cell = Cell(gap_seconds(settings), is_stream=reports.isStreaming)
    found = told.withColumns(times).groupBy("cell_id").transformWithState(
        statefulProcessor=cell, outputStructType=FOUND, outputMode="append", timeMode="eventTime")
    found = found.withColumns({f"{kind}_time": F.timestamp_micros(f"{kind}_micros") for kind in ("event", "ingest")})
    return raise_alarms(
        found, [(rule, F.col("is_over")) for rule in RULES], settings, entity="cell_id", subject=F.col("report_id"))


def gap_seconds(settings: TelecomSettings) -> int:
    """Half a period after the last report that may be missed was due: reports do not come on the second."""
    return round((settings.silent_cell + 0.5) * GRANULARITY_S)


class Cell(StatefulProcessor):
    """The last report that the watermark has passed, whether a silence followed it, and the later reports.

    Spark leaves out what was behind the watermark of the batch before, up to which all is settled: what comes is later.
    """

    def __init__(self, gap_seconds: int, *, is_stream: bool) -> None:
        self.gap = gap_seconds * 1_000_000
        self.is_stream = is_stream

    def init(self, handle: StatefulProcessorHandle) -> None:
        self.handle = handle
        self.state = handle.getValueState("cell", STATE)

    def handleInputRows(self, key: Any, rows: Iterator[Row], timerValues: Any) -> Iterator[Row]:
        if not self.is_stream:
            yield from self._all(key[0], list(rows))
            return
        last, is_silent, later, timer = self._restored()
        yield from self._settle(key[0], last, is_silent, sorted({*later, *map(_report, rows)}), timer, _passed(timerValues))

    def handleExpiredTimer(self, key: Any, timerValues: Any, expiredTimerInfo: Any) -> Iterator[Row]:
        last, is_silent, later, _ = self._restored()
        yield from self._settle(key[0], last, is_silent, later, None, _passed(timerValues))

    def close(self) -> None:
        """Nothing is open."""

    def _all(self, cell: str, rows: list[Row]) -> Iterator[Row]:
        """Each silence in a table of all reports, as it stands in the end."""
        passed, reports = rows[0].passed_micros, sorted(map(_report, rows))
        for report, following in zip_longest(reports, reports[1:]):
            if following is None or following.event_micros - report.event_micros >= self.gap:
                is_over = following is not None and following.event_micros <= passed
                yield self._over(cell, report, following) if is_over else self._begun(cell, report)

    def _restored(self) -> tuple[Report | None, bool, list[Report], int | None]:
        kept = self.state.get()
        if kept is None:
            return None, False, [], None
        last, is_silent, later, timer = kept
        return last and Report(*last), is_silent, [Report(*report) for report in later], timer

    def _settle(
        self, cell: str, last: Report | None, is_silent: bool, later: list[Report], timer: int | None, passed: int
    ) -> Iterator[Row]:
        """Say what the watermark has made certain, and ask to be called for what comes next."""
        for report in [report for report in later if report.event_micros <= passed]:
            if last and report.event_micros - last.event_micros >= self.gap:
                if not is_silent:
                    yield self._begun(cell, last)
                yield self._over(cell, last, report)
                is_silent = False
            last = max(last, report) if last else report
        later = [report for report in later if report.event_micros > passed]
        if last and not is_silent and last.event_micros + self.gap <= passed:
            yield self._begun(cell, last)
            is_silent = True
        self.state.update((last, is_silent, later, timer or self._called_at(last, is_silent, later)))

    def _called_at(self, last: Report | None, is_silent: bool, later: list[Report]) -> int | None:
        """Registers a timer for when the watermark reaches the next silence or its end; its milliseconds, None without one."""
        if is_silent and not later:
            return None
        if is_silent:
            micros = later[0].event_micros
        else:
            known = later if last is None else [last, *later]
            before_gaps = (one for one, other in pairwise(known) if other.event_micros - one.event_micros >= self.gap)
            micros = next(before_gaps, known[-1]).event_micros + self.gap
        milliseconds = -(-micros // 1000)
        self.handle.registerTimer(milliseconds)
        return milliseconds

    def _begun(self, cell: str, last: Report) -> Row:
        return _said(cell, last, last.event_micros + self.gap, last.ingest_micros, is_over=False)

    def _over(self, cell: str, last: Report, following: Report) -> Row:
        return _said(cell, last, following.event_micros, following.ingest_micros, is_over=True)


def _report(row: Row) -> Report:
    return Report(row.event_micros, row.report_id, row.ingest_micros)


def _passed(times: Any) -> int:
    """The watermark in microseconds."""
    return int(times.getCurrentWatermarkInMs()) * 1000


def _said(cell: str, last: Report, micros: int, ingest_micros: int, *, is_over: bool) -> Row:
    return Row(cell_id=cell, report_id=last.report_id, event_micros=micros, ingest_micros=ingest_micros,
               minutes=(micros - last.event_micros) / 60e6, is_over=is_over)
