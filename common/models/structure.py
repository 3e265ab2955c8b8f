"""Turns a model's SQL into one expression of fixed structure, whose numbers are parameters.

orbital writes a fitted model as a query with the numbers inside. Here that query becomes one expression over the
feature columns, and every number in it becomes `GET(model_parameters, i)`. A newly trained model of the same shape has
the same structure and other parameters: a running stream that reads its parameters from a table needs no restart.

A structure that is loaded from a file is data, not trusted SQL: `common.models.check` checks it.
"""

import json
import re
from collections.abc import Sequence

import sqlglot
from sqlglot import exp

DIALECT = "databricks"
PARAMETERS = "model_parameters"
INDEX = re.compile(r"[0-9]{1,6}")


def lift_parameters(query: str, output: str) -> tuple[str, tuple[float, ...]]:
    """The column `output` of orbital's query as (structure, parameters).

    Numbers written with a point or an exponent are parameters, their sign included; whole numbers (the 1 of a logistic
    function, the 0 and 1 of a class) belong to the structure.
    """
    tree = sqlglot.parse_one(query, read=DIALECT)
    parameters = _lift_numbers(tree)
    structure = _inline_column(tree, output, _select_columns(tree))
    return _renumber(structure, parameters)


def format_expression(structure: str, parameters: Sequence[float]) -> str:
    """The expression with its numbers in place, on several lines, for a reviewer. It is never run."""
    tree = sqlglot.parse_one(structure, read=DIALECT)
    with_numbers = tree.transform(lambda node: _number_node(parameters[parameter_index(node)]) if is_parameter(node) else node)
    return with_numbers.sql(dialect=DIALECT, pretty=True, max_text_width=120)


def _lift_numbers(tree: exp.Expression) -> list[float]:
    """Replace each number of `tree` by a parameter, in reading order; returns the numbers."""
    parameters: list[float] = []
    for literal in list(tree.find_all(exp.Literal, bfs=False)):
        if literal.is_string or literal.this.isdigit():
            continue
        negative = isinstance(literal.parent, exp.Neg)
        parameters.append(-float(literal.this) if negative else float(literal.this))
        node = literal.parent if negative else literal
        node.replace(_parameter_node(len(parameters) - 1))
    return parameters


def _renumber(structure: exp.Expression, parameters: Sequence[float]) -> tuple[str, tuple[float, ...]]:
    """Structure and parameters without those of the query's other columns; numbered from 0 in reading order."""
    parameter_nodes = [node for node in structure.find_all(exp.Anonymous, bfs=False) if is_parameter(node)]
    indices = list(dict.fromkeys(parameter_index(node) for node in parameter_nodes))
    for node in parameter_nodes:
        node.expressions[1].replace(exp.Literal.number(indices.index(parameter_index(node))))
    return structure.sql(dialect=DIALECT), tuple(parameters[index] for index in indices)


def _select_columns(tree: exp.Expression) -> dict[str, dict[str, exp.Expression]]:
    """By common table expression of the query ("": its own select), the expression behind each column name."""
    return {cte.alias: _columns_by_name(cte.this) for cte in tree.find_all(exp.CTE)} | {"": _columns_by_name(tree)}


def _columns_by_name(select: exp.Expression) -> dict[str, exp.Expression]:
    return {column.alias_or_name: column.unalias() for column in select.selects}


def _inline_column(
    tree: exp.Expression, name: str, selects: dict[str, dict[str, exp.Expression]], table: str = ""
) -> exp.Expression:
    """The expression behind `table`.`name`, with the expressions of earlier tables put in place of their columns."""

    def inline(node: exp.Expression) -> exp.Expression:
        if not isinstance(node, exp.Column) or node.name == PARAMETERS:
            return node
        source = _source_table(tree, node.table)
        if source not in selects:
            return exp.column(node.name, quoted=True)
        inner = _inline_column(tree, node.name, selects, source)
        return inner if isinstance(inner, exp.Column | exp.Func) else exp.paren(inner)

    return selects[table][name].copy().transform(inline)


def _source_table(tree: exp.Expression, alias: str) -> str:
    """The table that `alias` stands for (orbital: FROM `t1` AS `t1`)."""
    return next((table.name for table in tree.find_all(exp.Table) if table.alias_or_name == alias), alias)


def _parameter_node(index: int) -> exp.Expression:
    # GET gives null beyond the array's end; square brackets would raise an error there and end a stream.
    return exp.Anonymous(this="GET", expressions=[exp.column(PARAMETERS), exp.Literal.number(index)])


def _number_node(value: float) -> exp.Expression:
    return exp.Paren(this=exp.Literal.number(json.dumps(value))) if value < 0 else exp.Literal.number(json.dumps(value))


def is_parameter(node: exp.Expression) -> bool:
    """Whether it is GET(model_parameters, a whole number of at most six digits)."""
    if not isinstance(node, exp.Anonymous) or str(node.this).upper() != "GET" or len(node.expressions) != 2:
        return False
    array, index = node.expressions
    is_array = isinstance(array, exp.Column) and array.name == PARAMETERS and len(array.parts) == 1
    return is_array and isinstance(index, exp.Literal) and not index.is_string and INDEX.fullmatch(index.this) is not None


def parameter_index(node: exp.Expression) -> int:
    """The index of a parameter's node."""
    return int(node.expressions[1].this)
