"""Silences of a cell: what is said depends on which reports came in time, however they were cut into batches and mixed up."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from pyspark.sql import Row
from pyspark.sql.streaming.tws_tester import TwsTester

from telecom_anomaly.rules.silence import CellSilence, gap_seconds
from telecom_anomaly.settings import TelecomSettings

GAP = gap_seconds(TelecomSettings()) * 1000
DELAY = 600_000  # of the watermark, in milliseconds
STEPS = st.sampled_from([0, 1, 500_000, 900_000, 900_000, 900_000, 1_800_000, GAP - 1, GAP, GAP + 1, 4 * GAP, 20 * GAP])


def row(milliseconds, number, **more):
    return Row(event_micros=milliseconds * 1000, report_id=f"{number:04}", ingest_micros=number, **more)


def in_history(reports, watermark):
    """What a table of all these reports gives."""
    tester = TwsTester(CellSilence(GAP // 1000, is_stream=False), timeMode="None", outputMode="Append")
    return tester.test("C1", [Row(**report.asDict(), passed_micros=watermark * 1000) for report in reports])


class Stream:
    """One cell's reports through the processor; the watermark moves between batches as Spark moves it."""

    def __init__(self):
        self.tester = TwsTester(
            CellSilence(GAP // 1000, is_stream=True),
            timeMode="EventTime",
            outputMode="Append",
            eventTimeExtractor=lambda report: report.event_micros // 1000,
        )
        self.watermark, self.newest, self.in_time, self.silences = 0, 0, [], []

    def batch(self, reports):
        self.in_time += [report for report in reports if report.event_micros // 1000 > self.watermark]
        self.silences += self.tester.test("C1", reports)
        self.newest = max([self.newest, *(report.event_micros // 1000 for report in reports)])
        if self.newest - DELAY > self.watermark:
            self.watermark = self.newest - DELAY
            self.silences += self.tester.setWatermark(self.watermark)


def expected(reports, watermark):
    """Of each report after which the cell fell silent: whether it is over, as far as the watermark tells, and how long it was."""
    in_order = sorted((report.event_micros // 1000, report.report_id) for report in reports)
    passed = [report for report in in_order if report[0] <= watermark]
    silences = {name: (True, (after - time) / 60_000) for (time, name), (after, _) in pairwise(passed) if after - time >= GAP}
    if passed and passed[-1][0] + GAP <= watermark:
        silences[passed[-1][1]] = (False, GAP / 60_000)
    return silences


@given(st.lists(STEPS, min_size=1, max_size=25), st.data())
def test_what_is_said_depends_on_which_reports_came_in_time_alone(steps, data):
    times = [3_600_000 + sum(steps[: number + 1]) for number in range(len(steps))]
    delays = [data.draw(st.sampled_from([0, 0, 0, DELAY // 2, DELAY, 2 * DELAY, 3 * GAP])) for _ in times]
    arriving = sorted(range(len(times)), key=lambda number: times[number] + delays[number])
    stream = Stream()
    while arriving:
        size = data.draw(st.integers(1, 6))
        stream.batch([row(times[number], number) for number in arriving[:size]])
        arriving = arriving[size:]
    in_time, watermark = stream.in_time, stream.watermark
    assert {silence.report_id: (silence.is_over, silence.minutes) for silence in stream.silences} == expected(in_time, watermark)
    from_table = [silence for silence in in_history(in_time, watermark) if silence.event_micros <= watermark * 1000]
    assert {silence.report_id: silence for silence in stream.silences} == {silence.report_id: silence for silence in from_table}
    assert len({silence.report_id for silence in from_table}) == len(from_table)
    in_turn = [(silence.report_id, silence.is_over) for silence in stream.silences]
    assert len(in_turn) == len(set(in_turn))
    for report_id, is_over in in_turn:
        assert not is_over or in_turn.index((report_id, False)) < in_turn.index((report_id, True))


def test_a_stream_says_that_a_silence_began_and_that_it_is_over_and_history_how_it_stands():
    times = [0, 900_000, 900_000 + GAP, 2_000_000 + GAP, 2_000_000 + 3 * GAP]
    reports = [row(3_600_000 + time, number) for number, time in enumerate(times)]
    stream = Stream()
    stream.batch(reports)
    stream.silences += stream.tester.setWatermark(3_600_000 + 10 * GAP)
    assert [(silence.report_id, silence.is_over) for silence in stream.silences] == [
        ("0001", False),
        ("0001", True),
        ("0003", False),
        ("0003", True),
        ("0004", False),
    ]
    history = in_history(reports[::-1], 3_600_000 + 10 * GAP)
    assert history == [stream.silences[number] for number in (1, 3, 4)]


def test_a_cell_that_reports_keeps_few_reports_and_one_timer():
    stream = Stream()
    for number in range(500):
        stream.batch([row(3_600_000 + 900_000 * number, number)])
    assert stream.silences == []
    _, is_silent, later, timer = stream.tester.peekValueState("cell", "C1")
    assert len(later) <= 2 and timer and not is_silent
    assert len(list(stream.tester.handle.listTimers())) == 1
