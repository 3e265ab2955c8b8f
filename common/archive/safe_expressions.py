"""Checks a fix's expression on the tree that Spark's own parser makes of it, so that what is checked is what runs.

Allowed are names of fields, literals, operators, casts and some sixty functions of text, numbers and times; nothing that reads a
file, a table or the environment. Names that come in with the data are names of fields and nothing else. What a text can grow to,
and how long a pattern can be tried, is bounded before anything runs.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from common.archive.regex_cost import UnreadablePattern, count_ways
from common.errors import did_you_mean, first_line


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FUNCTIONS = _words(
    """
    abs between bround btrim cast cbrt ceil ceiling char_length chr coalesce concat concat_ws contains date_add date_format
    date_sub date_trunc elt endswith exp find_in_set floor from_unixtime greatest if ifnull initcap instr isnan isnotnull isnull
    lcase least left length ln locate log10 lower ltrim make_timestamp md5 nanvl nullif nvl nvl2 position pow power
    regexp_extract regexp_replace replace reverse right round rtrim sign split_part sqrt startswith substr substring
    substring_index timestamp_micros timestamp_millis timestamp_seconds to_date to_timestamp to_utc_timestamp translate trim
    try_add try_cast try_divide try_multiply try_subtract try_to_timestamp ucase upper
    bigint boolean date decimal double float int string timestamp
    """
)
# As Spark's parser calls them.
OPERATORS = _words(
    """
    Add And CaseWhen Concat Divide EqualNullSafe EqualTo GreaterThan GreaterThanOrEqual In IntegralDivide IsNotNull IsNull
    LessThan LessThanOrEqual Like Multiply Not Or RLike Remainder StringLocate StringTrim StringTrimBoth StringTrimLeft
    StringTrimRight Substring Subtract UnaryMinus UnaryPositive
    """
)
TYPES = _words("bigint boolean byte date double float int integer long short smallint string timestamp tinyint void")
TYPE_FAMILIES = ("decimal(", "interval ")
FUNCTIONS_WITH_DIGITS = _words("bround ceil ceiling floor round")  # their second argument is a number of digits
PATTERN_FUNCTIONS = _words("Like RLike regexp_extract regexp_replace")  # their second argument is one
MAX_CHARACTERS, MAX_NODES = 2_000, 200  # characters of an expression, and its parts
MAX_FIELD_CHARACTERS = 200  # characters of a field's text, to which a fix with a pattern is applied
MAX_WAYS, MAX_GROWTH = 10_000_000, 100
MAX_DIGITS = 38


class UnsafeExpression(ValueError):
    """An expression that a fix may not hold; the message says which part of it."""


def check_expression(spark: SparkSession, text: str, names: Collection[str]) -> set[str]:
    """Those of the columns `names` whose text must be no longer than MAX_FIELD_CHARACTERS, as patterns are tried on them.

    Raises UnsafeExpression.
    """
    if len(text) > MAX_CHARACTERS:
        raise UnsafeExpression(f"it is longer than {MAX_CHARACTERS:,} characters")
    if "${" in text:  # in a session that replaces them they would be gone before the tree is made
        raise UnsafeExpression("${ is not allowed")
    try:
        tree: Any = spark._jsparkSession.sessionState().sqlParser().parseExpression(text)
    except PySparkException as problem:
        raise UnsafeExpression(f"Spark does not take it: {first_line(problem)}") from None
    except Py4JJavaError:
        raise UnsafeExpression("Spark does not take it: it is nested too deeply to be read") from None
    nodes = list(_walk_bounded(tree))
    names_by_lower_case = {name.lower(): name for name in names}
    for node in nodes:
        _check_node(node, names_by_lower_case)
    if _longest(tree) > MAX_FIELD_CHARACTERS * MAX_GROWTH:
        raise UnsafeExpression(f"it can make a text more than {MAX_GROWTH} times as long as a field")
    if not any(_operation_name(node) in PATTERN_FUNCTIONS for node in nodes):
        return set()
    return {_to_list(node.nameParts())[0] for node in nodes if _class_name(node) == "UnresolvedAttribute"}


def unknown(name: str, names: Sequence[str]) -> str:
    """That a name is unknown, the nearest that is known, and all that are."""
    return f"{name} is unknown{did_you_mean(name, names)}; known are {', '.join(names)}"


def _walk_bounded(tree: Any) -> Iterator[Any]:
    """Every node, parents before children. Raises UnsafeExpression where there are more than MAX_NODES."""
    to_visit, count = [tree], 0
    while to_visit:
        node = to_visit.pop()
        count += 1
        if count > MAX_NODES:
            raise UnsafeExpression(f"it has more than {MAX_NODES} parts")
        yield node
        to_visit.extend(_parts(node))


def _parts(node: Any) -> list[Any]:
    return _to_list(node.children())


def _to_list(sequence: Any) -> list[Any]:
    """The items of a Scala sequence."""
    iterator = sequence.iterator()
    items = []
    while iterator.hasNext():
        items.append(iterator.next())
    return items


def _class_name(node: Any) -> str:
    return str(node.getClass().getName()).rpartition(".")[2]


def _operation_name(node: Any) -> str:
    """A function's name, or the name of another node's class."""
    class_name = _class_name(node)
    return ".".join(_to_list(node.nameParts())).lower() if class_name == "UnresolvedFunction" else class_name


def _check_node(node: Any, names: dict[str, str]) -> None:
    class_name = _class_name(node)
    if class_name == "UnresolvedAttribute":
        _check_name(_to_list(node.nameParts()), names)
    elif class_name == "UnresolvedFunction":
        _check_function(node)
    elif class_name in ("Literal", "Cast"):
        _check_type(str(node.dataType().catalogString()))
    elif class_name not in OPERATORS:
        raise UnsafeExpression(f"{class_name} is not allowed; use names of fields, literals, operators and functions")
    if _operation_name(node) in PATTERN_FUNCTIONS:
        _check_pattern(node)


def _check_name(parts: list[str], names: dict[str, str]) -> None:
    if len(parts) != 1:
        raise UnsafeExpression(f"{'.'.join(parts)} is not allowed: a field has one name, without dots")
    if parts[0].lower() not in names:
        raise UnsafeExpression(unknown(parts[0], sorted(name for name in names.values() if not name.startswith("_"))))


def _check_function(node: Any) -> None:
    parts = _to_list(node.nameParts())
    if len(parts) != 1 or parts[0].lower() not in FUNCTIONS:
        raise UnsafeExpression(f"function {unknown('.'.join(parts), sorted(FUNCTIONS))}")
    if node.isDistinct() or node.filter().isDefined() or node.ignoreNulls().isDefined() or node.orderingWithinGroup().size():
        raise UnsafeExpression(f"{parts[0]} takes values only: no DISTINCT, FILTER or ORDER BY")
    scale = _parts(node)[1:2] if parts[0].lower() in FUNCTIONS_WITH_DIGITS else []
    if scale and not (isinstance(_value(scale[0]), int) and abs(int(_value(scale[0]))) <= MAX_DIGITS):
        raise UnsafeExpression(f"{parts[0]} takes a number of digits from -{MAX_DIGITS} to {MAX_DIGITS}")


def _check_type(name: str) -> None:
    if name not in TYPES and not name.startswith(TYPE_FAMILIES):
        raise UnsafeExpression(f"type {unknown(name, sorted(TYPES))}")


def _check_pattern(node: Any) -> None:
    parts = _parts(node)
    pattern = _text(parts[1]) if len(parts) > 1 else None
    if pattern is None:
        raise UnsafeExpression(f"{_operation_name(node)} takes a pattern in quotes")
    try:
        count_pattern_ways = _count_like_ways if _class_name(node) == "Like" else count_ways
        count = count_pattern_ways(pattern, _longest(parts[0]))
    except UnreadablePattern as problem:
        raise UnsafeExpression(f"pattern {pattern}: {problem}") from None
    if count > MAX_WAYS:
        raise UnsafeExpression(
            f"pattern {pattern} can be tried in too many ways: begin it with ^, say how often at most, as in \\d{{1,9}}, and "
            "repeat nothing that holds a repeat"
        )


def _count_like_ways(pattern: str, length: int) -> int:
    return (length + 1) ** min(pattern.count("%"), 20)


def _value(node: Any) -> Any:
    """A literal's value, None for other nodes."""
    return node.value() if _class_name(node) == "Literal" else None


def _text(node: Any) -> str | None:
    """A literal's text, None for other nodes."""
    is_text = _class_name(node) == "Literal" and node.dataType().catalogString() == "string"
    return str(node.value().toString()) if is_text else None


def _longest(node: Any) -> int:
    """Characters that a node's text has at most, where no field has more than MAX_FIELD_CHARACTERS."""
    operation, parts = _operation_name(node), _parts(node)
    if operation == "UnresolvedAttribute":
        return MAX_FIELD_CHARACTERS
    if operation == "Literal":
        return MAX_DIGITS if (text := _text(node)) is None else len(text)
    if operation in ("replace", "regexp_replace"):
        return _longest_after_replacement(operation, parts)
    lengths = [_longest(part) for part in parts]
    separators = lengths[0] * max(0, len(parts) - 2) if operation == "concat_ws" and parts else 0
    return max(MAX_DIGITS, sum(lengths) + separators)


def _longest_after_replacement(function: str, arguments: list[Any]) -> int:
    pattern, replacement = ([_text(argument) for argument in arguments[1:3]] + ["", ""])[:2]
    if not arguments or replacement is None or pattern is None:
        raise UnsafeExpression(f"{function} takes what it looks for, and what it puts there, in quotes")
    length = _longest(arguments[0])
    if function == "replace":
        return length * max(1, -(-len(replacement) // max(1, len(pattern))))
    # Between any two characters there may be an empty match; what $1 stands for is never more than the text in all.
    return length * (1 + replacement.count("$")) + (length + 1) * len(replacement)
