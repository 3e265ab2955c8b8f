"""Kafka records to events: what is valid goes on, what is not gets its reason.

Everything here is a projection of native Spark expressions: deterministic, without state, safe on a stream and in
real-time mode. `accepted` and `parse` come from the same list of checks, so they cannot disagree.
"""

from dataclasses import replace
from functools import reduce
from operator import add, and_, or_

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.contract.check import Check, constant_text, null_as_false, null_as_true
from common.contract.expectations import Expectation, check_contract
from common.contract.json_outline import outline_pattern
from common.contract.times import ARRIVAL, TimeBounds, ingest_time, arrival_checks, earliest_time_check, row_clock, with_arrival
from common.privacy.pseudonyms import encrypt, with_pseudonyms
from common.vertical import Vertical

SHOWN_CHARACTERS = 120  # characters of a rejected value that `detail` repeats

# A date and a time with its zone; Spark alone would take "2026" or "12:00" too.
ISO_8601 = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\z"
CORRUPT_COLUMN = "_corrupt"
JSON_OPTIONS = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT_COLUMN, "allowSingleQuotes": "false"}
DIAGNOSIS_SCHEMA = f"event map<string,string>, end boolean, {CORRUPT_COLUMN} string"

RECORD_COLUMNS = ("ingest_time", "topic", "kafka_partition", "kafka_offset")
DEFAULT_BOUNDS = TimeBounds()


def valid_events(records: DataFrame, vertical: Vertical, bounds: TimeBounds | None = DEFAULT_BOUNDS) -> DataFrame:
    """Valid events: their fields, ingest_time (Kafka's timestamp, see `times`), topic, kafka_partition, kafka_offset.

    `records`: the columns of Spark's Kafka source; without timestampType, their timestamps are taken to be a broker's.
    bounds: None for records that were judged when they came in, and are read again.
    """
    valid = _is_valid(_list_checks(vertical, bounds))
    event = F.struct(*with_pseudonyms(vertical, vertical.event_schema.names))
    # A filter would be pushed below the projection and parse every record twice; a generator is not.
    return _read_fields(with_arrival(records, row_clock()), vertical).select(F.inline(F.when(valid, F.array(event))), *RECORD_COLUMNS)


def parse(records: DataFrame, vertical: Vertical, bounds: TimeBounds | None = DEFAULT_BOUNDS) -> DataFrame:
    """Every record: the columns of `accepted`, raw, key, and where it is invalid its reason and a detail for people.

    Fields of an invalid record are null where they could not be read. Where fields are pseudonymised, raw and key are encrypted.
    """
    checks = _list_checks(vertical, bounds)
    # A batch that is tried again has the clock that it had: it is to be split as it was.
    arrived = with_arrival(records, F.current_timestamp())
    # Everything that explains is computed for invalid records only: explaining costs half as much again as judging.
    judged = _read_fields(arrived, vertical).select("*", _is_valid(checks).alias("_valid"))
    found = F.from_json(F.concat(F.lit('{"event":'), "_text", F.lit(',"end":true}')), DIAGNOSIS_SCHEMA, JSON_OPTIONS)
    diagnosed = judged.select("*", F.when(~F.col("_valid"), found).alias("_found"))
    rejection = F.when(~F.col("_valid"), _first_failure(checks, bool(vertical.pseudonymised))).alias("_rejection")
    original = ("raw", "key")
    kept = [encrypt_record_part(F.col(name), name).alias(name) for name in original] if vertical.pseudonymised else original
    return diagnosed.select("*", rejection).select(
        *with_pseudonyms(vertical, vertical.event_schema.names), *RECORD_COLUMNS, *kept, "_rejection.reason", "_rejection.detail"
    )


def encrypt_record_part(value: Column, name: str) -> Column:
    """The bytes of column `name` of a Kafka record, encrypted."""
    return encrypt(value, "topic", "kafka_partition", "kafka_offset", F.lit(name))


def _is_valid(checks: list[Check]) -> Column:
    return reduce(and_, (check.holds for check in checks))


def _first_failure(checks: list[Check], discreetly: bool) -> Column:
    failed = F.lit(None)
    for check in reversed(checks):
        detail = F.lit(check.discreet) if discreetly else check.detail()
        why = F.struct(check.reason().alias("reason"), detail.alias("detail"))
        failed = F.when(~check.holds, why).otherwise(failed)
    return failed


def _read_fields(records: DataFrame, vertical: Vertical) -> DataFrame:
    """Records with the fields that were read in them, and unless their outline is plain the names that were written."""
    typed = _with_typed_fields(_decode(records, vertical), vertical)
    plain = _types_fit(vertical) & null_as_false(F.col("_text").rlike(outline_pattern(vertical.event_schema)))
    names = F.when(~F.col("_plain"), F.json_object_keys("_text"))
    return typed.select("*", plain.alias("_plain")).select("*", names.alias("_names"))


def _decode(records: DataFrame, vertical: Vertical) -> DataFrame:
    """The JSON object as Spark reads it, times still text."""
    wire = T.StructType(
        [T.StructField(f.name, T.StringType() if _is_time(f) else f.dataType) for f in vertical.event_schema]
        + [T.StructField(CORRUPT_COLUMN, T.StringType())]
    )
    text = F.col("value").cast("string")
    return records.select(
        F.col("value").alias("raw"),
        "key",
        ingest_time().alias("ingest_time"),
        ARRIVAL,
        "topic",
        F.col("partition").alias("kafka_partition"),
        F.col("offset").alias("kafka_offset"),
        text.alias("_text"),
        F.from_json(text, wire, JSON_OPTIONS).alias("_wire"),
    )


def _with_typed_fields(decoded: DataFrame, vertical: Vertical) -> DataFrame:
    fields = [_field_value(field).alias(field.name) for field in vertical.event_schema]
    return decoded.select("*", *fields)


def _field_value(field: T.StructField) -> Column:
    value = F.col(f"_wire.{field.name}")
    return F.when(value.rlike(ISO_8601), value.try_cast("timestamp")) if _is_time(field) else value


def _list_checks(vertical: Vertical, bounds: TimeBounds | None) -> list[Check]:
    required = (vertical.event_id, vertical.entity, vertical.event_time)
    expectations = check_contract(vertical.event_schema, vertical.contract, required)
    return [
        _utf8_check(),
        *(_finite_check(field.name) for field in vertical.event_schema if isinstance(field.dataType, T.DoubleType)),
        # What they would find, a plain outline has shown already.
        *(replace(check, holds=F.col("_plain") | check.holds) for check in (_json_check(), _type_check(vertical), _names_check(vertical))),
        *map(_expectation_check, expectations),
        earliest_time_check(vertical.event_time),
        *arrival_checks(vertical.event_time, bounds),
    ]


def _utf8_check() -> Check:
    return Check(null_as_true(F.is_valid_utf8("_text")), constant_text("undecodable"), constant_text("the value is not UTF-8"))


def _finite_check(name: str) -> Check:
    # Before the JSON check: NaN without quotes is no JSON, and Spark reads 1e400 as infinity.
    holds = null_as_true(F.abs(name) < F.lit(float("inf")))
    return Check(
        holds, constant_text("not_finite"), lambda: F.concat_ws(" ", F.lit(f"{name}:"), F.col(name), F.lit("is no finite number"))
    )


def _json_check() -> Check:
    text = F.col("_text")
    # What follows the object is read by neither function of Spark. No closing brace before the last byte is proof
    # enough, and cheap on bytes; otherwise the text must be one value both inside an array and inside an object.
    before_last = F.substring("raw", F.lit(1), F.octet_length("raw") - 1)
    alone = F.when(~F.contains(before_last, F.lit(b"}")), F.lit(True)).otherwise(
        (F.json_array_length(F.concat(F.lit("["), text, F.lit(",0]"))) == 2)
        & (F.size(F.json_object_keys(F.concat(F.lit('{"a":'), text, F.lit(',"b":0}')))) == 2)
    )
    holds = F.col("_names").isNotNull() & null_as_false(alone)
    return Check(holds, constant_text("malformed_json"), lambda: _excerpt("not one JSON object: ", text))


def _type_check(vertical: Vertical) -> Check:
    """Every field has its type; what Spark calls corrupt though its outline is right may yet be no JSON."""
    readable = _types_fit(vertical) & ~_has_bare_text([f.name for f in vertical.event_schema if _is_text(f)])

    def reason() -> Column:
        return F.when(_is_broken(), F.lit("malformed_json")).otherwise(F.lit("wrong_type"))

    def detail() -> Column:
        broken = _excerpt("not one JSON object: ", F.col("_text"))
        return F.when(_is_broken(), broken).otherwise(_wrong_type_detail(vertical, otherwise=broken))

    return Check(readable, reason, detail)


def _is_broken() -> Column:
    found = F.col("_found.event")
    return found.isNull() | F.col("_found.end").isNull() | F.col(f"_found.{CORRUPT_COLUMN}").isNotNull()


def _wrong_type_detail(vertical: Vertical, otherwise: Column) -> Column:
    """The first field that is of another type, and what stands there."""
    found, detail = F.col("_found.event"), otherwise
    for field in reversed(list(vertical.event_schema)):
        unread = F.col(field.name).isNull() | (_has_bare_text([field.name]) if _is_text(field) else F.lit(False))
        wrong = found[field.name].isNotNull() & unread
        expected = "ISO 8601 time with zone" if _is_time(field) else field.dataType.simpleString()
        detail = F.when(wrong, _excerpt(f"{field.name}: {expected} expected, found ", found[field.name])).otherwise(detail)
    return detail


def _types_fit(vertical: Vertical) -> Column:
    """Whether Spark found every field to be of its type; it takes anything for text."""
    holds = F.col("_wire").isNotNull() & F.col(f"_wire.{CORRUPT_COLUMN}").isNull()
    for name in (f.name for f in vertical.event_schema if _is_time(f)):
        holds = holds & (F.col(name).isNotNull() | F.col(f"_wire.{name}").isNull())
    return holds


def _has_bare_text(names: list[str]) -> Column:
    """Whether a text field was written without quotes: Spark takes 5, true or {} for text. Never null.

    The regular expression costs as much as parsing, so it looks only where a value could have been a number, a
    boolean, an object or an array.
    """
    bare = rf'"(?:{"|".join(names)})"\s*:\s*[^"\sn]'
    could_be = reduce(or_, map(_could_be_bare, names), F.lit(False))
    return F.when(could_be, F.col("_text").rlike(bare)).otherwise(F.lit(False))


def _could_be_bare(name: str) -> Column:
    value = F.col(name)
    return (value < ":") | value.startswith("{") | value.startswith("[") | value.isin("true", "false")


def _names_check(vertical: Vertical) -> Check:
    names = F.col("_names")

    def twice() -> Column:
        return F.size(F.array_distinct(names)) < F.size(names)

    def detail() -> Column:
        known = F.array(*map(F.lit, vertical.event_schema.names))
        unknown = _excerpt("unknown: ", F.array_join(F.array_except(names, known), ", "))
        return F.when(twice(), _excerpt("twice or more among: ", F.array_join(names, ", "))).otherwise(unknown)

    # As many names as there are different known ones: none is unknown, none is there twice.
    present = reduce(add, (F.array_contains(names, name).cast("int") for name in vertical.event_schema.names))
    return Check(
        null_as_false(F.size(names) == present),
        lambda: F.when(twice(), F.lit("duplicate_field")).otherwise(F.lit("unknown_field")),
        detail,
    )


def _expectation_check(expectation: Expectation) -> Check:
    def detail() -> Column:
        texts = {name: F.coalesce(F.col(name).cast("string"), F.lit("null")) for name in expectation.columns}
        values = (F.concat(F.lit(f"{name} = "), text) for name, text in texts.items())
        return F.concat(_excerpt("", F.concat_ws(", ", *values)), F.lit(f" fails {expectation}"))

    return Check(expectation.holds, constant_text(expectation.kind.reason), detail, f"fails {expectation}")


def _excerpt(before: str, value: Column) -> Column:
    return F.concat(F.lit(before), F.coalesce(F.left(value, F.lit(SHOWN_CHARACTERS)), F.lit("nothing")))


def _is_time(field: T.StructField) -> bool:
    return isinstance(field.dataType, T.TimestampType)


def _is_text(field: T.StructField) -> bool:
    return isinstance(field.dataType, T.StringType)
