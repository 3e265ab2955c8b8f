"""Translates a FHIR R4 Observation to an event, and an alert to an Observation.

`translate` takes a single vital sign, a blood pressure or vital-signs panel with components, and a panel whose members are
contained; LOINC codes and UCUM units as in `events.VITALS`, level of consciousness as SNOMED CT findings of the ACVPU scale or
as the letters themselves. Of several measurements of one vital sign it takes the first that has a value. What it cannot take
over it does not guess: it raises Untranslatable with the reason.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from common.authoring import Format, Json, Untranslatable, as_text, object_of, without_nulls
from health_monitoring.events import CONSCIOUSNESS, CONSCIOUSNESS_LOINC, VITALS, Vital

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
ACVPU_SNOMED = "1104441000000107"
ACVPU_FINDINGS = {"248234008": "A", "130987000": "C", "300202002": "V", "450847001": "P", "422768004": "U"}
NEWS2_SNOMED = "1104051000000101"  # total score
NEWS2_RULES = ("urgent_response", "emergency_response")
REPORTED = ("preliminary", "final", "amended", "corrected")

# The id in a reference such as `https://host/fhir/Patient/12/_history/2`, by the kind of resource.
IDS_IN_REFERENCES = {
    kind: re.compile(rf"(?:^|/){kind}/([A-Za-z0-9\-.]{{1,64}})(?:/_history/.*)?\Z") for kind in ("Patient", "Device")
}


def translate(resource: Json) -> dict[str, Any] | None:
    """The event in a FHIR R4 Observation; None for any other object. Raises Untranslatable."""
    if resource.get("resourceType") != "Observation":
        return None
    measurements = list(_measurements(resource))
    valued_measurements = [measurement for measurement in measurements if _value_of(measurement) is not None]
    by_field = {vital.field: _first_coded(valued_measurements, LOINC, vital.loinc) for vital in VITALS}
    level = _first_coded(measurements, LOINC, (CONSCIOUSNESS_LOINC,)) or _first_coded(measurements, SNOMED, (ACVPU_SNOMED,))
    if refusal := _resource_refusal(resource) or _measurement_refusal(by_field, level):
        raise Untranslatable(refusal, as_text(resource.get("id")))
    resource_id, device = as_text(resource.get("id")), object_of(resource, "device")
    return without_nulls({
        "observation_id": _hash_of(resource) if resource_id is None else resource_id,
        "patient_id": _patient_of(resource),
        "device_id": _first_text(_referenced_id("Device", device), device.get("display")),
        **{vital.field: _quantity_of(by_field[vital.field], vital) for vital in VITALS},
        "consciousness": _letter_of(level),
        "event_time": _first_text(resource.get("effectiveDateTime"), resource.get("effectiveInstant"),
                                  object_of(resource, "effectivePeriod").get("end")),
    })  # fmt: skip


FHIR = Format("fhir", "FHIR R4 Observation", translate)


def _measurements(resource: Json) -> Iterator[Json]:
    """The resource itself, its components, its contained Observations and their components."""
    for part in (resource, *_members(resource)):
        yield part
        yield from _objects(part, "component")


def _members(resource: Json) -> list[Json]:
    return [part for part in _objects(resource, "contained") if part.get("resourceType") == "Observation"]


def _first_coded(measurements: list[Json], system: str, codes: tuple[str, ...]) -> Json | None:
    """The first measurement that has one of these codes."""

    def has_code(measurement: Json) -> bool:
        codings = _objects(object_of(measurement, "code"), "coding")
        return any(coding.get("system") == system and coding.get("code") in codes for coding in codings)

    return next(filter(has_code, measurements), None)


def _value_of(measurement: Json) -> Any:
    return object_of(measurement, "valueQuantity").get("value")


def _number_of(measurement: Json) -> float | None:
    """Its value; None where that is no JSON number, of which none is infinite."""
    value = _value_of(measurement)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _quantity_of(measurement: Json | None, vital: Vital) -> float | None:
    """The measured value in the field's own unit; None where there is none, or one that is not in the unit of `vital`."""
    quantity = object_of(measurement or {}, "valueQuantity")
    number = _number_of(measurement or {})
    unit = _first_text(quantity.get("code"), quantity.get("unit"))
    return number / vital.per_unit if number is not None and unit == vital.ucum else None


def _letter_of(level: Json | None) -> str | None:
    """One of CONSCIOUSNESS; None where the level is none of those understood."""
    concept = object_of(level or {}, "valueCodeableConcept")
    codes = [coding.get("code") for coding in _objects(concept, "coding")]
    letters = [ACVPU_FINDINGS.get(code, code) for code in codes if isinstance(code, str)]
    candidates = [*letters, (level or {}).get("valueString"), concept.get("text")]
    return next((letter for letter in candidates if letter in CONSCIOUSNESS), None)


def _resource_refusal(resource: Json) -> str | None:
    """Why the resource as a whole is not taken over; None where it may be."""
    if resource.get("status") not in REPORTED:
        return "its status is not one of a reported value"
    members, patient = _members(resource), _patient_of(resource)
    if any(member.get("status") is not None and member["status"] not in REPORTED for member in members):
        return "a member's status is not one of a reported value"
    if patient is not None and not {_patient_of(member) for member in members} <= {None, patient}:
        return "a member is of another subject"
    return None


def _measurement_refusal(by_field: Mapping[str, Json | None], level: Json | None) -> str | None:
    """Why the measurements are not taken over; None where they are."""
    for vital in VITALS:
        measurement = by_field[vital.field]
        if measurement is None:
            continue
        if object_of(measurement, "valueQuantity").get("comparator") is not None:
            return f"{vital.field} is a bound"
        if _number_of(measurement) is None:
            return f"{vital.field} is no number"
        if _quantity_of(measurement, vital) is None:
            return f"{vital.field} is not in {vital.ucum}"
    if level is not None and _letter_of(level) is None:
        return "level of consciousness not understood"
    return None if level is not None or any(by_field.values()) else "no vital sign among its codes"


def _patient_of(resource: Json) -> str | None:
    subject = object_of(resource, "subject")
    return _first_text(_referenced_id("Patient", subject), object_of(subject, "identifier").get("value"))


def _referenced_id(kind: str, reference: Json) -> str | None:
    match = IDS_IN_REFERENCES[kind].search(as_text(reference.get("reference")) or "")
    return match[1] if match else None


def _first_text(*values: Any) -> str | None:
    """The first that is not null, be it empty, as text."""
    return as_text(next((value for value in values if value is not None), None))


def _hash_of(resource: Json) -> str:
    """An id for a resource without one: the same for the same resource, however it is written."""
    return hashlib.sha256(orjson.dumps(resource, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _objects(part: Json, name: str) -> list[Json]:
    value = part.get(name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def as_observation(alert: Mapping[str, Any]) -> dict[str, Any]:
    """An alert (a record of the topic `health_monitoring.alerts`) as a FHIR R4 Observation, ready for `json.dumps`.

    Its subject is the pseudonym: whoever holds the key may put a reference to the Patient in its place.
    """
    codes = [{"system": "urn:hybrid:health_monitoring:rule", "code": alert["rule"]}]
    if alert["rule"] in NEWS2_RULES:
        codes.insert(0, {"system": SNOMED, "code": NEWS2_SNOMED})
    evidence = alert["event"]
    events = json.loads(evidence) if evidence.startswith("[") else [evidence]
    level = "HH" if alert["severity"] == "critical" else "H"
    return {
        "resourceType": "Observation",
        "id": alert["alert_id"],
        "status": "final",
        "category": [_concept("http://terminology.hl7.org/CodeSystem/observation-category", "survey")],
        "code": {"coding": codes, "text": alert["rule"].replace("_", " ")},
        "subject": {"identifier": {"system": "urn:hybrid:pseudonym", "value": alert["entity_id"]}},
        "effectiveDateTime": alert["event_time"],
        "valueQuantity": {"value": alert["score"]},
        "interpretation": [_concept("http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation", level)],
        "referenceRange": [{"high": {"value": alert["threshold"]}, "text": "alarmed from here on"}],
        "note": [{"text": alert["reasons"]}],
        "derivedFrom": [{"reference": f"Observation/{event}"} for event in events],
    }


def _concept(system: str, code: str) -> dict[str, Any]:
    return {"coding": [{"system": system, "code": code}]}
