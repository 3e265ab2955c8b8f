"""Notes the structure of a query's state beside its checkpoint, and refuses a checkpoint of another structure.

Spark notices when an aggregate was added or a key has another type. It does not notice another window, or another field in a
collected set, whose bytes it would read as what they are not.
"""

import re
from collections.abc import Iterator
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from common.errors import UserError

NOTE_FILE = "kept-state.txt"
STATEFUL = ("Aggregate", "Deduplicate", "TransformWithState", "FlatMapGroups", "SessionWindow")
# Numbers that differ from one start to the next: of columns, and of the variables of lambda functions.
NUMBERED = re.compile(r"#\d+L?|(?<=\b[xyz]_)\d+\b")
# As Spark finds the windows of a time: microseconds of their length and of the step between them.
TO_WINDOWS = "precisetimestampconversion"
MICROSECONDS = re.compile(r"\b\d{5,}\b")
MOST_FIELDS = 10_000


class OtherState(UserError):
    """A checkpoint that holds what another version of the rules kept; the message says which, and what to do."""


def check_state(query: DataFrame, checkpoint: str) -> None:
    """Raises OtherState if `query` keeps something else than the one that wrote `checkpoint` did."""
    structure = "\n".join(state_structure(query))
    noted_structure = read_note(query.sparkSession, checkpoint, NOTE_FILE)
    if noted_structure is None:
        write_note(query.sparkSession, checkpoint, NOTE_FILE, structure)
    elif noted_structure != structure:
        raise OtherState(
            f"the checkpoint {checkpoint} holds what another version of the rules, or of their windows, kept. Go back to that "
            "version; or remove the checkpoint: the query then judges its topic anew from the start, and alerts keep their ids"
        )


def read_note(spark: SparkSession, checkpoint: str, name: str) -> str | None:
    """The text that was noted beside a checkpoint under this name; None if there is none."""
    jvm: Any = spark._jvm
    path = jvm.org.apache.hadoop.fs.Path(checkpoint, name)
    files = path.getFileSystem(spark._jsc.hadoopConfiguration())
    if not files.exists(path):
        return None
    file = files.open(path)
    text: str = jvm.org.apache.commons.io.IOUtils.toString(file, "UTF-8")
    file.close()
    return text


def write_note(spark: SparkSession, checkpoint: str, name: str, text: str) -> None:
    """Note a text beside a checkpoint, in the place of an earlier one; a process killed here leaves all of it or nothing."""
    jvm: Any = spark._jvm
    path, unfinished = (jvm.org.apache.hadoop.fs.Path(checkpoint, file_name) for file_name in (name, f"_{name}.unfinished"))
    configuration = spark._jsc.hadoopConfiguration()
    file = path.getFileSystem(configuration).create(unfinished)
    file.write(bytearray(text.encode()))
    file.close()
    rename_options = getattr(jvm.org.apache.hadoop.fs, "Options$Rename")
    replacing = spark.sparkContext._gateway.new_array(rename_options, 1)  # type: ignore[union-attr]
    replacing[0] = rename_options.OVERWRITE
    jvm.org.apache.hadoop.fs.FileContext.getFileContext(path.toUri(), configuration).rename(unfinished, path, replacing)


def state_structure(query: DataFrame) -> list[str]:
    """A line for each stateful step of a query: what it keeps, of which types, and the windows' lengths below it."""
    lines = []
    for node in _plan_nodes(query._jdf.queryExecution().analyzed()):
        if node.nodeName().startswith(STATEFUL):
            windows = sorted({size for below in _plan_nodes(node) for size in _window_sizes(_text(below))}, key=int)
            lines.append(f"{_text(node)} {NUMBERED.sub('', node.schema().catalogString())} windows {' '.join(windows)}")
    return lines


def _plan_nodes(plan: Any) -> Iterator[Any]:
    yield plan
    children = plan.children()
    for number in range(children.size()):
        yield from _plan_nodes(children.apply(number))


def _window_sizes(text: str) -> list[str]:
    return MICROSECONDS.findall(text) if TO_WINDOWS in text else []


def _text(node: Any) -> str:
    return NUMBERED.sub("", node.simpleString(MOST_FIELDS))
