"""Applies fixes to quarantined records: `field=SQL`, an expression of Spark over the fields as they were written.

A fix may be copied from a ticket or a chat: `common.archive.safe_expressions` checks what of it may run.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from common.archive.safe_expressions import MAX_FIELD_CHARACTERS, UnsafeExpression, check_expression, unknown
from common.columns import null_on_error
from common.errors import UserError, first_line
from common.vertical import Vertical

MAX_NAMES = 1_000
ISO = "yyyy-MM-dd'T'HH:mm:ss.SSS'Z'"
LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
UUID = re.compile(r"\buuid\s*\(\s*\)", re.IGNORECASE)
# Columns of ours beside the records' own names, which Spark compares without case.
ROW, DERIVED, IS_READ = "_row", "_derived_id", "_is_read"
RECORD = ("topic", "partition", "offset", "ingest_time")
PLAIN = re.compile(r"[A-Za-z_]\w*")


class FixError(UserError):
    """A fix that cannot be applied; the message says which, why, and what to give instead."""


@dataclass(frozen=True)
class Fix:
    """`field` gets the value of `expression`; null leaves the field out."""

    field: str
    expression: str

    def __str__(self) -> str:
        return f"{self.field}={self.expression}"


def parse_fixes(texts: Sequence[str], vertical: Vertical) -> tuple[Fix, ...]:
    """Fixes as given on the command line. Raises FixError."""
    fixes: list[Fix] = []
    for text in texts:
        field, _, expression = (word.strip() for word in text.partition("="))
        if not field or not expression:
            raise FixError(f"--fix {text}: give field=SQL, for instance amount=abs(try_cast(amount AS double))")
        if field in (fix.field for fix in fixes):
            raise FixError(f"--fix {text}: {field} has a fix already")
        if field not in vertical.event_schema.names and expression.upper() != "NULL":
            raise FixError(f"--fix {text}: {unknown(field, vertical.event_schema.names)}; {field}=NULL leaves one out")
        fixes.append(Fix(field, expression))
    return tuple(fixes)


def with_fixes(records: DataFrame, fixes: Sequence[Fix], vertical: Vertical) -> DataFrame:
    """Kafka records, and ingest_time, with the fixes applied to `value`; one that is no JSON object stays as it is, and so does
    one whose text is too long (`safe_expressions.MAX_FIELD_CHARACTERS`) for a pattern, or on which a fix fails, such as a cast.

    An expression sees the vertical's fields and those that occur in the records, all as text as they were written, null
    where there is none. Raises FixError naming what an expression asks for and no record has.
    """
    if not fixes:
        return records
    with_fields = records.withColumn("_written", F.from_json(F.col("value").cast("string"), "map<string,string>"))
    names = _usable_names(with_fields, vertical, fixes)
    pattern_fields = {name.lower() for fix in fixes for name in _find_pattern_fields(fix, records, names)}
    row = F.struct(*records.columns).alias(ROW)
    derived = F.md5(F.concat_ws("|", *(F.col(name).cast("string") for name in RECORD), F.md5("value"))).alias(DERIVED)
    is_read = F.col("_written").isNotNull().alias(IS_READ)
    field_texts = with_fields.select(row, derived, is_read, *[F.col("_written")[name].alias(name) for name in names])
    names_and_values = [column for fix in fixes for column in (F.lit(fix.field), _value_json(fix, field_texts, vertical))]
    are_too_long = [
        F.coalesce(F.char_length(name), F.lit(0)) > MAX_FIELD_CHARACTERS for name in names if name.lower() in pattern_fields
    ]
    can_be_fixed = F.col(IS_READ) & ~reduce(or_, are_too_long, F.lit(False))
    with_values = field_texts.select(f"{ROW}.*", F.when(can_be_fixed, F.create_map(*names_and_values)).alias("_fixed"))
    return with_values.withColumn("value", _put_values("value", "_fixed")).drop("_fixed")


def _find_pattern_fields(fix: Fix, records: DataFrame, names: Sequence[str]) -> set[str]:
    """Fields on which the fix tries patterns. Raises FixError."""
    try:
        return check_expression(records.sparkSession, _with_derived_ids(fix.expression), [*names, DERIVED])
    except UnsafeExpression as problem:
        raise FixError(f"--fix {fix}: {problem}") from None


def _usable_names(with_fields: DataFrame, vertical: Vertical, fixes: Sequence[Fix]) -> list[str]:
    """The vertical's fields, and the others that occur in the records and that SQL can name; of very many those of the fixes."""
    words = {word.lower() for fix in fixes for word in PLAIN.findall(fix.expression)}
    record_names = with_fields.select(F.explode(F.map_keys("_written")).alias("name")).distinct()
    rows = record_names.orderBy(F.lower("name").isin(*words).desc(), "name").limit(MAX_NAMES).collect()
    names = {name.lower(): name for name in sorted(row[0] for row in rows) if _can_be_named(name)}
    return sorted((names | {name.lower(): name for name in vertical.event_schema.names}).values())


def _can_be_named(name: str) -> bool:
    return PLAIN.fullmatch(name) is not None and name.lower() not in (ROW, DERIVED, IS_READ)


def _value_json(fix: Fix, field_texts: DataFrame, vertical: Vertical) -> Column:
    """{"v": the value}, of the field's type where it can be cast to it; times as text. {} for null; null where the fix fails."""
    try:
        value = F.expr(_with_derived_ids(fix.expression))
        value_type = field_texts.select(value.alias("v")).schema["v"].dataType
    except PySparkException as problem:
        raise FixError(f"--fix {fix}: Spark does not take it: {first_line(problem)}") from None
    if isinstance(value_type, T.TimestampType | T.TimestampNTZType | T.DateType):
        value = F.date_format(value, ISO)
    field_type = next((field.dataType for field in vertical.event_schema if field.name == fix.field), T.StringType())
    field_type = T.StringType() if isinstance(field_type, T.TimestampType) else field_type
    typed, text = value.try_cast(field_type), value.try_cast("string")
    document = F.when(typed.isNotNull(), F.to_json(F.struct(typed.alias("v")))).otherwise(F.to_json(F.struct(text.alias("v"))))
    return null_on_error(document)


def _with_derived_ids(expression: str) -> str:
    """`uuid()` is made of which record it is, not drawn: a record that is sent again after a kill is the same event."""
    literals = LITERAL.findall(expression)
    between_literals = [UUID.sub(DERIVED, text) for text in LITERAL.split(expression)]
    return "".join(text + literal for text, literal in zip(between_literals, [*literals, ""], strict=True))


def _object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs. Raises ValueError for a name that occurs twice: no fix can know which value is meant."""
    event = dict(pairs)
    if len(event) < len(pairs):
        raise ValueError("a name occurs twice")
    return event


@F.udf(returnType=T.BinaryType(), useArrow=False)
def _put_values(value: bytes | None, values_by_field: dict[str, str | None] | None) -> bytes | None:
    """The record's JSON with the fixed fields' values (`_value_json`); the record as it is where a fix does not apply."""
    if values_by_field is None:
        return value
    try:
        event = json.loads(value or b"", object_pairs_hook=_object_of)
    except (ValueError, RecursionError):  # no JSON, a name twice, or levels beyond Python's: it stays as it is
        return value
    if not isinstance(event, dict):
        return value
    for field, text in values_by_field.items():
        if text is None:  # the fix fails on this record
            return value
        new_value = json.loads(text).get("v")
        if new_value is None:
            event.pop(field, None)
        else:
            event[field] = new_value
    return json.dumps(event, ensure_ascii=False).encode("utf-8", "surrogatepass")
