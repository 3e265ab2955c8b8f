"""`ves.from_ves` in plain Python, for the gateway: a test runs both over the same events."""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from telecom_anomaly.events import KPIS

Json = Mapping[str, Any]

ELEMENT = re.compile("ManagedElement=([^,]+)")
NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Result(NamedTuple):
    """One measurement of one cell, as text."""

    cell: str | None
    suspect: bool
    type: str | None
    value: str | None


class NotTaken(Exception):
    """A list that belongs to the event is missing or is no list."""


def from_ves(message: Json, text: bytes) -> dict[str, Any] | None:
    """A report from a VES perf3gpp event about one cell; None for any other object."""
    event = _object(message, "event")
    header, fields = _object(event, "commonEventHeader"), _object(event, "perf3gppFields")
    if header.get("domain") != "perf3gpp":
        return None
    collection = _object(fields, "measDataCollection")
    try:
        results = [result for info in _objects(collection, "measInfoList") for result in _results(info)]
    except NotTaken:
        return None
    cells = {result.cell for result in results}
    if len(cells) != 1:
        return None
    [instance] = cells
    return _report(instance, results, _time(header), _site(collection, header))


def _report(instance: str | None, results: list[Result], time: datetime | None, site: str | None) -> dict[str, Any]:
    cell = None if instance is None else instance.rpartition("=")[2]
    measured = {result.type: _number(result.value) for result in reversed(results)}  # of two of a type, the first
    stamp = [] if time is None else [time.strftime("%Y%m%d%H%M")]
    report = {
        "report_id": "-".join([*([] if cell is None else [cell]), *stamp]),
        "cell_id": cell,
        "site_id": site,
        "technology": "NR" if "NRCell" in (instance or "") else "LTE",
        "event_time": time and f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z",
        "suspect_flag": any(result.suspect for result in results),
        **{name: measured.get(name.replace("_", ".", 1)) for name in KPIS},
    }
    return {name: value for name, value in report.items() if value is not None}


def _results(info: Json) -> Iterator[Result]:
    types = _object(info, "measTypes").get("sMeasTypesList")
    for values in _objects(info, "measValuesList"):
        instance, suspect = values.get("measObjInstId"), values.get("suspectFlag") == "true"
        for result in _objects(values, "measResults", or_null=True):
            place: Any = result.get("p")
            named = types[place - 1] if isinstance(types, list) and type(place) is int and 0 < place <= len(types) else None
            yield Result(_text(instance), suspect, _text(named), _text(result.get("sValue")))


def _number(text: str | None) -> float | None:
    return float(text) if isinstance(text, str) and NUMBER.fullmatch(text) else None


def _time(header: Json) -> datetime | None:
    micros = header.get("lastEpochMicrosec")
    try:
        return EPOCH + timedelta(microseconds=micros) if type(micros) is int else None
    except OverflowError:
        return None


def _site(collection: Json, header: Json) -> str | None:
    entity, source = collection.get("measuredEntityDn"), header.get("sourceName")
    found = ELEMENT.search(entity) if isinstance(entity, str) else None
    return found[1] if found else _text(source)


def _text(value: Any) -> str | None:
    """As Spark reads what should be text: another value's JSON."""
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def _object(part: Json, name: str) -> Json:
    value = part.get(name)
    return value if isinstance(value, dict) else {}


def _objects(part: Json, name: str, or_null: bool = False) -> list[Json]:
    """A list of objects, a null as an empty one where that is no reason to leave the event; raises NotTaken."""
    value = part.get(name)
    if not isinstance(value, list) or not all(isinstance(each, dict) or (or_null and each is None) for each in value):
        raise NotTaken
    return [each or {} for each in value]
