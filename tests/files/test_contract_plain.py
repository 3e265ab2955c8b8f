"""The gateway's contract in plain Python and the stream's in Spark say the same of every record, reason for reason."""

import copy
import json
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import types as T

from common.contract import parse
from common.contract.python_parser import InvalidEvent, PythonContract
from common.installed import find_vertical, vertical_names
from common.intake.translation import Translator
from common.simulation.fuzz import FUZZERS, fuzz_value

pytestmark = pytest.mark.files

RECORD = "value binary, key binary, topic string, partition int, offset long, timestamp timestamp"
INGESTED = datetime(2026, 4, 1, 12)
LATEST = INGESTED.replace(tzinfo=UTC) + timedelta(seconds=300)


def by_stream(spark, vertical, values):
    rows = [(value, b"k", "t", 0, offset, INGESTED) for offset, value in enumerate(values)]
    parsed = parse(spark.createDataFrame(rows, RECORD), vertical).orderBy("kafka_offset")
    return [(row.reason, row[vertical.event_id]) for row in parsed.select("reason", vertical.event_id).collect()]


def by_door(vertical, values):
    contract = PythonContract(vertical)
    verdicts = [contract.validate(value, LATEST) for value in values]
    return [(each.reason, None) if isinstance(each, InvalidEvent) else (None, each.event_id) for each in verdicts]


def check(spark, vertical, values, alike=()):
    """Which records are accepted, as what, and why the others are not; `alike`: a reason of each that are both right."""
    differing = []
    for value, (reason, event_id), (door_reason, door_id) in zip(
        values, by_stream(spark, vertical, values), by_door(vertical, values), strict=True
    ):
        if (reason, door_reason) != alike and (reason != door_reason or (reason is None and event_id != door_id)):
            differing.append((value[:300], reason, door_reason, event_id, door_id))
    assert not differing, "\n".join(map(str, differing[:20]))


def generated(vertical):
    """Messages as the generator sends them, broken ones among them."""
    chunk = next(iter(vertical.generate(1, date(2020, 1, 1), 1, vertical.population(**vertical.small), True)))
    values = chunk.messages.values.tolist()
    return [value for value, flaw in zip(values, chunk.messages.flaw, strict=True) if flaw] + values[:50]


@pytest.mark.parametrize("name", vertical_names())
def test_generated_dirt_and_fuzz(spark, name):
    vertical, rng = find_vertical(name), np.random.default_rng(5)
    sent = generated(vertical)
    spoilt = [fuzz_value(rng, sent[-1 - number % 50]) for number in range(20 * len(FUZZERS))]
    check(spark, vertical, sent + [value for value in spoilt if value is not None and len(value) < 100_000])


EVERYTHING = SimpleNamespace(
    pseudonymised=(),
    formats={},
    name="meters",
    event_id="id",
    entity="class",
    event_time="at",
    event_schema=T.StructType()
    .add("id", "string")
    .add("class", "string")
    .add("phases", "integer")
    .add("pulses", "long")
    .add("ok", "boolean")
    .add("low", "double")
    .add("high", "double")
    .add("since", "timestamp")
    .add("at", "timestamp"),
    contract=tuple(
        {"type": f"expect_{kind}", "kwargs": kwargs}
        for kind, kwargs in (
            *(("column_values_to_not_be_null", {"column": name}) for name in ("id", "class", "at")),
            ("column_value_lengths_to_be_between", {"column": "id", "min_value": 1, "max_value": 4}),
            ("column_values_to_match_regex", {"column": "class", "regex": r"^[A-Z]\w?.$"}),
            ("column_values_to_be_in_set", {"column": "phases", "value_set": [1, 3]}),
            ("column_values_to_be_between", {"column": "pulses", "min_value": -0.5, "max_value": 2**62, "strict_max": True}),
            ("column_values_to_be_between", {"column": "low", "min_value": 0, "strict_min": True}),
            ("column_pair_values_a_to_be_greater_than_b", {"column_A": "high", "column_B": "low"}),
            ("column_pair_values_a_to_be_greater_than_b", {"column_A": "at", "column_B": "since", "or_equal": True}),
            ("column_values_to_be_between", {"column": "since", "min_value": "2020-01-01T00:00:00Z"}),
        )
    ),
)
VALID = {
    "id": "1",
    "class": "Ab",
    "phases": 3,
    "pulses": 5,
    "ok": True,
    "low": 1,
    "high": 1.5,
    "since": "2020-01-01T00:00:00Z",
    "at": "2026-04-01T12:00:00.123Z",
}
TIMES = [
    "2026-04-01T12:05:00Z",
    "2026-04-01T12:05:00.001Z",
    "2026-04-01T12:05:00.000000999Z",
    "2026-04-01T14:04:59+02:00",
    "now",
    "",
    "2026-04-01T12:00:60Z",
    "2026-04-01T24:00:00Z",
    "2026-02-29T12:00:00Z",
    "2024-02-29T12:00:00Z",
    "2026-04-01T12:00:00+18:00",
    "2026-04-01T12:00:00+18:01",
    "2026-04-01T12:00:00-19:00",
    "2026-04-01T12:00:00+02:75",
    "0000-02-29T00:00:00Z",
    "0000-00-00T00:00:00Z",
    "0001-01-01T00:00:00+01:00",
    "9999-12-31T23:59:59-01:00",
    "2026-04-01T12:00:00Z\n",
    "2026-04-01T12:00:00",
    "2026-04-01 12:00:00Z",
    "2026-04-01t12:00:00z",
    "٢026-04-01T12:00:00Z",
    "2019-12-31T23:59:59.999999Z",
    "2026-04-01T12:00:00.Z",
]
TEXTS = [
    "A",
    "Ab",
    "Abc",
    "Ab\n",
    "Ab\r",
    "Ab\r\n",
    "Ab\u2028",
    "A\n",
    "Aé",
    "Éb",
    "ab",
    "",
    "💳",
    "1234",
    "12345",
    "💳💳💳💳",
    "a:b",
    'a"b',
    "\ud800",
]
NUMBERS = [0, -0.0, 1, 3, 1.0, 0.5, -1, 2**31, 2**53 + 1, 2**62, 2**63, 2**64, 10**400, 1e308, 1e-400, 5e-324]
OTHERS = [None, True, False, "NaN", "INF", "1", [], {}, [1], {"a": None}, float("nan"), float("inf")]
ANY = st.sampled_from([*TIMES, *TEXTS, *NUMBERS, *OTHERS]) | st.text(max_size=5) | st.integers() | st.floats()
FITTING = {
    "id": st.sampled_from(TEXTS),
    "class": st.sampled_from(TEXTS),
    "phases": st.sampled_from(NUMBERS),
    "pulses": st.sampled_from(NUMBERS),
    "low": st.sampled_from(NUMBERS) | st.floats(),
    "high": st.sampled_from(NUMBERS),
    "since": st.sampled_from(TIMES),
    "at": st.sampled_from(TIMES) | st.datetimes(timezones=st.timezones()).map(datetime.isoformat),
}
CHANGES = st.one_of(
    st.fixed_dictionaries({}, optional=FITTING),
    st.dictionaries(st.sampled_from([*VALID, "unknown", "At", "at\0"]), ANY, max_size=3),
    st.lists(st.sampled_from(list(VALID)), max_size=2).map(lambda names: dict.fromkeys(names)),
)
TEXT = st.tuples(CHANGES, st.booleans(), st.sampled_from([(",", ":"), (", ", " : "), (" ,\n", ":\t")])).map(
    lambda made: json.dumps(VALID | made[0], ensure_ascii=made[1], separators=made[2]).encode("utf-8", "surrogatepass")
)


def test_every_word_for_what_is_no_finite_number(spark):
    words = [sign + word for word in ("NaN", "INF", "Inf", "inf", "Infinity", "infinity") for sign in ("", "+", "-")]
    check(spark, EVERYTHING, [json.dumps(VALID | {name: word}).encode() for word in words for name in ("low", "high")])


@given(values=st.lists(TEXT, min_size=300, max_size=400))
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
def test_every_kind_of_expectation_over_every_kind_of_value(spark, values):
    check(spark, EVERYTHING, values)


# As texts rather than values: what a look at the outline alone could take for right.
FORMS = (
    "", '"{0}": {1}', '"{0}" :{1}', '"{0}":{1},"{0}":{1}', '"{0}":"{1}"', '"{0}":null', '"{0}":null,"{0}":{1}', '"{0}":NaN',
    '"{0}":A', '"{0}":-INF', '"{0}":3', '"{0}":"3"', "'{0}':{1}", '"{0}":\\u0041', '"{0}":"\\u0041"', '"{0}":""', '"{0}":"a\nb"',
    '"{0}":{{}}', '"{0}x":1', '"x":null,"{0}":{1}', '"{0}":":a"', '"{0}":é', '"{0}":1.', '"{0}":-', '"{0}":1e5', '"{0}":"NaN"',
    '"{0}":true', '"{0}":"\\""',
)  # fmt: skip
COMMAS, ENDS = (",",) * 30 + (", ", "", ",,", " ,", ", ,"), ("}",) * 8 + ("", "} ", "}\n", "},", "}{}", ",}", " }", "}}")


@st.composite
def outlines(draw):
    faults = st.dictionaries(st.sampled_from(list(VALID)), st.sampled_from(FORMS), max_size=2)
    forms = dict.fromkeys(VALID, '"{0}":{1}') | draw(faults)
    fields = [form.format(name, json.dumps(VALID[name])) for name, form in forms.items()]
    pieces = [piece for field in fields if field for piece in (draw(st.sampled_from(COMMAS)), field)]
    return ("{" + "".join(pieces[1:]) + draw(st.sampled_from(ENDS))).encode()


# Not shrunk: what differs is listed, and a list of hundreds takes minutes to shrink.
@given(values=st.lists(outlines(), min_size=500, max_size=600))
@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None,
          phases=[Phase.generate])  # fmt: skip
def test_objects_that_are_nearly_right(spark, values):
    # With a number that is none and a fault in the JSON too, each names another.
    check(spark, EVERYTHING, values, alike=("not_finite", "malformed_json"))


def coded(code, system="http://loinc.org"):
    return {"coding": [{"system": system, "code": code}]}


OBSERVATION = {
    "resourceType": "Observation", "id": "o1", "status": "final", "code": coded("85353-1"),
    "subject": {"reference": "Patient/p1"}, "device": {"reference": "https://host/fhir/Device/m7/_history/2"},
    "effectiveDateTime": "2020-03-02T11:00:00Z",
    "component": [
        {"code": coded("8867-4"), "valueQuantity": {"value": 90, "code": "/min"}},
        {"code": coded("3150-6"), "valueQuantity": {"value": 40.5, "unit": "%"}},
        {"code": coded("67775-7"), "valueCodeableConcept": coded("130987000", "http://snomed.info/sct")}],
    "contained": [{"resourceType": "Patient", "id": "p1"}, {"resourceType": "Observation", "code": coded("8480-6"),
                   "component": [{"code": coded("8462-4"), "valueQuantity": {"value": 76, "code": "mm[Hg]"}}]}],
}  # fmt: skip
VES = {"event": {
    "commonEventHeader": {"domain": "perf3gpp", "sourceName": "gnb-7", "lastEpochMicrosec": 1583144100000000},
    "perf3gppFields": {"measDataCollection": {"measuredEntityDn": "SubNetwork=West,ManagedElement=S7", "measInfoList": [
        {"measTypes": {"sMeasTypesList": ["RRU.PrbTotDl", "DRB.UEThpDl", "Other.One"]},
         "measValuesList": [{"measObjInstId": "GNBDUFunction=1,NRCellDU=C77", "suspectFlag": "false", "measResults": [
             {"p": 1, "sValue": "41"}, {"p": 2, "sValue": "20500.5"}, {"p": 3, "sValue": "1"}]}]},
        {"measTypes": {"sMeasTypesList": ["RRC.ConnMean"]}, "measValuesList": [
            {"measObjInstId": "GNBDUFunction=1,NRCellDU=C77", "measResults": [{"p": 1, "sValue": "12.5"}]}]}]}}}}  # fmt: skip


def places(value, path=()):
    """The path of everything within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*path, key)
        yield from places(each, (*path, key))


def changed(value, path, new):
    """A copy with what is at `path` replaced, or left out where `new` is ...."""
    result = inner = copy.deepcopy(value)
    for key in path[:-1]:
        inner = inner[key]
    if new is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = new
    return result


@pytest.mark.parametrize(
    ("name", "document", "others"),
    [
        ("health_monitoring", OBSERVATION, (None, "", "entered-in-error", "Patient/p2", "/min", 500, {}, [])),
        ("telecom_anomaly", VES, (None, "", "NRCellDU=C78", "true", "7e1", " 5 ", "x", 2, 99, {}, [])),
    ],
)
def test_what_the_intake_sends_of_documents_in_other_formats_is_to_the_stream_what_it_is_to_the_gateway(
    spark, name, document, others
):
    vertical = find_vertical(name)
    variants = [document, *(changed(document, path, new) for path in places(document) for new in (..., *others))]
    texts = [json.dumps(variant).encode() for variant in variants]
    translator = Translator(vertical, *vertical.formats.values())
    sent = [translator.translate(b"k", text) for text in texts]
    at_gateway = by_door(vertical, texts)
    streamed = by_stream(spark, vertical, [outgoing.value for outgoing in sent])
    for outgoing, (gateway_reason, gateway_id), (reason, event_id) in zip(sent, at_gateway, streamed, strict=True):
        if gateway_reason == "untranslatable":
            assert outgoing.why_unchanged and reason, outgoing
        else:
            assert (reason, event_id if reason is None else None) == (gateway_reason, gateway_id), outgoing
    assert {None, "untranslatable", "missing_field"} <= {reason for reason, _ in at_gateway}
