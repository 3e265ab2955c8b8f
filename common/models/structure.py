"""A model's SQL as one expression of fixed structure, whose numbers are parameters.

orbital writes a fitted model as a query with the numbers inside. Here that query becomes one expression over the
feature columns, and every number in it becomes `GET(model_parameters, i)`. A newly trained model of the same shape has
the same structure and other parameters: a running stream that reads its parameters from a table needs no restart.

What is loaded from a file is data, not trusted SQL: `check_structure` refuses anything but arithmetic, comparisons,
CASE, EXP, ABS and casts to numbers over the declared columns.
"""

import json
from collections.abc import Sequence

import sqlglot
from sqlglot import exp

DIALECT = "databricks"
PARAMETERS = "model_parameters"

ALLOWED = frozenset({
    exp.Abs, exp.Add, exp.And, exp.Case, exp.Cast, exp.Column, exp.DataType, exp.Div, exp.EQ, exp.Exp, exp.GT, exp.GTE,
    exp.Identifier, exp.If, exp.LT, exp.LTE, exp.Literal, exp.Mul, exp.Neg, exp.Not, exp.Or, exp.Paren, exp.SafeDivide, exp.Sub,
})
ALLOWED_CASTS = frozenset({exp.DataType.Type.DOUBLE, exp.DataType.Type.BIGINT, exp.DataType.Type.INT})


class UnsafeModel(Exception):
    """A stored model that says more than a model may; nothing of it was run."""


def lift(query: str, output: str) -> tuple[str, tuple[float, ...]]:
    """The column `output` of orbital's query as (structure, parameters).

    Numbers written with a point or an exponent are parameters, their sign included; whole numbers (the 1 of a logistic
    function, the 0 and 1 of a class) belong to the structure.
    """
    tree = sqlglot.parse_one(query, read=DIALECT)
    parameters = _lift_numbers(tree)
    structure = _column(tree, output, _selects(tree))
    return _renumbered(structure, parameters)


def check_structure(structure: str, features: Sequence[str], parameters: int) -> str:
    """The structure as Spark may run it, if it is one; raises UnsafeModel naming what it may not hold."""
    try:
        statements = sqlglot.parse(structure, read=DIALECT)
    except (sqlglot.errors.SqlglotError, RecursionError) as error:
        raise UnsafeModel(f"the model's structure is not an SQL expression: {str(error).splitlines()[0]}") from None
    if len(statements) != 1 or statements[0] is None:
        raise UnsafeModel(f"the model's structure must be one expression, not {len(statements)}")
    tree = statements[0]
    _check(tree, frozenset(features), parameters)
    # What Spark runs is what was checked, written out anew: no comment or odd spelling can be read in two ways.
    if tree.sql(dialect=DIALECT, comments=False) != structure:
        raise UnsafeModel("the model's structure is not written as the export writes it")
    return structure


def readable(structure: str, parameters: Sequence[float]) -> str:
    """The expression with its numbers back in and laid out on lines, for a reviewer. It is never run."""
    tree = sqlglot.parse_one(structure, read=DIALECT)
    filled = tree.transform(lambda node: _number(parameters[_index(node)]) if _is_parameter(node) else node)
    return filled.sql(dialect=DIALECT, pretty=True, max_text_width=120)


def _lift_numbers(tree: exp.Expression) -> list[float]:
    """Replace each number of `tree` by a parameter, in reading order; returns the numbers."""
    parameters: list[float] = []
    for literal in list(tree.find_all(exp.Literal, bfs=False)):
        if literal.is_string or literal.this.isdigit():
            continue
        negative = isinstance(literal.parent, exp.Neg)
        parameters.append(-float(literal.this) if negative else float(literal.this))
        replaced = literal.parent if negative else literal
        replaced.replace(_parameter(len(parameters) - 1))
    return parameters


def _renumbered(structure: exp.Expression, parameters: Sequence[float]) -> tuple[str, tuple[float, ...]]:
    """Without the parameters of other columns of the query; the rest counted from 0 in reading order."""
    gets = [node for node in structure.find_all(exp.Anonymous, bfs=False) if _is_parameter(node)]
    used = list(dict.fromkeys(_index(node) for node in gets))
    for node in gets:
        node.expressions[1].replace(exp.Literal.number(used.index(_index(node))))
    return structure.sql(dialect=DIALECT), tuple(parameters[index] for index in used)


def _selects(tree: exp.Expression) -> dict[str, dict[str, exp.Expression]]:
    """What each common table expression of the query calls its columns."""
    return {cte.alias: _named(cte.this) for cte in tree.find_all(exp.CTE)} | {"": _named(tree)}


def _named(select: exp.Expression) -> dict[str, exp.Expression]:
    return {column.alias_or_name: column.unalias() for column in select.selects}


def _column(tree: exp.Expression, name: str, selects: dict[str, dict[str, exp.Expression]], table: str = "") -> exp.Expression:
    """The expression behind `table`.`name`, with the expressions of earlier tables put in place of their columns."""

    def inline(node: exp.Expression) -> exp.Expression:
        if not isinstance(node, exp.Column) or node.name == PARAMETERS:
            return node
        source = _source(tree, node.table)
        if source not in selects:
            return exp.column(node.name, quoted=True)
        inner = _column(tree, node.name, selects, source)
        return inner if isinstance(inner, exp.Column | exp.Func) else exp.paren(inner)

    return selects[table][name].copy().transform(inline)


def _source(tree: exp.Expression, alias: str) -> str:
    """The table that `alias` stands for (orbital: FROM `t1` AS `t1`)."""
    return next((table.name for table in tree.find_all(exp.Table) if table.alias_or_name == alias), alias)


def _parameter(index: int) -> exp.Expression:
    # GET gives null beyond the array's end, where square brackets would end a running stream.
    return exp.Anonymous(this="GET", expressions=[exp.column(PARAMETERS), exp.Literal.number(index)])


def _number(value: float) -> exp.Expression:
    return exp.Paren(this=exp.Literal.number(json.dumps(value))) if value < 0 else exp.Literal.number(json.dumps(value))


def _is_parameter(node: exp.Expression) -> bool:
    if not isinstance(node, exp.Anonymous) or str(node.this).upper() != "GET" or len(node.expressions) != 2:
        return False
    array, index = node.expressions
    plain = isinstance(array, exp.Column) and array.name == PARAMETERS and len(array.parts) == 1
    return plain and isinstance(index, exp.Literal) and not index.is_string and index.this.isdigit()


def _index(node: exp.Expression) -> int:
    return int(node.expressions[1].this)


def _check(tree: exp.Expression, features: frozenset[str], parameters: int) -> None:
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if _is_parameter(node):
            if _index(node) >= parameters:
                raise UnsafeModel(f"the model's structure asks for parameter {_index(node)} of {parameters}")
            continue
        if type(node) not in ALLOWED:
            raise UnsafeModel(f"the model's structure may not hold {type(node).__name__}: {node.sql(dialect=DIALECT)[:80]}")
        _check_leaf(node, features)
        waiting.extend(node.iter_expressions())


def _check_leaf(node: exp.Expression, features: frozenset[str]) -> None:
    if isinstance(node, exp.Column) and (len(node.parts) != 1 or node.name not in features):
        raise UnsafeModel(f"the model's structure reads {node.sql(dialect=DIALECT)}, which is not one of its features")
    if isinstance(node, exp.Literal) and node.is_string:
        raise UnsafeModel(f"the model's structure may not hold text: {node.sql(dialect=DIALECT)[:80]}")
    if isinstance(node, exp.DataType) and node.this not in ALLOWED_CASTS:
        raise UnsafeModel(f"the model's structure may not cast to {node.sql(dialect=DIALECT)}")
