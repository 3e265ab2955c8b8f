"""VES perf3gpp events (ONAP and O-RAN's event listener, 7.x) as performance reports.

One event may carry several groups of measurements of one cell; they are taken together. An event about several cells is not
taken: it would have to become several reports, and a message becomes one event or is rejected, never partly lost.
Measurements with a name that EVENT_SCHEMA does not know are left out. Results are read from `sValue`, as ONAP's mapper
writes them; one that is no number is a gap, NaN or an infinity is left to the contract to reject. The report's id is made of
cell and period, so that a counter sent twice is one report. The cell's id is what follows the last `=` of measObjInstId: it
must be unique in the network, not only within its managed element.
"""

from pyspark.sql import Column
from pyspark.sql import functions as F

from telecom_anomaly.events import KPIS

DOMAIN = "perf3gpp"
RESULT = "struct<p:int,sValue:string>"
VALUES = f"struct<measObjInstId:string,suspectFlag:string,measResults:array<{RESULT}>>"
INFO = f"struct<measTypes:struct<sMeasTypesList:array<string>>,measValuesList:array<{VALUES}>>"
COLLECTION = f"struct<measuredEntityDn:string,measInfoList:array<{INFO}>>"
HEADER = "struct<domain:string,sourceName:string,lastEpochMicrosec:bigint>"
VES = f"struct<event:struct<commonEventHeader:{HEADER},perf3gppFields:struct<measDataCollection:{COLLECTION}>>>"


def from_ves(text: Column) -> Column:
    """The report, as JSON text of an event, in a VES perf3gpp event; null where the text is no such event about one cell."""
    # Looked for first: to parse every report of our own a second time would cost as much as the contract.
    return F.when(text.contains(DOMAIN), _report(text))


def _report(text: Column) -> Column:
    event = F.from_json(text, VES).event
    header, collection = event.commonEventHeader, event.perf3gppFields.measDataCollection
    results = F.flatten(F.transform(collection.measInfoList, _results))
    objects = F.array_distinct(F.transform(results, lambda result: result.object))
    time = F.timestamp_micros(header.lastEpochMicrosec)
    cell = F.substring_index(F.element_at(objects, 1), "=", -1)
    report = F.struct(
        F.concat_ws("-", cell, F.date_format(time, "yyyyMMddHHmm")).alias("report_id"),
        cell.alias("cell_id"),
        _site(collection.measuredEntityDn, header.sourceName).alias("site_id"),
        F.when(F.element_at(objects, 1).contains("NRCell"), "NR").otherwise("LTE").alias("technology"),
        F.date_format(time, "yyyy-MM-dd'T'HH:mm:ss.SSSXXX").alias("event_time"),
        F.exists(results, lambda result: result.suspect).alias("suspect_flag"),
        *[_first(results, name.replace("_", ".", 1)).try_cast("double").alias(name) for name in KPIS],
    )
    return F.when((header.domain == DOMAIN) & (F.size(objects) == 1), F.to_json(report))


def _results(info: Column) -> Column:
    def of(values: Column) -> Column:
        return F.transform(values.measResults, lambda result: F.struct(
            values.measObjInstId.alias("object"),
            F.coalesce(values.suspectFlag == "true", F.lit(False)).alias("suspect"),
            F.get(info.measTypes.sMeasTypesList, result.p - 1).alias("type"),
            result.sValue.alias("value")))
    return F.flatten(F.transform(info.measValuesList, of))


def _first(results: Column, name: str) -> Column:
    """The text of the first result of that type. Not by a map: that ends the query at a result without type, or at two of one."""
    return F.get(F.filter(results, lambda result: result.type == name), 0).value


def _site(entity: Column, source: Column) -> Column:
    element = F.regexp_extract(entity, "ManagedElement=([^,]+)", 1)
    return F.when(F.length(element) > 0, element).otherwise(source)
