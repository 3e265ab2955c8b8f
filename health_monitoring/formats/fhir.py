"""FHIR R4 at the edges: an Observation as an event, and an alert as an Observation.

`from_observation` is native Spark over an explicit schema, for the stream. It takes a single vital sign, a blood pressure or
vital-signs panel with components, and a panel whose members are contained; LOINC codes and UCUM units as in `events.VITALS`,
level of consciousness as SNOMED CT findings of the ACVPU scale or as the letters themselves. Of several measurements of one vital
sign it takes the first that has a value. What it cannot take over it
does not guess: the event then carries a field `refused` with the reason, which no contract knows, and ends in quarantine.
"""

import json
from collections.abc import Mapping
from typing import Any

from pyspark.sql import Column
from pyspark.sql import functions as F

from common.columns import let
from health_monitoring.events import CONSCIOUSNESS, CONSCIOUSNESS_LOINC, VITALS, Vital

LOINC, SNOMED = "http://loinc.org", "http://snomed.info/sct"
ACVPU_SNOMED = "1104441000000107"
ACVPU_FINDINGS = {"248234008": "A", "130987000": "C", "300202002": "V", "450847001": "P", "422768004": "U"}
NEWS2_SNOMED = "1104051000000101"   # total score
NEWS2_RULES = ("urgent_response", "emergency_response")
REPORTED = ("preliminary", "final", "amended", "corrected")

# An id in a reference such as `https://host/fhir/Patient/12/_history/2`, for the kind of resource that is put in.
ID_IN_REFERENCE = r"(?:^|/){}/([A-Za-z0-9\-.]{{1,64}})(?:/_history/.*)?$"

CONCEPT = "struct<coding:array<struct<system:string,code:string>>,text:string>"
MEASURED = (
    f"code:{CONCEPT},valueQuantity:struct<value:double,comparator:string,unit:string,system:string,code:string>,"
    f"valueCodeableConcept:{CONCEPT},valueString:string"
)
MEASUREMENT = f"struct<{MEASURED}>"
RESOURCE = (
    f"resourceType:string,{MEASURED},component:array<{MEASUREMENT}>,status:string,"
    "subject:struct<reference:string,identifier:struct<value:string>>"
)
OBSERVATION = (
    f"struct<{RESOURCE},id:string,"
    "device:struct<reference:string,display:string>,effectiveDateTime:string,effectiveInstant:string,"
    f"effectivePeriod:struct<`start`:string,`end`:string>,contained:array<struct<{RESOURCE}>>>"
)


def from_observation(text: Column) -> Column:
    """The JSON text of an event from that of a FHIR R4 Observation; null for any other text."""
    # Looked for first: to parse every event of our own a second time would cost as much as judging it.
    is_likely = text.contains("resourceType") & text.contains("Observation")
    event = let(F.from_json(text, OBSERVATION), lambda resource: F.when(
        resource.resourceType == "Observation", let(_measurements(resource), lambda measurements: let(
            _found(measurements), lambda found: _event(resource, found, text)))))
    return F.when(is_likely, event)


def _measurements(resource: Column) -> Column:
    """The resource itself, its components, its contained Observations and their components, as an array of MEASUREMENT."""
    def own(part: Column) -> Column:
        return F.struct(part.code, part.valueQuantity, part.valueCodeableConcept, part.valueString).cast(MEASUREMENT)

    none = F.array().cast(f"array<{MEASUREMENT}>")

    def with_components(part: Column) -> Column:
        return F.concat(F.array(own(part)), F.coalesce(part.component, none))

    return F.concat(with_components(resource), F.flatten(F.transform(_members(resource), with_components)))


def _members(resource: Column) -> Column:
    contained = F.coalesce(resource.contained, F.array().cast(f"array<struct<{RESOURCE}>>"))
    return F.filter(contained, lambda part: part.resourceType == "Observation")


def _found(measurements: Column) -> Column:
    """A struct of each vital's measurement, in its field's name, and that of the level of consciousness; null if absent."""
    by_codes = {vital.field: (LOINC, vital.loinc) for vital in VITALS}
    levels = F.coalesce(_first(measurements, LOINC, (CONSCIOUSNESS_LOINC,)), _first(measurements, SNOMED, (ACVPU_SNOMED,)))
    with_value = F.filter(measurements, lambda measurement: measurement.valueQuantity.value.isNotNull())
    vitals = [_first(with_value, *codes).alias(field) for field, codes in by_codes.items()]
    return F.struct(*vitals, levels.alias("level"))


def _first(measurements: Column, system: str, codes: tuple[str, ...]) -> Column:
    def is_it(measurement: Column) -> Column:
        return F.exists(measurement.code.coding, lambda coding: (coding.system == system) & coding.code.isin(*codes))

    return F.get(F.filter(measurements, is_it), 0)


def _event(resource: Column, found: Column, text: Column) -> Column:
    return F.to_json(F.struct(
        F.coalesce(resource.id, F.sha2(text, 256)).alias("observation_id"),
        _patient(resource).alias("patient_id"),
        F.coalesce(_id_in(resource.device.reference, "Device"), resource.device.display).alias("device_id"),
        *(_quantity(found, vital).alias(vital.field) for vital in VITALS),
        _consciousness(found.level).alias("consciousness"),
        F.coalesce(resource.effectiveDateTime, resource.effectiveInstant, resource.effectivePeriod.end).alias("event_time"),
        _refusal(resource, found).alias("refused"),
    ))  # fmt: skip


def _quantity(found: Column, vital: Vital) -> Column:
    return F.when(_unit(found[vital.field]) == vital.ucum, found[vital.field].valueQuantity.value / vital.per_unit)


def _unit(measurement: Column) -> Column:
    return F.coalesce(measurement.valueQuantity.code, measurement.valueQuantity.unit)


def _consciousness(level: Column) -> Column:
    """One of CONSCIOUSNESS, null where the value is none of those understood."""
    codes = F.transform(level.valueCodeableConcept.coding, lambda coding: coding.code)
    findings = F.create_map(*[F.lit(part) for pair in ACVPU_FINDINGS.items() for part in pair])
    letters = F.concat(
        F.transform(F.coalesce(codes, F.array().cast("array<string>")), lambda code: F.coalesce(findings[code], code)),
        F.array(level.valueString, level.valueCodeableConcept.text))
    return F.get(F.filter(letters, lambda letter: letter.isin(*CONSCIOUSNESS)), 0)


def _refusal(resource: Column, found: Column) -> Column:
    """Why the resource is not taken over, null if it is."""
    inexact = [
        F.when(found[vital.field].valueQuantity.comparator.isNotNull(), F.lit(f"{vital.field} is a bound"))
        .when(found[vital.field].isNotNull() & _quantity(found, vital).isNull(), F.lit(f"{vital.field} is not in {vital.ucum}"))
        for vital in VITALS]
    is_withdrawn = F.exists(_members(resource), lambda part: ~part.status.isin(*REPORTED))
    is_mixed = F.exists(_members(resource), lambda part: _patient(part) != _patient(resource))
    anything = F.coalesce(*[_quantity(found, vital).cast("string") for vital in VITALS], _consciousness(found.level))
    return F.coalesce(
        F.when(~F.coalesce(resource.status.isin(*REPORTED), F.lit(False)), F.lit("its status is not one of a reported value")),
        F.when(is_withdrawn, F.lit("a member's status is not one of a reported value")),
        F.when(is_mixed, F.lit("a member is of another subject")),
        *inexact,
        F.when(found.level.isNotNull() & _consciousness(found.level).isNull(), F.lit("level of consciousness not understood")),
        F.when(anything.isNull(), F.lit("no vital sign among its codes")),
    )


def _patient(resource: Column) -> Column:
    return F.coalesce(_id_in(resource.subject.reference, "Patient"), resource.subject.identifier.value)


def _id_in(reference: Column, kind: str) -> Column:
    """The id in a FHIR reference; null for another kind."""
    found = F.regexp_extract(reference, ID_IN_REFERENCE.format(kind), 1)
    return F.when(found != "", found)


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
