"""`fhir.from_observation` in plain Python, for the gateway: a test runs both over the same resources."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from common.contract.python_conditions import java_pattern
from common.contract.python_parser import NOT_FINITE
from common.contract.strict_json import Json, as_text, object_of
from health_monitoring.events import CONSCIOUSNESS, CONSCIOUSNESS_LOINC, VITALS, Vital
from health_monitoring.formats.fhir import ACVPU_FINDINGS, ACVPU_SNOMED, ID_IN_REFERENCE, LOINC, REPORTED, SNOMED

READ_AS_NUMBERS = NOT_FINITE - {"INF"}     # by the stream, within a resource; the contract then refuses them
PATIENT, DEVICE = (java_pattern(ID_IN_REFERENCE.format(kind)) for kind in ("Patient", "Device"))


def from_observation(resource: Json, text: bytes) -> dict[str, Any] | None:
    """An event from a FHIR R4 Observation; None for any other object."""
    # As the stream does, which looks for both words first: JSON can write them otherwise.
    if resource.get("resourceType") != "Observation" or b"resourceType" not in text or b"Observation" not in text:
        return None
    measurements = list(_measurements(resource))
    with_value = [each for each in measurements if _number(object_of(each, "valueQuantity")) is not None]
    found = {vital.field: _first(with_value, LOINC, vital.loinc) for vital in VITALS}
    level = _first(measurements, LOINC, (CONSCIOUSNESS_LOINC,)) or _first(measurements, SNOMED, (ACVPU_SNOMED,))
    values = {vital.field: _quantity(found[vital.field], vital) for vital in VITALS}
    letter = _consciousness(level) if level else None
    device = object_of(resource, "device")
    event = {
        "observation_id": _given(resource.get("id"), hashlib.sha256(text).hexdigest()),
        "patient_id": _patient(resource),
        "device_id": _given(_id_in(DEVICE, device), device.get("display")),
        **values,
        "consciousness": letter,
        "event_time": _given(resource.get("effectiveDateTime"), resource.get("effectiveInstant"),
                             object_of(resource, "effectivePeriod").get("end")),
        "refused": _refusal(resource, found, values, level is not None, letter),
    }  # fmt: skip
    return {name: value for name, value in event.items() if value is not None}


def _measurements(resource: Json) -> Iterator[Json]:
    """The resource itself, its components, its contained Observations and their components."""
    for part in (resource, *_members(resource)):
        yield part
        yield from _objects(part, "component")


def _members(resource: Json) -> list[Json]:
    return [part for part in _objects(resource, "contained") if part.get("resourceType") == "Observation"]


def _first(measurements: list[Json], system: str, codes: tuple[str, ...]) -> Json | None:
    return next((each for each in measurements if any(
        coding.get("system") == system and coding.get("code") in codes
        for coding in _objects(object_of(each, "code"), "coding"))), None)  # fmt: skip


def _quantity(measurement: Json | None, vital: Vital) -> float | None:
    quantity = object_of(measurement or {}, "valueQuantity")
    unit = _given(quantity.get("code"), quantity.get("unit"))
    value = _number(quantity)
    return value / vital.per_unit if value is not None and unit == vital.ucum else None


def _number(quantity: Json) -> float | None:
    value = quantity.get("value")
    if isinstance(value, str) and value in READ_AS_NUMBERS:
        return float("nan")
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _consciousness(level: Json) -> str | None:
    concept = object_of(level, "valueCodeableConcept")
    codes = [coding.get("code") for coding in _objects(concept, "coding")]
    letters = [ACVPU_FINDINGS.get(code, code) for code in codes if isinstance(code, str)]
    given = [*letters, level.get("valueString"), concept.get("text")]
    return next((letter for letter in given if letter in CONSCIOUSNESS), None)


def _refusal(
    resource: Json, found: Mapping[str, Json | None], values: Mapping[str, float | None], has_level: bool, letter: str | None
) -> str | None:
    """Why the resource is not taken over, None if it is."""
    if resource.get("status") not in REPORTED:
        return "its status is not one of a reported value"
    if any(part.get("status") is not None and part["status"] not in REPORTED for part in _members(resource)):
        return "a member's status is not one of a reported value"
    if _patient(resource) is not None and not {_patient(part) for part in _members(resource)} <= {None, _patient(resource)}:
        return "a member is of another subject"
    for vital in VITALS:
        measurement = found[vital.field]
        if measurement and object_of(measurement, "valueQuantity").get("comparator") is not None:
            return f"{vital.field} is a bound"
        if measurement and values[vital.field] is None:
            return f"{vital.field} is not in {vital.ucum}"
    if has_level and letter is None:
        return "level of consciousness not understood"
    return None if letter or any(value is not None for value in values.values()) else "no vital sign among its codes"


def _patient(resource: Json) -> str | None:
    subject = object_of(resource, "subject")
    return _given(_id_in(PATIENT, subject), object_of(subject, "identifier").get("value"))


def _id_in(pattern: Any, reference: Json) -> str | None:
    text = as_text(reference.get("reference"))
    found = pattern.search(text) if text else None
    return found[1] if found else None


def _given(*values: Any) -> str | None:
    """The first that is there, empty or not, as text."""
    return as_text(next((value for value in values if value is not None), None))


def _objects(part: Json, name: str) -> list[Json]:
    value = part.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
