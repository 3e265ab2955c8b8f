"""Checks a stored model's structure before Spark runs it: a model is data from a file or a table, not trusted SQL.

Allowed are +, -, *, TRY_DIVIDE, EXP, ABS, CASE, comparisons, AND, OR and NOT over the declared features, the parameters and small
whole numbers: what the export writes, and nothing that can fail on a row, as such a failure would end a stream at every start.
"""

import logging
import re
from collections.abc import Iterator, Sequence

import sqlglot
from sqlglot import exp

from common.errors import UserError, first_line
from common.models.structure import DIALECT, is_parameter, parameter_index

ARITHMETIC = (exp.Add, exp.Sub, exp.Mul)
COMPARISONS = (exp.EQ, exp.GT, exp.GTE, exp.LT, exp.LTE)
LOGIC = (exp.And, exp.Or, exp.Not)
UNARY = (exp.Abs, exp.Neg)
ALLOWED = frozenset(
    {
        *ARITHMETIC,
        *COMPARISONS,
        *LOGIC,
        *UNARY,
        exp.Case,
        exp.Column,
        exp.Exp,
        exp.If,
        exp.Literal,
        exp.Paren,
        exp.SafeDivide,
    }
)
PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
WHOLE_NUMBER = re.compile(r"[0-9]{1,6}")
# A hundred trees of depth 3 have 9,500 nodes, 116 deep, in 60,000 characters.
MAX_CHARACTERS, MAX_NODES, MAX_DEPTH = 400_000, 50_000, 300

logging.getLogger("sqlglot").disabled = True  # it would log text of the model, which may be anything

NUMBER_KIND, WHOLE_NUMBER_KIND, CONDITION_KIND = "a number", "a whole number", "a condition"


class UnsafeModel(UserError):
    """A stored model holds what no model may hold; nothing of it was run."""


def check_structure(structure: str, features: Sequence[str], parameters: int) -> str:
    """The structure, if it is one that Spark may run; raises UnsafeModel that names what it may not hold."""
    check_names(features)
    if len(structure) > MAX_CHARACTERS:
        raise UnsafeModel(f"the model's structure is longer than {MAX_CHARACTERS:,} characters")
    try:
        statements = sqlglot.parse(structure, read=DIALECT)
        if len(statements) != 1 or statements[0] is None:
            raise UnsafeModel(f"the model's structure must be one expression, not {len(statements)}")
        tree = statements[0]
        _check_tree(tree, frozenset(features), parameters)
        # Only text that equals what was parsed, written out, is run: a comment or odd spelling might be read in two ways.
        if tree.sql(dialect=DIALECT, comments=False) != structure:
            raise UnsafeModel("the model's structure is not written as the export writes it")
    except UnsafeModel:
        raise
    except Exception as error:  # the parser raises errors of any class, such as an IndexError
        raise UnsafeModel(f"the model's structure is not an SQL expression: {first_line(error)}") from None
    return structure


def check_names(features: Sequence[str]) -> None:
    """Raises UnsafeModel for features that are no plain names, or are listed twice."""
    for name in features:
        if not PLAIN_NAME.fullmatch(name):
            raise UnsafeModel(f"{name[:80]!r} is no name of a feature: letters, digits and underscores, no digit first")
    if len(set(features)) < len(features):
        raise UnsafeModel("the model has a feature twice")


def _check_tree(tree: exp.Expression, features: frozenset[str], parameters: int) -> None:
    nodes = list(_walk_bounded(tree))
    if len(nodes) > MAX_NODES:
        raise UnsafeModel(f"the model's structure has more than {MAX_NODES:,} parts")
    for node in nodes:
        _check_node(node, features, parameters)
    kinds: dict[int, str] = {}
    for node in reversed(nodes):  # children before parents
        kinds[id(node)] = _value_kind(node, [kinds[id(part)] for part in _parts(node)])
    if kinds[id(tree)] == CONDITION_KIND:
        raise UnsafeModel("the model's structure is a condition, not a number")


def _walk_bounded(tree: exp.Expression) -> Iterator[exp.Expression]:
    """Every node, parents before children. Raises UnsafeModel for more than MAX_DEPTH levels.

    It is no recursion: a chain may be deeper than Python's stack.
    """
    pending = [(tree, 1)]
    while pending:
        node, depth = pending.pop()
        if depth > MAX_DEPTH:
            raise UnsafeModel(f"the model's structure is more than {MAX_DEPTH} levels deep")
        yield node
        pending.extend((part, depth + 1) for part in _parts(node))


def _parts(node: exp.Expression) -> list[exp.Expression]:
    return [] if isinstance(node, exp.Column) or is_parameter(node) else list(node.iter_expressions())


def _check_node(node: exp.Expression, features: frozenset[str], parameters: int) -> None:
    if is_parameter(node):
        if parameter_index(node) >= parameters:
            raise UnsafeModel(f"the model's structure asks for parameter {parameter_index(node)} of {parameters}")
        return
    if type(node) not in ALLOWED:
        raise UnsafeModel(f"the model's structure may not hold {type(node).__name__}: {_excerpt(node)}")
    if isinstance(node, exp.Column) and not _is_feature(node, features):
        raise UnsafeModel(f"the model's structure reads {_excerpt(node)}, which is not one of its features in backticks")
    if isinstance(node, exp.Literal) and node.is_string:
        raise UnsafeModel(f"the model's structure may not hold text: {_excerpt(node)}")
    if isinstance(node, exp.Literal) and not WHOLE_NUMBER.fullmatch(node.this):
        raise UnsafeModel(f"{_excerpt(node)} is a parameter or too large: the model's structure holds small whole numbers")
    if isinstance(node, exp.Case) and node.this:
        raise UnsafeModel(f"the model's structure may hold CASE WHEN only: {_excerpt(node)}")


def _is_feature(column: exp.Column, features: frozenset[str]) -> bool:
    # Without backticks Spark takes some names for functions, such as user.
    return len(column.parts) == 1 and isinstance(column.this, exp.Identifier) and column.this.quoted and column.name in features


def _value_kind(node: exp.Expression, part_kinds: list[str]) -> str:
    """The kind of the node's value, its parts being of `part_kinds`; raises UnsafeModel where Spark would refuse or overflow."""
    if isinstance(node, exp.Column) or is_parameter(node):
        return NUMBER_KIND
    if isinstance(node, exp.Literal):
        return WHOLE_NUMBER_KIND
    if isinstance(node, exp.Paren):
        return part_kinds[0]
    if isinstance(node, exp.Case):
        return _branch_kind(node, part_kinds)
    first_kinds = [CONDITION_KIND] if isinstance(node, exp.If) else []
    other_kinds = [CONDITION_KIND if isinstance(node, LOGIC) else NUMBER_KIND] * len(part_kinds)
    for part_kind, expected_kind in zip(part_kinds, first_kinds + other_kinds, strict=False):
        if (part_kind == CONDITION_KIND) != (expected_kind == CONDITION_KIND):
            raise UnsafeModel(f"the model's structure has {part_kind} where {expected_kind} belongs: {_excerpt(node)}")
    if isinstance(node, exp.If):
        return _branch_kind(node, part_kinds[1:])
    if isinstance(node, ARITHMETIC) and part_kinds == [WHOLE_NUMBER_KIND, WHOLE_NUMBER_KIND]:
        # Whole numbers overflow, which is an error; doubles become infinite.
        raise UnsafeModel(f"the model's structure calculates with whole numbers alone: {_excerpt(node)}")
    if isinstance(node, UNARY):
        return part_kinds[0]
    return CONDITION_KIND if isinstance(node, COMPARISONS + LOGIC) else NUMBER_KIND


def _branch_kind(node: exp.Expression, branch_kinds: list[str]) -> str:
    """The kind of a value that is one of several branches'; raises UnsafeModel for a condition."""
    if CONDITION_KIND in branch_kinds:
        raise UnsafeModel(f"the model's structure has a condition where a number belongs: {_excerpt(node)}")
    return NUMBER_KIND if NUMBER_KIND in branch_kinds else WHOLE_NUMBER_KIND


def _excerpt(node: exp.Expression) -> str:
    return node.sql(dialect=DIALECT)[:80]
