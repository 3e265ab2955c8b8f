"""VES perf3gpp events (ONAP and O-RAN's event listener, 7.x) as performance reports.

One event may carry several groups of measurements of one cell; they are taken together. An event about several cells is
refused: it would have to become several reports, and a message becomes one event or is refused, never partly lost.
Measurements with a name that EVENT_SCHEMA does not know are left out. Results are read from `sValue`, as ONAP's mapper
writes them; one that is no number is a gap, NaN or an infinity is refused. The report's id is made of cell and period, so that
a counter sent twice is one report. The cell's id is what follows the last `=` of measObjInstId: it must be unique in the
network, not only within its managed element. With "NRCell" in measObjInstId the cell is NR, else LTE; region is never set. The
granularity period is not read: rules take every report for one of 15 minutes. An event without RRU.PrbTotDl becomes a report
that breaks the contract: the gateway refuses it, and what intake sends goes to quarantine.
"""

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from common.authoring import Format, Json, Untranslatable, as_text, object_of, without_nulls
from telecom_anomaly.events import KPIS

DOMAIN = "perf3gpp"
ELEMENT = re.compile("ManagedElement=([^,]+)")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Result(NamedTuple):
    """One measurement of one cell, as text. name: as 3GPP TS 28.552 has it, with a dot."""

    cell: str | None
    is_suspect: bool
    name: str | None
    value: str | None


def translate(message: Json) -> dict[str, Any] | None:
    """The report in a VES perf3gpp event about one cell; None for any other object. Raises Untranslatable."""
    event = object_of(message, "event")
    header = object_of(event, "commonEventHeader")
    if header.get("domain") != DOMAIN:
        return None
    collection = object_of(object_of(event, "perf3gppFields"), "measDataCollection")
    results = [result for group in _objects(collection, "measInfoList") for result in _results(group)]
    cells = {result.cell for result in results}
    if len(cells) != 1:
        raise Untranslatable("it is about several cells" if cells else "no measurement in it")
    return _report(results, _time_of(header), _site_of(collection, header))


VES = Format("ves", "VES perf3gpp event", translate)


def _report(results: list[Result], time: datetime | None, site: str | None) -> dict[str, Any]:
    instance = results[0].cell
    cell = None if instance is None else instance.rpartition("=")[2]
    texts = {result.name: result.value for result in reversed(results)}  # of two of a name, the first
    period = None if time is None else f"{time:%Y%m%d%H%M}"
    return without_nulls({
        "report_id": "-".join(part for part in (cell, period) if part is not None),
        "cell_id": cell,
        "site_id": site,
        "technology": "NR" if "NRCell" in (instance or "") else "LTE",
        "event_time": time and f"{time:%Y-%m-%dT%H:%M:%S}.{time.microsecond // 1000:03d}Z",
        "suspect_flag": any(result.is_suspect for result in results),
        **{name: _number(name, texts.get(name.replace("_", ".", 1))) for name in KPIS},
    })  # fmt: skip


def _results(group: Json) -> Iterator[Result]:
    names = object_of(group, "measTypes").get("sMeasTypesList")
    for values in _objects(group, "measValuesList"):
        cell, is_suspect = as_text(values.get("measObjInstId")), as_text(values.get("suspectFlag")) == "true"
        for result in _objects(values, "measResults", or_null=True):
            place: Any = result.get("p")
            name = names[place - 1] if isinstance(names, list) and type(place) is int and 0 < place <= len(names) else None
            yield Result(cell, is_suspect, as_text(name), as_text(result.get("sValue")))


def _number(name: str, text: str | None) -> float | None:
    """None, a gap, for what is no decimal number. Raises Untranslatable for NaN and infinities."""
    # Python would read digits of other scripts, and underscores between digits.
    if text is None or not text.isascii() or "_" in text:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    if not math.isfinite(number):
        raise Untranslatable(f"{name} is no finite number")
    return number


def _time_of(header: Json) -> datetime | None:
    micros = header.get("lastEpochMicrosec")
    try:
        return EPOCH + timedelta(microseconds=micros) if type(micros) is int else None
    except OverflowError:
        return None


def _site_of(collection: Json, header: Json) -> str | None:
    entity = collection.get("measuredEntityDn")
    match = ELEMENT.search(entity) if isinstance(entity, str) else None
    return match[1] if match else as_text(header.get("sourceName"))


def _objects(part: Json, name: str, or_null: bool = False) -> list[Json]:
    """The list of objects of that name; or_null: with an empty one for each null. Raises Untranslatable where it is none."""
    items = part.get(name)
    if not isinstance(items, list) or not all(isinstance(item, dict) or (or_null and item is None) for item in items):
        raise Untranslatable(f"{name} is no list of objects")
    return [item or {} for item in items]
