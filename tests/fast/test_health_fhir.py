"""FHIR R4 Observations come in as events, unmistakably or not at all; alerts go out as Observations."""

import json
from datetime import UTC, datetime

import pytest

from common.contract.python_parser import InvalidEvent, PythonContract, ValidEvent
from common.formats import Untranslatable
from health_monitoring import VERTICAL
from health_monitoring.formats import fhir
from health_monitoring.formats.fhir import translate

NOW = datetime(2020, 3, 2, 12, tzinfo=UTC)
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


def refusal(resource):
    """Why the resource is not taken over; None where it is."""
    try:
        translate(resource)
    except Untranslatable as problem:
        return str(problem)


@pytest.fixture(scope="module")
def parse_document():
    """What the contract says of a resource that comes in at NOW."""
    contract = PythonContract(VERTICAL)
    return lambda resource: contract.validate(json.dumps(resource).encode(), NOW)


def test_single_vital_signs():
    cases = [
        ("8867-4", 72.5, "/min", "heart_rate_bpm", 72.5), ("9279-1", 16, "/min", "respiratory_rate_per_min", 16.0),
        ("59408-5", 97, "%", "spo2_percent", 97.0), ("2708-6", 96, "%", "spo2_percent", 96.0),
        ("8310-5", 36.9, "Cel", "temperature_c", 36.9), ("8480-6", 120, "mm[Hg]", "systolic_mmhg", 120.0),
        ("3151-8", 2, "L/min", "oxygen_flow_l_per_min", 2.0), ("3150-6", 40, "%", "fio2", 0.4),
    ]  # fmt: skip
    same = {"observation_id": "obs-1", "patient_id": "p1", "event_time": "2020-03-02T11:00:00Z"}
    for code, value, unit, field, expected in cases:
        assert translate(observation(code, value, unit)) == same | {field: expected}


def test_panels_of_components_and_of_contained_members():
    pressure = without_value(code=coded("85354-9"), component=[part("8480-6", 118, "mm[Hg]"), part("8462-4", 76, "mm[Hg]")])
    alertness = {"code": coded(fhir.ACVPU_SNOMED, SNOMED), "valueCodeableConcept": coded("130987000", SNOMED)}
    panel = without_value(
        code=coded("85353-1"),
        device={"reference": "https://host/fhir/Device/m7/_history/2"},
        component=[part("8867-4", 90, "/min"), alertness],
        hasMember=[{"reference": "#bp"}],
        contained=[{"resourceType": "Patient", "id": "p1"}, {**pressure, "id": "bp"}],
    )
    event = translate(pressure)
    assert (event["systolic_mmhg"], event["diastolic_mmhg"]) == (118.0, 76.0)
    assert translate(panel) == {
        "observation_id": "obs-1",
        "patient_id": "p1",
        "device_id": "m7",
        "event_time": "2020-03-02T11:00:00Z",
        "heart_rate_bpm": 90.0,
        "systolic_mmhg": 118.0,
        "diastolic_mmhg": 76.0,
        "consciousness": "C",
    }


def test_level_of_consciousness_by_finding_and_by_letter():
    level = without_value(code=coded("67775-7"))
    values = [{"valueCodeableConcept": coded(code, SNOMED)} for code in fhir.ACVPU_FINDINGS]
    values += [{"valueString": "U"}, {"valueCodeableConcept": {"text": "V"}}]
    assert [translate(level | value)["consciousness"] for value in values] == [*"ACVPU", "U", "V"]
    for value in ({"valueString": "drowsy"}, {"valueString": 5}, {"valueCodeableConcept": []}, {}):
        assert refusal(level | value) == "level of consciousness not understood"


def test_what_cannot_be_taken_over_is_refused_and_not_guessed():
    mixed = without_value(component=[part("8867-4", 80, "/min"), part("8310-5", 98.6, "[degF]")])
    resources = (
        observation("8310-5", 98.6, "[degF]"),
        observation(status="entered-in-error"),
        observation(status="registered"),
        observation(status=None),
        observation("29463-7", 70, "kg"),
        mixed,
    )
    status = "its status is not one of a reported value"
    assert [refusal(resource) for resource in resources] == [
        "temperature_c is not in Cel",
        status,
        status,
        status,
        "no vital sign among its codes",
        "temperature_c is not in Cel",
    ]


def test_a_refusal_names_the_resource_and_holds_nothing_else_of_it():
    with pytest.raises(Untranslatable) as refused:
        translate(observation(unit="Quastenflosser", subject={"reference": "Patient/Quastenflosser"}))
    assert refused.value.document_id == "obs-1" and "Quastenflosser" not in str(refused.value)


@pytest.mark.parametrize("comparator", ["<", "", 5])
def test_a_bound_is_refused(comparator):
    bound = observation("59408-5", valueQuantity=quantity(70, "%") | {"comparator": comparator})
    assert refusal(bound) == "spo2_percent is a bound"


def test_a_comparator_of_null_is_none():
    assert translate(observation(valueQuantity=quantity(72, "/min") | {"comparator": None}))["heart_rate_bpm"] == 72.0


WITHDRAWN, OF_ANOTHER = "a member's status is not one of a reported value", "a member is of another subject"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({}, None),
        ({"status": None}, None),
        ({"status": "cancelled"}, WITHDRAWN),
        ({"status": "entered-in-error"}, WITHDRAWN),
        ({"subject": None}, None),
        ({"subject": {"reference": "#x"}}, None),
        ({"subject": {"reference": "Patient/p1"}}, None),
        ({"subject": {"reference": "Patient/p2"}}, OF_ANOTHER),
        ({"subject": {"identifier": {"value": "p1"}}}, None),
        ({"subject": {"identifier": {"value": "p2"}}}, OF_ANOTHER),
    ],
)
def test_a_member_that_is_no_value_of_this_patient_is_refused(more, reason):
    member = observation("8480-6", 60, "mm[Hg]") | more
    panel = without_value(code=coded("85353-1"), component=[part("8867-4", 80, "/min")], contained=[member])
    assert refusal(panel) == reason
    if reason is None:
        assert translate(panel)["systolic_mmhg"] == 60.0


@pytest.mark.parametrize("value", ["NaN", "INF", "-Infinity", "72", True, {}])
def test_a_value_that_is_no_number_is_refused(value):
    panel = without_value(component=[part("8867-4", 80, "/min"), part("59408-5", value, "%")])
    assert refusal(panel) == "spo2_percent is no number"


def test_a_measurement_without_a_value_hides_none_that_has_one():
    for absent in ({"code": coded("2708-6"), "dataAbsentReason": {"text": "probe off"}}, part("2708-6", None, "%")):
        assert translate(without_value(component=[absent, part("59408-5", 85, "%")]))["spo2_percent"] == 85.0


def test_the_id_of_a_resource_without_one_is_the_same_however_it_is_written():
    nameless = {name: value for name, value in observation().items() if name != "id"}
    event_id = translate(nameless)["observation_id"]
    assert translate(dict(reversed(nameless.items())))["observation_id"] == event_id and len(event_id) == 64
    assert translate(nameless | {"effectiveDateTime": "2020-03-02T11:00:01Z"})["observation_id"] != event_id


def test_the_time_of_a_period_is_its_end_and_an_identifier_may_name_the_patient():
    timeless = {name: value for name, value in observation().items() if name != "effectiveDateTime"}
    event = translate(timeless | {"effectivePeriod": {"start": "a", "end": "b"}, "subject": {"identifier": {"value": "mrn-7"}}})
    assert (event["event_time"], event["patient_id"]) == ("b", "mrn-7")
    assert translate(timeless | {"effectiveInstant": "c", "effectivePeriod": {"end": "b"}})["event_time"] == "c"


def test_what_is_no_observation_is_left_alone():
    own = {"observation_id": "resourceType", "patient_id": "Observation"}
    for other in (own, {"resourceType": "Patient", "id": "Observation"}, {"resourceType": ["Observation"]}, {}):
        assert translate(other) is None


def test_through_the_contract_an_observation_is_an_event_or_refused(parse_document):
    good = parse_document(observation("59408-5", 97, "%"))
    assert isinstance(good, ValidEvent) and (good.event_id, good.entity) == ("obs-1", "p1")
    assert json.loads(good.value) == {
        "observation_id": "obs-1",
        "patient_id": "p1",
        "spo2_percent": 97.0,
        "event_time": "2020-03-02T11:00:00Z",
    }
    refused = [
        parse_document(resource)
        for resource in (
            observation("8310-5", 50, "Cel"),
            observation("8310-5", 98.6, "[degF]"),
            observation(effectiveDateTime="2020-03-02"),
            observation(subject={"display": "somebody"}),
        )
    ]
    assert [(rejected.event_id, rejected.reason) for rejected in refused] == [
        ("obs-1", reason) for reason in ("out_of_range", "untranslatable", "wrong_type", "missing_field")
    ]
    assert refused[1].detail == "no event can be made of this FHIR R4 Observation: temperature_c is not in Cel"


def test_names_that_are_written_in_escapes_are_the_same_names(parse_document):
    escaped = json.dumps(observation()).replace('"Observation"', '"Observ\\u0061tion"').encode()
    assert json.loads(escaped) == observation()
    assert isinstance(PythonContract(VERTICAL).validate(escaped, NOW), ValidEvent)
    assert not isinstance(parse_document(observation()), InvalidEvent)


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
    assert [reference["reference"] for reference in other["derivedFrom"]] == ["Observation/o1", "Observation/o2"]
