"""How a failure is told: in one line, or with where it was raised, and never with a whole plan of Spark, which follows in its
text: what a plan holds (options, constants, paths, what records hold) is not for logs, tickets and screens.
"""

import re
import traceback
from collections.abc import Iterator

from deltalake.exceptions import DeltaError

from common.errors import first_line

COLOURS = re.compile(r"\x1b\[[0-9;]*m")
WHERE = re.compile(r"\s+at \S+\(.*\)|\s*\.\.\. \d+ more|Caused by: .*|\s+File \".*\", line \d+.*")


def causes_of(failure: BaseException | None) -> list[str]:
    """The texts of a failure of Spark and of what caused it, the outermost first."""
    chain: list[str] = []
    while failure is not None:
        chain.append(str(failure))
        failure = getattr(failure, "_cause", None)  # PySpark keeps the causes to itself, and its text is the outermost's alone.
    return chain


def in_words(problem: BaseException) -> str:
    """Its kind and what it says, as one line: the first, or all of the library for Delta tables, which speaks in several."""
    lines = [first_line(problem)]
    if isinstance(problem, DeltaError):
        lines = [line.strip(" ↳") for line in COLOURS.sub("", str(problem)).splitlines()]
    return f"{type(problem).__name__}: {': '.join(line for line in lines if line)}"


def trace_of(failure: BaseException) -> str:
    """Where a failure and its causes were raised, in Python and in Java, the cause first; of what each says the first line."""
    return "\nand then:\n".join(reversed(list(_told(failure))))


def _told(failure: BaseException) -> Iterator[str]:
    told: BaseException | None = failure
    seen: set[int] = set()
    while told is not None and id(told) not in seen:
        seen.add(id(told))
        below = [line for line in str(told).splitlines()[1:] if WHERE.fullmatch(line)]
        name = f"{type(told).__module__}.{type(told).__qualname__}: {first_line(told)}"
        yield "\n".join(["".join(traceback.format_tb(told.__traceback__)) + name, *below])
        told = told.__cause__ or (None if told.__suppress_context__ else told.__context__)
