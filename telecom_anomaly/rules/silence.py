"""Detects cells that stop reporting (an event-time timer fires), and clears the alarm under the same id with the next report.

What a stream raises depends on which reports there are, not on when they came: a silence is decided only when the watermark
has passed its end, so that a report that comes out of order, but in time, still fills the gap it belongs into. To clear an
alarm one must know the silence before the report, and neither a window nor a session of Spark's knows the one before it: hence
transformWithState in Python, in micro-batches.

The watermark follows the newest report of all cells: a silence is raised once that is `gap_seconds` and the watermark's delay (by
default 52.5 minutes and 2 hours) later than the cell's last. If all cells stop, the watermark stops, and nothing is raised.
"""

from collections.abc import Iterator
from itertools import pairwise, zip_longest
from typing import Any, NamedTuple

from pyspark.sql import Column, DataFrame, Row
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.streaming import StatefulProcessor, StatefulProcessorHandle

from common.authoring import Rule
from telecom_anomaly.events import GRANULARITY_S
from telecom_anomaly.rules.alarms import raise_alarms
from telecom_anomaly.settings import TelecomSettings

# A silence, begun or over: the last report before it, the moment at which it stands so, and how long it is then.
SILENCE = T.StructType(
    [
        T.StructField("cell_id", T.StringType()),
        T.StructField("report_id", T.StringType()),
        T.StructField("event_micros", T.LongType()),
        T.StructField("ingest_micros", T.LongType()),
        T.StructField("minutes", T.DoubleType()),
        T.StructField("is_over", T.BooleanType()),
    ]
)
REPORT = T.StructType(
    [
        T.StructField("event_micros", T.LongType()),
        T.StructField("report_id", T.StringType()),
        T.StructField("ingest_micros", T.LongType()),
    ]
)
STATE = T.StructType(
    [
        T.StructField("last", REPORT),
        T.StructField("is_silent", T.BooleanType()),
        T.StructField("later", T.ArrayType(REPORT)),
        T.StructField("timer_ms", T.LongType()),
    ]
)


class Report(NamedTuple):
    """A report as REPORT stores it; reports sort by time."""

    event_micros: int
    report_id: str
    ingest_micros: int


class CellState(NamedTuple):
    """What STATE stores. last: the newest report behind the watermark. later: those after it, in the order of time.

    timer_ms: when the timer that is registered fires; None without one.
    """

    last: Report | None
    is_silent: bool
    later: list[Report]
    timer_ms: int | None


def silent_cell(settings: TelecomSettings) -> Column:
    """Whole reporting periods since the last report. Per cell.

    A silence is raised with the threshold as its score. Once it is over, the score counts all periods up to the next report:
    one more than the reports that are missing.
    """
    return F.greatest(F.lit(float(settings.silent_cell)), F.floor(F.col("minutes") * 60 / GRANULARITY_S).cast("double"))


RULES = (
    Rule(
        name="silent_cell",
        score=silent_cell,
        threshold="silent_cell",
        reason=lambda settings: F.format_string(
            "no report for %.0f minutes, %.0f whole periods", "minutes", silent_cell(settings)
        ),
        evidence=lambda settings: F.col("report_id"),
        live=False,  # timers in the state are set by the threshold (`gap_seconds`)
    ),
)


def silence(reports: DataFrame, settings: TelecomSettings) -> DataFrame:
    """Alerts of cells that stop reporting, cleared when they report again. Suspect reports count: they are reports.

    An alarm's event_time is the moment at which the gap is full or, once the silence is over, that of the report which ended it.
    Over a table each silence is one row. It is over if the watermark has passed the report that ended it, as a stream clears the
    alarm only then. Each cell's last report yields a beginning there, a healthy cell's too. Those ahead of the watermark are
    dropped by the core, which keeps only what the watermark has closed (`common.closed_windows.only_closed`).
    """
    times = {"event_micros": F.unix_micros("event_time"), "ingest_micros": F.unix_micros("ingest_time")}
    timed_reports = reports.withWatermark("event_time", settings.watermark)
    timed_reports = timed_reports.select("cell_id", "report_id", "event_time", "ingest_time")
    if not reports.isStreaming:
        watermark = F.max("event_time") - F.expr(f"interval {settings.watermark}")
        timed_reports = timed_reports.crossJoin(F.broadcast(reports.agg(F.unix_micros(watermark).alias("passed_micros"))))
    silences = (
        timed_reports.withColumns(times)
        .groupBy("cell_id")
        .transformWithState(
            statefulProcessor=CellSilence(gap_seconds(settings), is_stream=reports.isStreaming),
            outputStructType=SILENCE,
            outputMode="append",
            timeMode="eventTime",
        )
    )
    silences = silences.withColumns(
        {"event_time": F.timestamp_micros("event_micros"), "ingest_time": F.timestamp_micros("ingest_micros")}
    )
    return raise_alarms(
        silences, [(rule, F.col("is_over")) for rule in RULES], settings, entity="cell_id", subject=F.col("report_id")
    )


def gap_seconds(settings: TelecomSettings) -> int:
    """Seconds without a report that make a silence: the threshold's periods and half a one, as reports do not come on the second.

    With a threshold of 3, the reports due after 15, 30 and 45 minutes have not come by 52.5.
    """
    return round((settings.silent_cell + 0.5) * GRANULARITY_S)


class CellSilence(StatefulProcessor):
    """A cell's state: the last report that the watermark has passed, whether a silence followed it, and the later reports.

    All silences up to the watermark of the batch before are decided, and no later row changes them: Spark drops rows at or before
    that watermark.
    """

    def __init__(self, gap_seconds: int, *, is_stream: bool) -> None:
        self.gap_micros = gap_seconds * 1_000_000
        self.is_stream = is_stream

    def init(self, handle: StatefulProcessorHandle) -> None:
        self.handle = handle
        self.state = handle.getValueState("cell", STATE)

    def handleInputRows(self, key: Any, rows: Iterator[Row], timerValues: Any) -> Iterator[Row]:
        if not self.is_stream:
            yield from self._silences_of_table(key[0], list(rows))
            return
        state = self._read_state()
        state = state._replace(later=sorted({*state.later, *map(_report, rows)}))
        yield from self._decide(key[0], state, _watermark_micros(timerValues))

    def handleExpiredTimer(self, key: Any, timerValues: Any, expiredTimerInfo: Any) -> Iterator[Row]:
        yield from self._decide(key[0], self._read_state()._replace(timer_ms=None), _watermark_micros(timerValues))

    def close(self) -> None:
        """Nothing is open."""

    def _silences_of_table(self, cell: str, rows: list[Row]) -> Iterator[Row]:
        """Each silence in a table of all reports, as it stands in the end."""
        watermark, reports = rows[0].passed_micros, sorted(map(_report, rows))
        for report, following in zip_longest(reports, reports[1:]):
            if following is None or following.event_micros - report.event_micros >= self.gap_micros:
                is_over = following is not None and following.event_micros <= watermark
                yield self._end(cell, report, following) if is_over else self._beginning(cell, report)

    def _read_state(self) -> CellState:
        stored_state = self.state.get()
        if stored_state is None:
            return CellState(None, False, [], None)
        last, is_silent, later, timer_ms = stored_state
        return CellState(last and Report(*last), is_silent, [Report(*report) for report in later], timer_ms)

    def _decide(self, cell: str, state: CellState, watermark: int) -> Iterator[Row]:
        """The silences and their ends that the watermark (microseconds) has made certain; registers a timer for the next."""
        last, is_silent = state.last, state.is_silent
        for report in [report for report in state.later if report.event_micros <= watermark]:
            if last and report.event_micros - last.event_micros >= self.gap_micros:
                if not is_silent:
                    yield self._beginning(cell, last)
                yield self._end(cell, last, report)
                is_silent = False
            last = max(last, report) if last else report
        later = [report for report in state.later if report.event_micros > watermark]
        if last and not is_silent and last.event_micros + self.gap_micros <= watermark:
            yield self._beginning(cell, last)
            is_silent = True
        self.state.update((last, is_silent, later, state.timer_ms or self._register_timer(last, is_silent, later)))

    def _register_timer(self, last: Report | None, is_silent: bool, later: list[Report]) -> int | None:
        """Registers a timer for when the watermark reaches the next silence or its end; its milliseconds, None without one."""
        if is_silent and not later:
            return None
        if is_silent:
            micros = later[0].event_micros
        else:
            reports = later if last is None else [last, *later]
            before_gaps = (
                earlier
                for earlier, following in pairwise(reports)
                if following.event_micros - earlier.event_micros >= self.gap_micros
            )
            micros = next(before_gaps, reports[-1]).event_micros + self.gap_micros
        milliseconds = -(-micros // 1000)
        self.handle.registerTimer(milliseconds)
        return milliseconds

    def _beginning(self, cell: str, last: Report) -> Row:
        return _silence_row(cell, last, last.event_micros + self.gap_micros, last.ingest_micros, is_over=False)

    def _end(self, cell: str, last: Report, following: Report) -> Row:
        return _silence_row(cell, last, following.event_micros, following.ingest_micros, is_over=True)


def _report(row: Row) -> Report:
    return Report(row.event_micros, row.report_id, row.ingest_micros)


def _watermark_micros(times: Any) -> int:
    return int(times.getCurrentWatermarkInMs()) * 1000


def _silence_row(cell: str, last: Report, micros: int, ingest_micros: int, *, is_over: bool) -> Row:
    """A row of SILENCE: the silence after the report `last`, as it stands at `micros`."""
    return Row(
        cell_id=cell,
        report_id=last.report_id,
        event_micros=micros,
        ingest_micros=ingest_micros,
        minutes=(micros - last.event_micros) / 60e6,
        is_over=is_over,
    )
