"""Parses Kafka records to events in Spark: gives the valid events, or all records with a reason for each invalid one.

Everything here is a projection of native Spark expressions: deterministic, without state, safe on a stream and in
real-time mode. `valid_events` and `parse` use the same list of checks, so they cannot disagree.
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
from common.contract.times import (
    ARRIVAL,
    TimeBounds,
    earliest_time_check,
    event_time_checks,
    ingest_time,
    row_clock,
    with_arrival,
)
from common.privacy.pseudonyms import encrypt_deterministically, with_pseudonyms
from common.vertical import Vertical

SHOWN_CHARACTERS = 120  # of an invalid value, in `detail`

# A date and a time with its zone; Spark's cast alone would take "2026" or "12:00" too.
ISO_8601 = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)\z"
CORRUPT_COLUMN = "_corrupt"
JSON_OPTIONS = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT_COLUMN, "allowSingleQuotes": "false"}
DIAGNOSIS_SCHEMA = f"event map<string,string>, end boolean, {CORRUPT_COLUMN} string"

RECORD_COLUMNS = ("ingest_time", "topic", "kafka_partition", "kafka_offset")
DEFAULT_BOUNDS = TimeBounds()


def valid_events(records: DataFrame, vertical: Vertical, bounds: TimeBounds | None = DEFAULT_BOUNDS) -> DataFrame:
    """Valid events: their fields, ingest_time (Kafka's timestamp, see `times`), topic, kafka_partition, kafka_offset.

    `records`: the columns of Spark's Kafka source; without timestampType, their timestamps are taken to be a broker's.
    bounds: None for records whose times were checked when they came in, and that are read again.
    """
    is_valid = _is_valid(_list_checks(vertical, bounds))
    event = F.struct(*with_pseudonyms(vertical, vertical.event_schema.names))
    with_fields = _read_fields(with_arrival(records, row_clock()), vertical)
    # Spark would push a filter below the projection, and so parse every record twice; a generator it does not.
    return with_fields.select(F.inline(F.when(is_valid, F.array(event))), *RECORD_COLUMNS)


def parse(records: DataFrame, vertical: Vertical, bounds: TimeBounds | None = DEFAULT_BOUNDS) -> DataFrame:
    """Every record: the columns of `valid_events`, raw, key, and for an invalid record the reason, and a detail for people.

    Fields of an invalid record are null where they could not be read. Where fields are pseudonymised, raw and key are encrypted.
    """
    checks = _list_checks(vertical, bounds)
    # A batch that is retried has the same current_timestamp, so that it is split into valid and invalid records as before.
    with_fields = _read_fields(with_arrival(records, F.current_timestamp()), vertical)
    # Reasons and details are computed for invalid records only: they cost half as much again as the checks.
    with_validity = with_fields.select("*", _is_valid(checks).alias("_valid"))
    values = F.from_json(F.concat(F.lit('{"event":'), "_text", F.lit(',"end":true}')), DIAGNOSIS_SCHEMA, JSON_OPTIONS)
    with_diagnosis = with_validity.select("*", F.when(~F.col("_valid"), values).alias("_diagnosis"))
    rejection = F.when(~F.col("_valid"), _first_failure(checks, bool(vertical.pseudonymised))).alias("_rejection")
    original = ("raw", "key")
    raw_columns = (
        [encrypt_record_part(F.col(name), name).alias(name) for name in original] if vertical.pseudonymised else original
    )
    fields = with_pseudonyms(vertical, vertical.event_schema.names)
    rejection_columns = ("_rejection.reason", "_rejection.detail")
    return with_diagnosis.select("*", rejection).select(*fields, *RECORD_COLUMNS, *raw_columns, *rejection_columns)


def encrypt_record_part(value: Column, name: str) -> Column:
    """The bytes of column `name` of a Kafka record, encrypted."""
    return encrypt_deterministically(value, "topic", "kafka_partition", "kafka_offset", F.lit(name))


def _is_valid(checks: list[Check]) -> Column:
    return reduce(and_, (check.condition for check in checks))


def _first_failure(checks: list[Check], discreetly: bool) -> Column:
    """Reason and detail of the first check that a record does not meet; null where it meets all."""
    first_failure = F.lit(None)
    for check in reversed(checks):
        detail = F.lit(check.discreet_detail) if discreetly else check.detail()
        failure = F.struct(check.reason().alias("reason"), detail.alias("detail"))
        first_failure = F.when(~check.condition, failure).otherwise(first_failure)
    return first_failure


def _read_fields(records: DataFrame, vertical: Vertical) -> DataFrame:
    """Records with their fields and, unless the outline of their text is plain, the names in it."""
    with_fields = _with_typed_fields(_decode(records, vertical), vertical)
    is_plain = _types_fit(vertical) & null_as_false(F.col("_text").rlike(outline_pattern(vertical.event_schema)))
    names = F.when(~F.col("_plain"), F.json_object_keys("_text"))
    return with_fields.select("*", is_plain.alias("_plain")).select("*", names.alias("_names"))


def _decode(records: DataFrame, vertical: Vertical) -> DataFrame:
    """Records with their JSON object as Spark reads it; times are still text."""
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


def _with_typed_fields(records: DataFrame, vertical: Vertical) -> DataFrame:
    fields = [_field_value(field).alias(field.name) for field in vertical.event_schema]
    return records.select("*", *fields)


def _field_value(field: T.StructField) -> Column:
    value = F.col(f"_wire.{field.name}")
    return F.when(value.rlike(ISO_8601), value.try_cast("timestamp")) if _is_time(field) else value


def _list_checks(vertical: Vertical, bounds: TimeBounds | None) -> list[Check]:
    required = (vertical.event_id, vertical.entity, vertical.event_time)
    expectations = check_contract(vertical.event_schema, vertical.contract, required)
    outline_checks = (_json_check(), _type_check(vertical), _names_check(vertical))
    return [
        _utf8_check(),
        *(_finite_check(field.name) for field in vertical.event_schema if isinstance(field.dataType, T.DoubleType)),
        # A record with a plain outline meets these: they need not be computed for it.
        *(replace(check, condition=F.col("_plain") | check.condition) for check in outline_checks),
        *map(_expectation_check, expectations),
        earliest_time_check(vertical.event_time),
        *event_time_checks(vertical.event_time, bounds),
    ]


def _utf8_check() -> Check:
    return Check(null_as_true(F.is_valid_utf8("_text")), constant_text("undecodable"), constant_text("the value is not UTF-8"))


def _finite_check(name: str) -> Check:
    # Before the JSON check: NaN without quotes is no JSON, and Spark reads 1e400 as infinity.
    is_finite = null_as_true(F.abs(name) < F.lit(float("inf")))
    detail = F.lit("is no finite number")
    return Check(is_finite, constant_text("not_finite"), lambda: F.concat_ws(" ", F.lit(f"{name}:"), F.col(name), detail))


def _json_check() -> Check:
    text = F.col("_text")
    # Neither of Spark's functions reads on behind the object. If there is no closing brace before the last byte, there is nothing
    # behind it, which is cheap to see on bytes; otherwise the text must be one value both in an array and in an object.
    before_last = F.substring("raw", F.lit(1), F.octet_length("raw") - 1)
    is_alone = F.when(~F.contains(before_last, F.lit(b"}")), F.lit(True)).otherwise(
        (F.json_array_length(F.concat(F.lit("["), text, F.lit(",0]"))) == 2)
        & (F.size(F.json_object_keys(F.concat(F.lit('{"a":'), text, F.lit(',"b":0}')))) == 2)
    )
    is_one_object = F.col("_names").isNotNull() & null_as_false(is_alone)
    return Check(is_one_object, constant_text("malformed_json"), lambda: _excerpt("not one JSON object: ", text))


def _type_check(vertical: Vertical) -> Check:
    """Every field has its type. A record that Spark calls corrupt, though its outline is right, may still be no JSON."""
    types_fit = _types_fit(vertical) & ~_has_bare_text([f.name for f in vertical.event_schema if _is_text(f)])

    def reason() -> Column:
        return F.when(_is_malformed(), F.lit("malformed_json")).otherwise(F.lit("wrong_type"))

    def detail() -> Column:
        malformed_detail = _excerpt("not one JSON object: ", F.col("_text"))
        return F.when(_is_malformed(), malformed_detail).otherwise(_wrong_type_detail(vertical, otherwise=malformed_detail))

    return Check(types_fit, reason, detail)


def _is_malformed() -> Column:
    """Whether the text is no JSON, as a second parser sees it."""
    values = F.col("_diagnosis.event")
    return values.isNull() | F.col("_diagnosis.end").isNull() | F.col(f"_diagnosis.{CORRUPT_COLUMN}").isNotNull()


def _wrong_type_detail(vertical: Vertical, otherwise: Column) -> Column:
    """The first field whose value is of another type, and the value."""
    values, detail = F.col("_diagnosis.event"), otherwise
    for field in reversed(list(vertical.event_schema)):
        is_unread = F.col(field.name).isNull() | (_has_bare_text([field.name]) if _is_text(field) else F.lit(False))
        is_wrong = values[field.name].isNotNull() & is_unread
        type_text = "ISO 8601 time with zone" if _is_time(field) else field.dataType.simpleString()
        detail = F.when(is_wrong, _excerpt(f"{field.name}: {type_text} expected, found ", values[field.name])).otherwise(detail)
    return detail


def _types_fit(vertical: Vertical) -> Column:
    """Whether Spark read every field as its type; it takes any value for text."""
    types_fit = F.col("_wire").isNotNull() & F.col(f"_wire.{CORRUPT_COLUMN}").isNull()
    for name in (f.name for f in vertical.event_schema if _is_time(f)):
        types_fit = types_fit & (F.col(name).isNotNull() | F.col(f"_wire.{name}").isNull())
    return types_fit


def _has_bare_text(names: list[str]) -> Column:
    """Whether a text field was written without quotes: Spark takes 5, true or {} for text. Never null.

    The regular expression costs as much as parsing, so it is applied only where a value could have been a number, a boolean, an
    object or an array.
    """
    bare_value = rf'"(?:{"|".join(names)})"\s*:\s*[^"\sn]'
    could_be_bare = reduce(or_, map(_could_be_bare, names), F.lit(False))
    return F.when(could_be_bare, F.col("_text").rlike(bare_value)).otherwise(F.lit(False))


def _could_be_bare(name: str) -> Column:
    value = F.col(name)
    return (value < ":") | value.startswith("{") | value.startswith("[") | value.isin("true", "false")


def _names_check(vertical: Vertical) -> Check:
    names = F.col("_names")

    def has_duplicates() -> Column:
        return F.size(F.array_distinct(names)) < F.size(names)

    def detail() -> Column:
        schema_names = F.array(*map(F.lit, vertical.event_schema.names))
        unknown = _excerpt("unknown: ", F.array_join(F.array_except(names, schema_names), ", "))
        return F.when(has_duplicates(), _excerpt("twice or more among: ", F.array_join(names, ", "))).otherwise(unknown)

    # As many names as there are different names of the schema: none is unknown, and none occurs twice.
    schema_name_count = reduce(add, (F.array_contains(names, name).cast("int") for name in vertical.event_schema.names))
    return Check(
        null_as_false(F.size(names) == schema_name_count),
        lambda: F.when(has_duplicates(), F.lit("duplicate_field")).otherwise(F.lit("unknown_field")),
        detail,
    )


def _expectation_check(expectation: Expectation) -> Check:
    def detail() -> Column:
        texts = {name: F.coalesce(F.col(name).cast("string"), F.lit("null")) for name in expectation.columns}
        values = (F.concat(F.lit(f"{name} = "), text) for name, text in texts.items())
        return F.concat(_excerpt("", F.concat_ws(", ", *values)), F.lit(f" fails {expectation}"))

    return Check(expectation.condition, constant_text(expectation.kind.reason), detail, f"fails {expectation}")


def _excerpt(prefix: str, value: Column) -> Column:
    return F.concat(F.lit(prefix), F.coalesce(F.left(value, F.lit(SHOWN_CHARACTERS)), F.lit("nothing")))


def _is_time(field: T.StructField) -> bool:
    return isinstance(field.dataType, T.TimestampType)


def _is_text(field: T.StructField) -> bool:
    return isinstance(field.dataType, T.StringType)
