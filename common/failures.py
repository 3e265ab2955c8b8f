"""Describes failures for logs and screens: in one line, or with the places where they were raised.

The texts of Spark's failures end with a query plan. It is left out, as a plan may hold options, constants, paths and data.
"""

import re
import traceback
from collections.abc import Iterator

from deltalake.exceptions import DeltaError

from common.errors import first_line

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
TRACE_LINE = re.compile(r"\s+at \S+\(.*\)|\s*\.\.\. \d+ more|Caused by: .*|\s+File \".*\", line \d+.*")


def cause_texts(failure: BaseException | None) -> list[str]:
    """The texts of a failure of Spark and of its causes, the outermost first."""
    chain: list[str] = []
    while failure is not None:
        chain.append(str(failure))
        failure = getattr(failure, "_cause", None)  # private in PySpark, whose text has the outermost cause alone
    return chain


def describe_failure(problem: BaseException) -> str:
    """Class and text of a failure as one line: the text's first line, or all lines of delta-rs, whose errors need them all."""
    lines = [first_line(problem)]
    if isinstance(problem, DeltaError):
        lines = [line.strip(" ↳") for line in COLOURS.sub("", str(problem)).splitlines()]
    return f"{type(problem).__name__}: {': '.join(line for line in lines if line)}"


def failure_trace(failure: BaseException) -> str:
    """Where a failure and its causes were raised, in Python and in Java, the cause first; of each text the first line."""
    return "\nand then:\n".join(reversed(list(_trace_blocks(failure))))


def _trace_blocks(failure: BaseException) -> Iterator[str]:
    """A block of lines for the failure, then one for each of its causes."""
    problem: BaseException | None = failure
    visited: set[int] = set()
    while problem is not None and id(problem) not in visited:
        visited.add(id(problem))
        java_lines = [line for line in str(problem).splitlines()[1:] if TRACE_LINE.fullmatch(line)]
        title = f"{type(problem).__module__}.{type(problem).__qualname__}: {first_line(problem)}"
        yield "\n".join(["".join(traceback.format_tb(problem.__traceback__)) + title, *java_lines])
        problem = problem.__cause__ or (None if problem.__suppress_context__ else problem.__context__)
