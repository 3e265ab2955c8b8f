"""Recognises a record of plain outline by a regular expression, without a JSON parser that lists the names in it.

Listing them takes Spark a second parser for each record, and comparing them as long again: together a third of what a per-event
rule cost (docs/performance-notebook.md). Most records come from a program that writes the schema's fields in the schema's order.
"""

import re

from pyspark.sql import types as T

QUOTED_VALUE, BARE_VALUE = r'"[^"\\]*+"', r"[\w.+-]++"


def outline_pattern(schema: T.StructType) -> str:
    """A regular expression for the text of one flat object: names in the schema's order, none twice, texts and times in quotes.

    A match says nothing about the values. A text without a match may still be valid, but needs the JSON parser.
    """
    fields = (rf'(?:"{re.escape(field.name)}": ?{_value(field)}(?:, ?)?+)?+' for field in schema)
    return rf"\A\{{{''.join(fields)}\}}\z"


def _value(field: T.StructField) -> str:
    is_quoted = isinstance(field.dataType, T.StringType | T.TimestampType)
    return f"(?:{QUOTED_VALUE}|null)" if is_quoted else f"(?:{BARE_VALUE}|{QUOTED_VALUE})"
