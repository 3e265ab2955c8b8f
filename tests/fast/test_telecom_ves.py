"""VES perf3gpp events as input: what becomes a report, what is refused, and what is left to the contract to reject."""

import json
from datetime import UTC, datetime

import pytest

from common.contract.python_parser import PythonContract, ValidEvent
from common.formats import Untranslatable
from common.installed import find_vertical
from telecom_anomaly.formats.ves import translate

NOW = datetime(2021, 1, 1, tzinfo=UTC)
VES = {
    "event": {
        "commonEventHeader": {
            "domain": "perf3gpp",
            "eventId": "e1",
            "eventName": "perf3gpp_gnb_pmMeasResult",
            "sourceName": "gnb-7",
            "startEpochMicrosec": 1583143200000000,
            "lastEpochMicrosec": 1583144100000000,
            "version": "4.1",
        },
        "perf3gppFields": {
            "perf3gppFieldsVersion": "1.0.1",
            "measDataCollection": {
                "granularityPeriod": 900,
                "measuredEntityDn": "SubNetwork=West,ManagedElement=S7",
                "measInfoList": [
                    {
                        "measInfoId": {"sMeasInfoId": "radio"},
                        "measTypes": {"sMeasTypesList": ["RRU.PrbTotDl", "DRB.UEThpDl", "Other.One"]},
                        "measValuesList": [
                            {
                                "measObjInstId": "GNBDUFunction=1,NRCellDU=C77",
                                "suspectFlag": "false",
                                "measResults": [{"p": 1, "sValue": "41"}, {"p": 2, "sValue": "20500.5"}, {"p": 3, "sValue": "1"}],
                            }
                        ],
                    },
                    {
                        "measInfoId": {"sMeasInfoId": "rrc"},
                        "measTypes": {"sMeasTypesList": ["RRC.ConnMean"]},
                        "measValuesList": [
                            {"measObjInstId": "GNBDUFunction=1,NRCellDU=C77", "measResults": [{"p": 1, "sValue": "12.5"}]}
                        ],
                    },
                ],
            },
        },
    }
}
INFOS = ("perf3gppFields", "measDataCollection", "measInfoList")
RADIO = (*INFOS, 0, "measValuesList", 0)


def changed(path, value):
    copy = json.loads(json.dumps(VES))
    inner = copy["event"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return copy


def verdict(event):
    return PythonContract(find_vertical("telecom_anomaly")).validate(json.dumps(event).encode(), NOW)


def test_a_ves_event_becomes_a_report_with_a_stable_id():
    assert translate(VES) == {
        "report_id": "C77-202003021015",
        "cell_id": "C77",
        "site_id": "S7",
        "technology": "NR",
        "suspect_flag": False,
        "event_time": "2020-03-02T10:15:00.000Z",
        "RRU_PrbTotDl": 41.0,
        "DRB_UEThpDl": 20500.5,
        "RRC_ConnMean": 12.5,
    }


def test_a_suspect_group_makes_the_report_suspect():
    for flag in ("true", True):
        assert translate(changed([*RADIO, "suspectFlag"], flag))["suspect_flag"] is True
    for flag in ("false", False, None, "yes"):
        assert translate(changed([*RADIO, "suspectFlag"], flag))["suspect_flag"] is False


NUMBERS = {
    "41": 41.0,
    " 41 ": 41.0,
    "\t41\n": 41.0,
    "+4.5e1": 45.0,
    "41.": 41.0,
    ".5": 0.5,
    "-1": -1.0,
    41: 41.0,
    20.5: 20.5,
    **dict.fromkeys(
        ("", " ", "n/a", "1_000", "\uff14\uff11", "\u00a041", "41L", "41d", "0x41", "0x1p3", "1e", "--1", "nano", None)
    ),
}


@pytest.mark.parametrize("place", [0, 1], ids=["required", "optional"])
@pytest.mark.parametrize(("written", "number"), NUMBERS.items())
def test_a_value_that_is_no_number_is_a_gap(written, number, place):
    event = changed([*RADIO, "measResults", place, "sValue"], written)
    name, other, beside = (("RRU_PrbTotDl", "DRB_UEThpDl", 20500.5), ("DRB_UEThpDl", "RRU_PrbTotDl", 41.0))[place]
    report = translate(event)
    assert report.get(name) == number and report[other] == beside
    if number is None and place == 0:
        assert verdict(event).reason == "missing_field"


@pytest.mark.parametrize("written", ["NaN", "nan", "-nan", "Infinity", "-inf", "+INF", " infinity ", "1e400"])
def test_a_number_that_is_not_finite_is_refused(written):
    with pytest.raises(Untranslatable, match="DRB_UEThpDl is no finite number"):
        translate(changed([*RADIO, "measResults", 1, "sValue"], written))
    assert verdict(changed([*RADIO, "measResults", 0, "sValue"], written)).reason == "untranslatable"
    assert translate(changed([*RADIO, "measResults", 2, "sValue"], written)), "a measurement that no field is for"


def test_of_two_results_of_a_name_the_first_counts_and_one_without_a_name_is_left_out():
    twice = changed([*INFOS, 0, "measTypes", "sMeasTypesList"], ["RRU.PrbTotDl", "RRU.PrbTotDl", None])
    assert translate(twice)["RRU_PrbTotDl"] == 41.0
    for place in (0, -1, 4, "1", None, True, 2.0):
        assert "DRB_UEThpDl" not in translate(changed([*RADIO, "measResults", 1, "p"], place))


@pytest.mark.parametrize(
    ("path", "value", "why"),
    [
        ([*INFOS, 1, "measValuesList", 0, "measObjInstId"], "NRCellDU=C78", "it is about several cells"),
        (["perf3gppFields"], {}, "measInfoList is no list of objects"),
        ([*INFOS], [], "no measurement in it"),
        ([*INFOS], [None], "measInfoList is no list of objects"),
        ([*INFOS, 0, "measValuesList"], {}, "measValuesList is no list of objects"),
        ([*RADIO, "measResults"], "x", "measResults is no list of objects"),
    ],
)
def test_an_event_that_is_not_about_one_cell_is_refused(path, value, why):
    with pytest.raises(Untranslatable, match=why):
        translate(changed(path, value))


def test_what_is_no_ves_event_of_measurements_is_left_alone():
    others = changed(["commonEventHeader", "domain"], "fault"), changed(["commonEventHeader"], None), {"report_id": "r1"}, {}
    assert [translate(other) for other in others] == [None] * 4


def test_a_cell_a_site_or_a_time_that_is_missing_is_left_to_the_contract():
    for path in ([*RADIO, "measObjInstId"], ["commonEventHeader", "lastEpochMicrosec"]):
        event = changed(path, None)
        if path[-1] == "measObjInstId":
            event["event"]["perf3gppFields"]["measDataCollection"]["measInfoList"].pop()
        assert verdict(event).reason == "missing_field"
    assert translate(changed([*INFOS[:2], "measuredEntityDn"], "SubNetwork=West"))["site_id"] == "gnb-7"
    assert "event_time" not in translate(changed(["commonEventHeader", "lastEpochMicrosec"], 10**18))


def test_through_the_contract_an_event_is_a_report_or_refused():
    accepted = verdict(VES)
    assert isinstance(accepted, ValidEvent) and (accepted.event_id, accepted.entity) == ("C77-202003021015", "C77")
    assert json.loads(accepted.value) == translate(VES)
    no_load = changed([*INFOS, 0, "measTypes", "sMeasTypesList"], ["a", "b", "c"])
    assert verdict(no_load).reason == "missing_field"
    escaped = json.dumps(VES).replace('"domain": "perf', '"domain": "\\u0070erf').encode()
    assert isinstance(PythonContract(find_vertical("telecom_anomaly")).validate(escaped, NOW), ValidEvent)
