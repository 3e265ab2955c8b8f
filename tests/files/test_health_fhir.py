"""FHIR R4 Observations come in as events, unmistakably or not at all; alerts go out as Observations."""

import json
from datetime import UTC, datetime

import pytest
from pyspark.sql import functions as F

from common import contract
from common.contract.python_parser import PlainContract, Rejected
from health_monitoring import VERTICAL
from health_monitoring.formats import fhir

pytestmark = pytest.mark.files

NOW = datetime(2020, 3, 2, 12)
SNOMED = "http://snomed.info/sct"


def coded(code, system="http://loinc.org"):
    return {"coding": [{"system": system, "code": code}]}


def quantity(value, unit):
    return {"value": value, "unit": "as shown", "system": "http://unitsofmeasure.org", "code": unit}


def observation(loinc="8867-4", value=72, unit="/min", **more):
    return {
        "resourceType": "Observation", "id": "obs-1", "status": "final", "code": coded(loinc),
        "subject": {"reference": "Patient/p1"}, "effectiveDateTime": "2020-03-02T11:00:00Z",
        "valueQuantity": quantity(value, unit),
    } | more  # fmt: skip


def part(code, value, unit):
    return {"code": coded(code), "valueQuantity": quantity(value, unit)}


def without_value(**more):
    return {name: value for name, value in observation(**more).items() if name != "valueQuantity"}


@pytest.fixture(scope="module")
def translated(spark):
    """Texts as the stream would read them: our own event's text, or None where it is no FHIR Observation."""

    def run(*texts):
        rows = spark.createDataFrame([(number, text) for number, text in enumerate(texts)], "number int, text string")
        found = rows.select("number", fhir.from_observation(F.col("text")).alias("event")).orderBy("number").collect()
        return [row.event and json.loads(row.event) for row in found]

    return run


@pytest.fixture(scope="module")
def parsed(spark):
    """What the contract says of resources that came through Kafka."""

    def run(*resources):
        values = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in resources]
        rows = [(b"k", value, "t", 0, number, NOW) for number, value in enumerate(values)]
        records = spark.createDataFrame(
            rows, "key binary, value binary, topic string, partition int, offset long, timestamp timestamp")
        return contract.parse(records, VERTICAL).orderBy("kafka_offset").collect()

    return run


def test_single_vital_signs(translated):
    cases = [
        ("8867-4", 72.5, "/min", "heart_rate_bpm", 72.5), ("9279-1", 16, "/min", "respiratory_rate_per_min", 16.0),
        ("59408-5", 97, "%", "spo2_percent", 97.0), ("2708-6", 96, "%", "spo2_percent", 96.0),
        ("8310-5", 36.9, "Cel", "temperature_c", 36.9), ("8480-6", 120, "mm[Hg]", "systolic_mmhg", 120.0),
        ("3151-8", 2, "L/min", "oxygen_flow_l_per_min", 2.0), ("3150-6", 40, "%", "fio2", 0.4),
    ]  # fmt: skip
    found = translated(*(json.dumps(observation(code, value, unit)) for code, value, unit, *_ in cases))
    same = {"observation_id": "obs-1", "patient_id": "p1", "event_time": "2020-03-02T11:00:00Z"}
    assert found == [same | {field: expected} for *_, field, expected in cases]


def test_panels_of_components_and_of_contained_members(translated):
    pressure = without_value(code=coded("85354-9"), component=[part("8480-6", 118, "mm[Hg]"), part("8462-4", 76, "mm[Hg]")])
    alertness = {"code": coded(fhir.ACVPU_SNOMED, SNOMED), "valueCodeableConcept": coded("130987000", SNOMED)}
    panel = without_value(
        code=coded("85353-1"), device={"reference": "Device/m7"}, component=[part("8867-4", 90, "/min"), alertness],
        hasMember=[{"reference": "#bp"}], contained=[{"resourceType": "Patient", "id": "p1"}, {**pressure, "id": "bp"}])
    first, second = translated(json.dumps(pressure), json.dumps(panel))
    assert (first["systolic_mmhg"], first["diastolic_mmhg"]) == (118.0, 76.0)
    assert "refused" not in first | second
    assert second | {"heart_rate_bpm": 90.0, "systolic_mmhg": 118.0, "diastolic_mmhg": 76.0, "consciousness": "C",
                     "device_id": "m7"} == second


def test_level_of_consciousness_by_finding_and_by_letter(translated):
    level = {"code": coded("67775-7")}
    values = [{"valueCodeableConcept": coded(code, SNOMED)} for code in fhir.ACVPU_FINDINGS]
    values += [{"valueString": "U"}, {"valueCodeableConcept": {"text": "V"}}, {"valueString": "drowsy"}]
    found = translated(*(json.dumps(without_value(**level) | value) for value in values))
    assert [each.get("consciousness") for each in found] == [*"ACVPU", "U", "V", None]
    assert [each.get("refused") for each in found[-2:]] == [None, "level of consciousness not understood"]


def test_what_cannot_be_taken_over_is_refused_and_not_guessed(translated):
    found = translated(*(json.dumps(each) for each in (
        observation("8310-5", 98.6, "[degF]"), observation(status="entered-in-error"), observation("29463-7", 70, "kg"),
        without_value(component=[part("8867-4", 80, "/min"), part("8310-5", 98.6, "[degF]")]))))
    assert [each["refused"] for each in found] == [
        "temperature_c is not in Cel", "its status is not one of a reported value", "no vital sign among its codes",
        "temperature_c is not in Cel"]


def test_a_bound_or_a_member_that_is_no_value_of_this_patient_is_refused(translated):
    def with_member(**more):
        member = observation("8480-6", 60, "mm[Hg]", **more)
        return without_value(code=coded("85353-1"), component=[part("8867-4", 80, "/min")], contained=[member])

    bound = observation("59408-5", valueQuantity=quantity(70, "%") | {"comparator": "<"})
    withdrawn, of_child = with_member(status="entered-in-error"), with_member(subject={"reference": "Patient/child"})
    own = with_member(), with_member(subject={"reference": "#p"})
    resources = (bound, withdrawn, of_child, observation(status="registered"), *own)
    found = translated(*(json.dumps(each) for each in resources))
    assert [each.get("refused") for each in found] == [
        "spo2_percent is a bound", "a member's status is not one of a reported value", "a member is of another subject",
        "its status is not one of a reported value", None, None]
    assert found[4]["systolic_mmhg"] == found[5]["systolic_mmhg"] == 60.0


def test_a_measurement_without_a_value_hides_none_that_has_one(translated):
    absent = {"code": coded("2708-6"), "dataAbsentReason": {"text": "probe off"}}
    [found] = translated(json.dumps(without_value(component=[absent, part("59408-5", 85, "%")])))
    assert found["spo2_percent"] == 85.0


BY_BOTH = [
    *({"component": [part("8867-4", 80, "/min"), {"code": coded("59408-5"), "valueQuantity": {"value": value, "unit": unit}}]}
      for value in ("NaN", "INF", "-Infinity", "72", True, 96, None) for unit in ("%", "mmHg")),
    *({"valueQuantity": quantity(72, "/min") | {"comparator": value}} for value in ("<", "", None, 5)),
    *({"contained": [observation("8480-6", 60, "mm[Hg]") | more]} for more in (
        {"status": "cancelled"}, {"status": None}, {"code": None}, {"subject": None}, {"subject": {"reference": "Patient/p2"}},
        {"subject": {"reference": "#x"}}, *({"subject": {"identifier": {"value": value}}} for value in ("p1", "p2")))),
    {"component": [{"code": coded("9279-1")}, part("9279-1", 20, "/min")]},
]  # fmt: skip


def test_the_door_says_of_every_resource_what_the_stream_says(parsed):
    values = [json.dumps(observation(**more)).encode() for more in BY_BOTH]
    values.append(values[-1].replace(b"Observation", b"Observ\\u0061tion"))
    door = PlainContract(VERTICAL)
    told = [door.judge(value, NOW.replace(tzinfo=UTC)) for value in values]
    said = [each.reason if isinstance(each, Rejected) else None for each in told]
    assert said == [row.reason for row in parsed(*values)]
    assert set(said) == {None, "not_finite", "unknown_field"}


def test_other_texts_are_left_alone(translated):
    own = json.dumps({"observation_id": "resourceType", "patient_id": "Observation"})
    assert translated(own, json.dumps({"resourceType": "Patient", "id": "Observation"}), "{", None) == [None] * 4


def test_through_the_contract_an_observation_is_an_event_or_quarantined(parsed):
    good, hot, unit, dateless, nobody = parsed(
        observation("59408-5", 97, "%"), observation("8310-5", 50, "Cel"), observation("8310-5", 98.6, "[degF]"),
        observation(effectiveDateTime="2020-03-02"), observation(subject={"display": "somebody"}))
    assert (good.reason, good.spo2_percent, good.event_time) == (None, 97.0, datetime(2020, 3, 2, 11))
    assert good.patient_id != "p1" and len(good.patient_id) == 24
    assert [row.reason for row in (hot, unit, dateless, nobody)] == [
        "out_of_range", "unknown_field", "wrong_type", "missing_field"]
    assert not any(b"Patient/p1" in bytes(row.raw) for row in (hot, unit, dateless))


def test_an_alert_is_rendered_as_an_observation():
    alert = {
        "alert_id": "a" * 32, "rule": "emergency_response", "entity_id": "0f" * 12, "event_time": "2020-03-02T11:00:00.000Z",
        "severity": "critical", "score": 9.0, "threshold": 7.0, "reasons": "NEWS2 is 9", "event": "o1",
    }  # fmt: skip
    rendered = json.loads(json.dumps(fhir.as_observation(alert)))
    assert rendered["code"]["coding"][0] == {"system": SNOMED, "code": "1104051000000101"}
    assert rendered["valueQuantity"] == {"value": 9.0}
    assert rendered["derivedFrom"] == [{"reference": "Observation/o1"}]
    assert rendered["interpretation"][0]["coding"][0]["code"] == "HH"
    other = fhir.as_observation(alert | {"rule": "tachycardia", "severity": "major", "event": '["o1","o2"]'})
    assert [coding["code"] for coding in other["code"]["coding"]] == ["tachycardia"]
    assert [each["reference"] for each in other["derivedFrom"]] == ["Observation/o1", "Observation/o2"]
