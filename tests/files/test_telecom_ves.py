"""VES perf3gpp events as input: what becomes a report, and what is left to the contract to reject."""

import json
from datetime import UTC, datetime

import pytest
from pyspark.sql import functions as F

from common import contract
from common.contract.python_parser import PlainContract, Rejected
from common.installed import find_vertical
from telecom_anomaly.formats import ves_plain
from telecom_anomaly.formats.ves import from_ves

pytestmark = pytest.mark.files

VES = {"event": {
    "commonEventHeader": {"domain": "perf3gpp", "eventId": "e1", "eventName": "perf3gpp_gnb_pmMeasResult", "sourceName": "gnb-7",
                          "startEpochMicrosec": 1583143200000000, "lastEpochMicrosec": 1583144100000000, "version": "4.1"},
    "perf3gppFields": {"perf3gppFieldsVersion": "1.0.1", "measDataCollection": {
        "granularityPeriod": 900, "measuredEntityDn": "SubNetwork=West,ManagedElement=S7", "measInfoList": [
            {"measInfoId": {"sMeasInfoId": "radio"},
             "measTypes": {"sMeasTypesList": ["RRU.PrbTotDl", "DRB.UEThpDl", "Other.One"]},
             "measValuesList": [{"measObjInstId": "GNBDUFunction=1,NRCellDU=C77", "suspectFlag": "false", "measResults": [
                 {"p": 1, "sValue": "41"}, {"p": 2, "sValue": "20500.5"}, {"p": 3, "sValue": "1"}]}]},
            {"measInfoId": {"sMeasInfoId": "rrc"}, "measTypes": {"sMeasTypesList": ["RRC.ConnMean"]},
             "measValuesList": [
                 {"measObjInstId": "GNBDUFunction=1,NRCellDU=C77", "measResults": [{"p": 1, "sValue": "12.5"}]}]}]}}}}
INFOS = ("perf3gppFields", "measDataCollection", "measInfoList")
RADIO = (*INFOS, 0, "measValuesList", 0)
RECORD = "key binary, value binary, topic string, partition int, offset long, timestamp timestamp"


def changed(path, value):
    copy = json.loads(json.dumps(VES))
    inner = copy["event"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


def translated(spark, *texts):
    frame = spark.createDataFrame([(text,) for text in texts], "text string")
    return [row[0] for row in frame.select(from_ves(F.col("text"))).collect()]


def test_a_ves_event_becomes_a_report_with_a_stable_id(spark):
    [text] = translated(spark, json.dumps(VES))
    assert json.loads(text) == {
        "report_id": "C77-202003021015", "cell_id": "C77", "site_id": "S7", "technology": "NR", "suspect_flag": False,
        "event_time": "2020-03-02T10:15:00.000Z", "RRU_PrbTotDl": 41.0, "DRB_UEThpDl": 20500.5, "RRC_ConnMean": 12.5}


def test_a_suspect_group_makes_the_report_suspect_and_a_value_that_is_no_number_a_gap(spark):
    events = changed([*RADIO, "suspectFlag"], "true"), changed([*RADIO, "measResults", 1, "sValue"], "n/a")
    [suspect, gap] = translated(spark, *map(json.dumps, events))
    assert json.loads(suspect)["suspect_flag"] is True
    assert "DRB_UEThpDl" not in json.loads(gap) and json.loads(gap)["RRU_PrbTotDl"] == 41.0


NUMBERS = (
    "41", " 41 ", "+4.5e1", "41.", ".5", "41d", "4.1E1f", "\t41\n", "\x0041", "0x1p3", "0X.8P+6d", "0x41", "-1", "1e400",
    "0x1p9999", "NaN", "nan", "-NaN", "+nan", "Infinity", "-inf", "+INF", "infinity ", "infd",
    "", " ", "n/a", "1_000", "\uff14\uff11", "\u00a041", "41L", "1e", "--1", "nano", "\u0131nf")


@pytest.mark.parametrize("place", [0, 1], ids=["required", "optional"])
def test_the_gateway_reads_a_value_as_the_stream_does(spark, place):
    events = [changed([*RADIO, "measResults", place, "sValue"], number) for number in NUMBERS]
    name = ("RRU_PrbTotDl", "DRB_UEThpDl")[place]
    streamed = [json.loads(text).get(name) for text in translated(spark, *map(json.dumps, events))]
    at_the_door = [ves_plain.from_ves(event, json.dumps(event).encode()).get(name) for event in events]
    assert [known if known is None else str(float(known)) for known in streamed] == [
        known if known is None else str(known) for known in at_the_door]
    vertical = find_vertical("telecom_anomaly")
    rows = [(bytearray(b"k"), bytearray(json.dumps(event).encode()), "t", 0, number, datetime(2021, 1, 1))
            for number, event in enumerate(events)]
    parsed = contract.parse(spark.createDataFrame(rows, RECORD), vertical).orderBy("kafka_offset")
    reasons = [row.reason for row in parsed.collect()]
    door = PlainContract(vertical)
    verdicts = [door.judge(json.dumps(event).encode(), datetime(2021, 1, 1, tzinfo=UTC)) for event in events]
    assert [verdict.reason if isinstance(verdict, Rejected) else None for verdict in verdicts] == reasons
    assert reasons[NUMBERS.index("NaN")] == "not_finite"


def test_what_is_no_ves_event_about_one_cell_is_not_taken(spark):
    two_cells = changed([*INFOS, 1, "measValuesList", 0, "measObjInstId"], "NRCellDU=C78")
    events = two_cells, changed(["commonEventHeader", "domain"], "fault"), changed(["perf3gppFields"], {}), {"report_id": "r1"}
    texts = [*map(json.dumps, events), "nonsense", None]
    assert translated(spark, *texts) == [None] * len(texts)


def test_a_domain_that_is_written_in_escapes_is_taken_neither_by_the_stream_nor_at_the_door(spark):
    text = json.dumps(VES).replace('"domain": "perf', '"domain": "\\u0070erf').replace("perf3gpp_gnb", "gnb")
    text = text.replace("perf3gppFields", "\\u0070erf3gppFields")
    assert json.loads(text)["event"]["commonEventHeader"]["domain"] == "perf3gpp"
    assert translated(spark, text) == [None] and ves_plain.from_ves(json.loads(text), text.encode()) is None


def test_a_ves_message_is_accepted_and_a_broken_one_rejected_by_the_contract(spark):
    no_load = changed([*INFOS, 0, "measTypes", "sMeasTypesList"], ["a", "b", "c"])
    rows = [(bytearray(b"k"), bytearray(json.dumps(event).encode()), "t", 0, number, datetime(2021, 1, 1))
            for number, event in enumerate((VES, no_load))]
    parsed = contract.parse(spark.createDataFrame(rows, RECORD), find_vertical("telecom_anomaly"))
    accepted, rejected = parsed.orderBy("kafka_offset").collect()
    assert accepted.reason is None and accepted.cell_id == "C77" and accepted.RRU_PrbTotDl == 41.0
    assert accepted.event_time == datetime(2020, 3, 2, 10, 15)
    assert rejected.reason is not None
