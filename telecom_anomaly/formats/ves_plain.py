"""`ves.from_ves` in plain Python, for the gateway: a test runs both over the same events."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from common.contract.strict_json import Json, as_text, object_of
from telecom_anomaly.events import KPIS
from telecom_anomaly.formats.ves import DOMAIN

ELEMENT = re.compile("ManagedElement=([^,]+)")
# What Java reads as a number, and what Spark adds to it, once Java has taken off BLANKS.
BLANKS = "".join(map(chr, range(ord(" ") + 1)))
DECIMAL = re.compile(r"([+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)[fFdD]?", re.ASCII)
HEXADECIMAL = re.compile(r"([+-]?0[xX]([\da-fA-F]+\.?[\da-fA-F]*|\.[\da-fA-F]+)[pP][+-]?\d+)[fFdD]?", re.ASCII)
NOT_FINITE = re.compile(r"[+-]?NaN|(?i:nan|[+-]?inf(inity)?)", re.ASCII)
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
    event = object_of(message, "event")
    header, fields = object_of(event, "commonEventHeader"), object_of(event, "perf3gppFields")
    if header.get("domain") != DOMAIN or DOMAIN.encode() not in text:
        return None
    collection = object_of(fields, "measDataCollection")
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
    types = object_of(info, "measTypes").get("sMeasTypesList")
    for values in _objects(info, "measValuesList"):
        instance, suspect = values.get("measObjInstId"), values.get("suspectFlag") == "true"
        for result in _objects(values, "measResults", or_null=True):
            place: Any = result.get("p")
            named = types[place - 1] if isinstance(types, list) and type(place) is int and 0 < place <= len(types) else None
            yield Result(as_text(instance), suspect, as_text(named), as_text(result.get("sValue")))


def _number(text: str | None) -> float | None:
    """As the stream reads it; None, a gap, for what is no number. One that is not finite is left to the contract to reject."""
    written = (text or "").strip(BLANKS)
    if decimal := DECIMAL.fullmatch(written):
        return float(decimal[1])
    if hexadecimal := HEXADECIMAL.fullmatch(written):
        try:
            return float.fromhex(hexadecimal[1])
        except OverflowError:
            return float("inf")
    return float(written) if NOT_FINITE.fullmatch(written) else None


def _time(header: Json) -> datetime | None:
    micros = header.get("lastEpochMicrosec")
    try:
        return EPOCH + timedelta(microseconds=micros) if type(micros) is int else None
    except OverflowError:
        return None


def _site(collection: Json, header: Json) -> str | None:
    entity, source = collection.get("measuredEntityDn"), header.get("sourceName")
    found = ELEMENT.search(entity) if isinstance(entity, str) else None
    return found[1] if found else as_text(source)


def _objects(part: Json, name: str, or_null: bool = False) -> list[Json]:
    """A list of objects, a null as an empty one where that is no reason to leave the event; raises NotTaken."""
    value = part.get(name)
    if not isinstance(value, list) or not all(isinstance(each, dict) or (or_null and each is None) for each in value):
        raise NotTaken
    return [each or {} for each in value]
