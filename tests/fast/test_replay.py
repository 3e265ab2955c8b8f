"""Replay sends every row of a file, in order of event time, and labels when they become known."""

import json
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet
import pytest
from pyspark.sql import types as T

from common.replay.file_replay import plan_replay, replay_file
from common.replay.files import ReplayError
from common.replay.mapping import parse_mapping
from common.replay.pacing import schedule_at_speed

VERTICAL = SimpleNamespace(
    name="energy_grid",
    event_schema=T.StructType(
        [
            T.StructField("reading_id", T.StringType(), False),
            T.StructField("meter_id", T.StringType(), False),
            T.StructField("kwh", T.DoubleType(), True),
            T.StructField("tariff", T.StringType(), True),
            T.StructField("event_time", T.TimestampType(), False),
        ]
    ),
    contract=({"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "kwh"}},),
    event_id="reading_id",
    entity="meter_id",
    event_time="event_time",
)
MAPPING = {"reading_id": "ID", "meter_id": "METER", "kwh": "USED", "event_time": "READ_AT"}


class Recorder:
    """In place of a producer: keeps what is sent."""

    def __init__(self):
        self.sent = []

    def send_many(self, topic, keys, values):
        self.sent += zip([topic] * len(keys), keys, values, strict=True)

    def flush(self):
        pass

    def events(self):
        return [json.loads(value) for topic, _, value in self.sent if topic == "energy_grid.events"]

    def labels(self):
        return [json.loads(value) for topic, _, value in self.sent if topic == "energy_grid.labels"]


def csv(folder: Path, *lines: str, header="ID,METER,USED,READ_AT", name="readings.csv"):
    path = folder / name
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def sent_of(path, mapping=MAPPING, run_bytes=1 << 20, **labels):
    recorder = Recorder()
    counts = replay_file(plan_replay(VERTICAL, path, mapping, **labels), recorder, run_bytes=run_bytes)
    return recorder, counts


def test_rows_become_events_of_the_vertical_in_order_of_event_time(tmp_path):
    path = csv(tmp_path, "2,m-1,1.50,2026-01-02 00:00:00", "1,m-2,0,2026-01-01T12:00:00+02:00")
    recorder, counts = sent_of(path)
    assert recorder.events() == [
        {"reading_id": "1", "meter_id": "m-2", "kwh": 0.0, "tariff": None, "event_time": "2026-01-01T10:00:00.000Z"},
        {"reading_id": "2", "meter_id": "m-1", "kwh": 1.5, "tariff": None, "event_time": "2026-01-02T00:00:00.000Z"},
    ]
    assert [key for _, key, _ in recorder.sent] == [b"m-2", b"m-1"]
    assert (counts.rows, counts.events, counts.labels) == (2, 2, 0)


def test_bad_rows_are_sent_as_they_are_beside_the_event_before_them(tmp_path):
    path = tmp_path / "readings.csv"
    path.write_bytes(
        b'ID,METER,USED,READ_AT\n1,m,many,2026-01-01\n2,m,1,yesterday\n3,m\n,m,,2026-01-03\n5,m\xff,2,2026-01-02\n6,m,"7\n8,m,NaN,2026-01-04\n'
    )
    recorder, counts = sent_of(path)
    values = [value for _, _, value in recorder.sent]
    assert (counts.rows, counts.events, counts.unreadable, counts.untimed) == (7, 7, 2, 1)
    assert values[0].startswith(b'{"reading_id":"1","meter_id":"m","kwh":"many"')
    assert values[1].endswith(b'"event_time":"yesterday"}')
    assert b'"meter_id":"m\xff"' in values[2]
    assert values[3].startswith(b'{"reading_id":null,"meter_id":"m","kwh":null')
    assert b'"kwh":NaN' in values[4]
    assert values[5:] == [b"3,m", b'6,m,"7']


def test_json_lines_and_parquet_and_packed_csv_give_the_same_events(tmp_path):
    rows = [{"ID": 9_007_199_254_740_993, "METER": "m", "USED": 0.1, "READ_AT": "2026-01-01T00:00:00.123"}]
    lines = tmp_path / "readings.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)))
    table = tmp_path / "readings.parquet"
    columns = {**rows[0], "READ_AT": datetime(2026, 1, 1, 0, 0, 0, 123_456)}
    pa.parquet.write_table(pa.table({name: [value] for name, value in columns.items()}), table)
    packed = tmp_path / "readings.csv.gz"
    with pa.CompressedOutputStream(str(packed), "gzip") as file:
        file.write(b"ID;METER;USED;READ_AT\n9007199254740993;m;0.1;1767225600123\n")
    expected = {
        "reading_id": "9007199254740993",
        "meter_id": "m",
        "kwh": 0.1,
        "tariff": None,
        "event_time": "2026-01-01T00:00:00.123Z",
    }
    for path in (lines, table, packed):
        assert sent_of(path)[0].events() == [expected]


def test_an_id_of_thirty_digits_in_json_lines_keeps_them_all(tmp_path):
    path = tmp_path / "readings.ndjson"
    path.write_text('{"ID": 123456789012345678901234567890, "METER": 7, "USED": 1, "READ_AT": "2026-01-01"}')
    recorder, _ = sent_of(path)
    assert recorder.events()[0]["reading_id"] == "123456789012345678901234567890"
    assert recorder.sent[0][1] == b"7"


def test_lines_that_are_no_json_object_are_sent_too(tmp_path):
    path = tmp_path / "readings.json"
    path.write_bytes(b'{"ID":1,"METER":"m","USED":1,"READ_AT":"2026-01-01"}\nnot json\n\n[1]\n\xff\n{"METER":"m"}\n')
    recorder, counts = sent_of(path)
    assert (counts.rows, counts.events, counts.unreadable, counts.untimed) == (5, 5, 3, 1)
    assert [value for _, _, value in recorder.sent][-3:] == [b"not json", b"[1]", b"\xff"]


def test_a_file_larger_than_memory_allows_is_sorted_all_the_same(tmp_path):
    # More rows than a batch, so that runs are written and merged; equal times keep the order of the file.
    moments = [(n * 7_919) % 10_007 // 3 for n in range(20_000)]
    start = datetime(2026, 1, 1)
    path = csv(tmp_path, *(f"{n},m,1,{start + timedelta(seconds=moment)}" for n, moment in enumerate(moments)))
    small, counts = sent_of(path, run_bytes=500_000)
    large, _ = sent_of(path, run_bytes=1 << 30)
    assert small.sent == large.sent
    assert counts.events == 20_000
    order = sorted(range(20_000), key=lambda n: moments[n])
    assert [int(event["reading_id"]) for event in small.events()] == order


def test_labels_are_sent_when_the_replay_passes_the_time_they_are_known_and_the_rest_at_the_end(tmp_path):
    path = csv(
        tmp_path,
        "1,m,1,2026-01-01,1,theft",
        "2,m,1,2026-01-05,0,",
        "3,n,1,2026-01-09,true,leak",
        "4,m,1,2026-01-10,No,",
        header="ID,METER,USED,READ_AT,BAD,KIND",
    )
    recorder, counts = sent_of(path, label="BAD", scenario="KIND")
    order = [json.loads(value).get("reading_id") or "label of " + json.loads(value)["event_id"] for _, _, value in recorder.sent]
    assert order == ["1", "2", "label of 1", "3", "4", "label of 3"]
    assert recorder.labels()[0] == {
        "event_id": "1",
        "entity_id": "m",
        "scenario": "theft",
        "case_id": "1",
        "event_time": "2026-01-01T00:00:00.000Z",
        "known_time": "2026-01-08T00:00:00.000Z",
    }
    assert (counts.events, counts.labels) == (4, 2)


def test_a_scenario_alone_labels_every_row_that_has_one(tmp_path):
    path = csv(tmp_path, "1,m,1,2026-01-01,2", "2,m,1,2026-01-02,0", "3,m,1,2026-01-03,", header="ID,METER,USED,READ_AT,KIND")
    recorder, _ = sent_of(path, scenario="KIND")
    assert [(label["event_id"], label["scenario"]) for label in recorder.labels()] == [("1", "2")]


def test_a_label_that_is_neither_yes_nor_no_stops_the_replay_before_anything_is_sent(tmp_path):
    path = csv(tmp_path, "1,m,1,2026-01-01,1", "2,m,1,2026-01-02,perhaps", header="ID,METER,USED,READ_AT,BAD")
    recorder = Recorder()
    with pytest.raises(ReplayError, match="column 'BAD' holds 'perhaps', which is neither yes"):
        replay_file(plan_replay(VERTICAL, path, MAPPING, label="BAD"), recorder)
    assert recorder.sent == []


def test_a_column_of_the_field_s_own_name_needs_no_mapping(tmp_path):
    path = csv(tmp_path, "1,m,1,night,2026-01-01", header="reading_id,meter_id,kwh,tariff,event_time")
    assert sent_of(path, {})[0].events()[0]["tariff"] == "night"


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({**MAPPING, "meter": "METER"}, r"energy_grid has no field 'meter' \(did you mean meter_id\?\); there are: reading_id, "),
        ({**MAPPING, "kwh": "used"}, r"has no column 'used' \(did you mean USED\?\); there are: ID, METER, USED, READ_AT"),
        (
            {"reading_id": "ID", "meter_id": "METER"},
            r"no column is mapped to kwh, event_time, required .*kwh=COLUMN event_time=COLUMN",
        ),
        ({**MAPPING, "event_time": "METER"}, r"no row of .* has a time in column 'METER' that can be read"),
    ],
)
def test_a_wrong_mapping_is_refused_with_what_there_is(tmp_path, mapping, message):
    path = csv(tmp_path, "1,m,1,2026-01-01")
    with pytest.raises(ReplayError, match=message):
        sent_of(path, mapping)


def test_a_label_column_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ReplayError, match="has no column 'FRAUD'"):
        plan_replay(VERTICAL, csv(tmp_path), MAPPING, label="FRAUD")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "No such file"),
        ("readings.xlsx", b"PK", "the name must end in one of .csv"),
        ("empty.csv", b"", "is empty"),
        ("twice.csv", b"ID,ID\n", "more than one column named ID"),
        ("wide.csv", b"\xff\xfeI\0D\0", "UTF-16"),
        ("array.json", b'[{"ID": 1}]', "one JSON array"),
        ("prose.jsonl", b"once upon a time\n", "no JSON object in its first 1,000 lines"),
        ("torn.parquet", b"PAR1 and no more", "cannot be read as parquet"),
        ("torn.csv.gz", b"ID,METER\n", "cannot be read as csv"),
    ],
)
def test_a_file_that_cannot_be_replayed_is_refused_with_the_reason(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ReplayError, match=message):
        plan_replay(VERTICAL, tmp_path / name, MAPPING)


def test_a_mapping_is_read_from_pairs():
    assert parse_mapping(["a=B", "c=d=e"]) == {"a": "B", "c": "d=e"}
    for pairs in (["a"], ["=b"], ["a="], ["a=b", "a=c"]):
        with pytest.raises(ReplayError):
            parse_mapping(pairs)


def test_replay_keeps_the_pace_of_event_time(tmp_path):
    path = csv(tmp_path, "1,m,1,2026-01-01T00:00:00", "2,m,1,2026-01-01T00:00:10", "3,m,1,2026-01-01T00:00:20")
    event_counts = []
    recorder = Recorder()
    plan, pace = plan_replay(VERTICAL, path, MAPPING), partial(schedule_at_speed, speed=100)
    replay_file(plan, recorder, pace, progress=lambda counts: event_counts.append(counts.events))
    assert [count for count in event_counts if count] == [1, 2, 3]


def test_a_field_takes_a_column_several_joined_or_a_constant(tmp_path):
    path = csv(tmp_path, "1,m,1,2026-01-01", "2,n,2,2026-01-02", f"{'3' * 70},,3,2026-01-03", header="ID,METER,USED,READ_AT")
    joined, _ = sent_of(path, MAPPING | {"reading_id": "ID+METER", "meter_id": "=all"})
    assert [event["reading_id"] for event in joined.events()][:2] == ["1|m", "2|n"]
    assert len(joined.events()[2]["reading_id"]) == 32
    assert {event["meter_id"] for event in joined.events()} == {"all"}
    with pytest.raises(ReplayError, match="no column 'MTER'"):
        sent_of(path, MAPPING | {"reading_id": "ID+MTER"})
