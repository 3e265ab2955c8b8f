"""Whether a record's outline is right at a glance, without asking a JSON parser for the names that it holds.

That takes Spark a second parser for each record, and comparing the names as long again: together a third of what a per-event
rule cost (docs/performance-notebook.md). Most records come from a program that writes the schema's fields in the schema's order.
"""

import re

from pyspark.sql import types as T

QUOTED, BARE = r'"[^"\\]*+"', r"[\w.+-]++"


def plain_outline(schema: T.StructType) -> str:
    """A regular expression for the text of one flat object: names in the schema's order, none twice, texts and times in quotes.

    It says nothing of values, and of other texts only that they need a closer look.
    """
    fields = (rf'(?:"{re.escape(field.name)}": ?{_value(field)}(?:, ?)?+)?+' for field in schema)
    return rf"\A\{{{''.join(fields)}\}}\z"


def _value(field: T.StructField) -> str:
    return f"(?:{QUOTED}|null)" if isinstance(field.dataType, T.StringType | T.TimestampType) else f"(?:{BARE}|{QUOTED})"
