"""Writes the reference pages from the code: settings, commands, tables, topics, and what authors of verticals use.

    python docs/generate.py            writes docs/reference/*.md
    python docs/generate.py --check    writes nothing; exits with 1 where a page is not what the code says

It starts neither Spark nor Java: schemas are StructTypes, and classes are read as text. What the code cannot say, such as the
meaning of a column, stands in meanings.py; where words are missing there, or left over, both forms exit with 1.
"""

import ast
import inspect
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, get_type_hints

import meanings
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pyspark.sql import types as T
from typer import _click as click  # typer's own copy
from typer.main import get_command

from common import cli
from common.alerts import ALERT_SCHEMA
from common.archive.archive_tables import ALERTS_SCHEMA, LABELS_SCHEMA, QUARANTINE_SCHEMA, events_schema
from common.archive.redrive import REDRIVEN_SCHEMA
from common.batch.schedule import RUNS_SCHEMA
from common.contract.kinds import KINDS
from common.kafka.acls import ROLES, role_rights
from common.kafka.topics import own_topics, topic_names
from common.published.reference_data import VERSIONS_SCHEMA
from common.reconciliation.reconcile import RECONCILIATIONS_SCHEMA
from common.settings import Settings, Span
from common.streaming.checkpoint_topics import TOPICS_SCHEMA
from common.streaming.lineage_rows import JUDGED_SCHEMA
from common.streaming.shadow import SHADOW_SCHEMA
from common.vertical import Vertical

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "reference"
MADE = "<!-- Made by `python docs/generate.py` from the code: change the code, or docs/meanings.py. -->"
BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "to {}", "lt": "below {}"}
TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path", SecretStr: "secret text"}
SCHEMAS = {
    "quarantine": QUARANTINE_SCHEMA, "labels": LABELS_SCHEMA, "alerts": ALERTS_SCHEMA, "redriven": REDRIVEN_SCHEMA,
    "judged": JUDGED_SCHEMA, "reconciliations": RECONCILIATIONS_SCHEMA, "versions": VERSIONS_SCHEMA, "topics": TOPICS_SCHEMA,
    "shadow": SHADOW_SCHEMA, "batch_runs": RUNS_SCHEMA,
}  # fmt: skip
AUTHORING = "common/authoring.py"  # imports everything that a vertical's author needs
# What is declared, in this order, and the types of its functions.
DECLARED = ("Vertical", "Query", "Rule", "Baseline", "ModelSpec", "Scenario", "Format")
PROTOCOLS = ("Learn", "Trends", "GenerateDay")
OWN_PACKAGES = ("common.", "loadtests.")

Rows = Iterable[Iterable[str]]


class Words:
    """The words of meanings.py, with what is missing and what nothing asked for."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self._used: set[tuple[str, str]] = set()

    def take(self, kind: str, words: Mapping[str, str], name: str, fallback: Mapping[str, str] | None = None) -> str:
        """The words of `name`; noted as missing where neither dictionary has any."""
        for source, of_kind in ((words, kind), (fallback or {}, "SHARED")):
            if name in source:
                self._used.add((of_kind, name))
                return source[name]
        self.missing.append(f"{kind}: {name}")
        return ""

    def problems(self) -> list[str]:
        """A line for every word that is missing, or is about nothing in the code."""
        of_kind = {
            "SHARED": meanings.SHARED, "TABLES": meanings.TABLES, "SETTINGS": meanings.SETTINGS,
            "OWN_TOPICS": meanings.OWN_TOPICS,
            **meanings.COLUMNS, **{f"TRENDS of {name}": trends for name, trends in meanings.TRENDS.items()},
        }  # fmt: skip
        left_over = [f"{kind}: {name}" for kind, words in of_kind.items() for name in words if (kind, name) not in self._used]
        lacking = [f"there are no words for {line}" for line in self.missing]
        return lacking + [f"docs/meanings.py has words of nothing: {line}" for line in left_over]


def verticals() -> dict[str, Vertical]:
    """The project's own verticals, whatever else is installed."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    targets = project["entry-points"]["hybrid.verticals"].values()
    modules = [import_module(target.partition(":")[0]) for target in targets]
    return {module.VERTICAL.name: module.VERTICAL for module in modules}


def table(head: Iterable[str], rows: Rows) -> str:
    """A Markdown table."""
    lines = [tuple(head), *(tuple(row) for row in rows)]
    cells = [[" ".join(str(cell).split()).replace("|", "\\|") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in (cells[0], ["---"] * len(cells[0]), *cells[1:]))


def page(title: str, *parts: str) -> str:
    return "\n\n".join([f"# {title}", MADE, *(part for part in parts if part)]) + "\n"


def code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


# Settings


def settings_page(words: Words) -> str:
    notes = {name: words.take("SETTINGS", meanings.SETTINGS, name) for name in Settings.model_fields if name in meanings.SETTINGS}
    core = [setting_row(Settings, name, words, notes.get(name, "")) for name in Settings.model_fields]
    parts = [
        "Settings come from the environment: `HYBRID_<NAME>` of the core, `<VERTICAL>_<NAME>` of a vertical. A misspelt "
        "variable with such a prefix stops the start, and names the one that "
        "may be meant. "
        "Command-line options come before variables. Spans of time are written as `90` (seconds), `60s`, `5m`, `2h`, `30 "
        "minutes` or `1 day`.",
        "## Of the core",
        table(("variable", "type", "default", "meaning"), core),
    ]
    for name, vertical in verticals().items():
        live = set(vertical.live_thresholds)
        fields = vertical.settings.model_fields
        rows = [(*setting_row(vertical.settings, field, words), "yes" if field in live else "") for field in fields]
        parts += [
            f"## {name}",
            f"A threshold that is marked can change while streams run: `hybrid settings {name} --set name=value`.",
            table(("variable", "type", "default", "meaning", "changes live"), rows),
            f"The simulated world of {name}: `--population name=value` of the commands that generate.",
            table(("field", "type", "default", "meaning"), world_rows(vertical.population)),
        ]
    return page("Settings", *parts)


def setting_row(settings: type[BaseModel], name: str, words: Words, note: str = "") -> tuple[str, str, str, str]:
    prefix = settings.model_config.get("env_prefix", "")
    field = settings.model_fields[name]
    if not field.description:
        words.missing.append(f"setting {prefix}{name}: its Field has no description")
    hint = get_type_hints(settings, include_extras=True)[name]
    sentences = [field.description or "", note]
    return code(f"{prefix}{name}".upper()), type_words(field, hint), default_words(field), ". ".join(filter(None, sentences))


def world_rows(population: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    hints = get_type_hints(population, include_extras=True)
    return [
        (code(name), type_words(field, hints[name]), default_words(field), field.description or "")
        for name, field in population.model_fields.items()
    ]


def type_words(field: FieldInfo, hint: Any) -> str:
    """Of what type a field is, with its bounds."""
    if hint is Span:
        return "span of time"
    members = [member for member in getattr(hint, "__args__", (hint,)) if member is not type(None)]
    kind = members[0] if isinstance(members[0], type) else str
    name = TYPES.get(kind, kind.__name__.lower())
    if issubclass(kind, Enum):
        name = ", ".join(member.value for member in kind)
    limits = [
        words.format(f"{getattr(bound, limit):,}") for bound in field.metadata for limit, words in BOUNDS.items()
        if getattr(bound, limit, None) is not None
    ]  # fmt: skip
    return " ".join([name, *limits])


def default_words(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.default
    return "none" if default is None else code(str(default).lower() if isinstance(default, bool) else default)


# Commands


def commands_page(words: Words) -> str:
    group: Any = get_command(cli.app)
    names = {name: title for title, members in cli.HELP_GROUPS.items() for name in members}
    parts = [
        "Every command has `--help`, which says the same. Exit codes: 0 done, 1 what a user can mend (or a comparison that "
        "disagrees), "
        "2 a command line that cannot be read, 70 a defect, 130 Ctrl-C, 143 SIGTERM.",
        table(("for", "commands"), [
            (title, ", ".join(f"[{name}](#hybrid-{name})" for name in members if name in group.commands))
            for title, members in cli.HELP_GROUPS.items()]),
    ]  # fmt: skip
    for name in [*names, *(name for name in group.commands if name not in names)]:
        command = group.commands.get(name)
        if command is not None and is_ours(command):
            parts += command_parts(f"hybrid {name}", command, "##")
    return page("Commands", *parts)


def is_ours(command: Any) -> bool:
    """Whether the command is of this project, and not of a package that is installed beside it."""
    callbacks = [command.callback, *(member.callback for member in getattr(command, "commands", {}).values())]
    return any(callback and callback.__module__.startswith(OWN_PACKAGES) for callback in callbacks)


def command_parts(title: str, command: Any, level: str) -> Iterator[str]:
    context = click.Context(command, info_name=title)
    yield f"{level} {title}"
    yield from paragraphs(command.help)
    records = [record for parameter in command.params if (record := parameter.get_help_record(context))]
    if records:
        yield table(("argument or option", "meaning"), [(code(name), words) for name, words in records])
    for name, member in getattr(command, "commands", {}).items():
        yield from command_parts(f"{title} {name}", member, level + "#")


def paragraphs(text: str | None) -> list[str]:
    """Its paragraphs, each as one line."""
    return [" ".join(part.split()) for part in inspect.cleandoc(text or "").split("\n\n") if part.strip()]


# Tables


READING = """Every table is a Delta table in `DATA/VERTICAL/tables/NAME`:

```python
import duckdb, polars
from deltalake import DeltaTable
path = "hybrid-data/finance_fraud/tables/alerts"
DeltaTable(path).to_pandas().groupby("rule").size()                              # pandas
polars.read_delta(path).group_by("rule").len()                                   # Polars
rows = DeltaTable(path).to_pyarrow_dataset()
duckdb.sql("SELECT rule, count(*) FROM rows GROUP BY rule")                      # DuckDB
```

```sql
SELECT rule, count(*) FROM delta.`/data/finance_fraud/tables/alerts` GROUP BY rule;           -- Spark SQL
SELECT rule, count(*) FROM delta_scan('/data/finance_fraud/tables/alerts') GROUP BY rule;     -- DuckDB's extension delta
```"""


def tables_page(words: Words) -> str:
    by_name = verticals()
    parts = [READING, "## events", words.take("TABLES", meanings.TABLES, "events")]
    parts += [events_of(next(iter(by_name.values())), words, own=False)]
    for vertical in by_name.values():
        parts += [f"### {vertical.name}.events", events_of(vertical, words, own=True)]
    for name in meanings.TABLES:
        if name != "events":
            parts += [f"## {name}", words.take("TABLES", meanings.TABLES, name)]
            parts += [reason_table(words)] if name == "quarantine" else []
            parts += [column_table(name, columns_of(name), words)]
    parts += ["## baselines", "What batch learnt of each entity, each row under the version that published it."]
    for vertical in by_name.values():
        for baseline, learnt_columns in vertical.baselines.items():
            name = f"{vertical.name}.baselines_{baseline}"
            columns = [*learnt_columns.schema, T.StructField("baseline_version", T.StringType())]
            parts += [f"### {name}", column_table(name, columns, words)]
    parts += ["## trends", "What batch reports to people, written anew by each run."]
    for name in by_name:
        trends = meanings.TRENDS.get(name, {})
        rows = [(code(f"trend_{trend}"), words.take(f"TRENDS of {name}", trends, trend)) for trend in trend_names(name)]
        parts += [f"### {name}.trends", table(("table", "rows"), rows)]
    return page("Tables", *parts)


def reason_table(words: Words) -> str:
    """Why records are quarantined. Reasons of expectations are held to the code; the others stand in meanings.py alone."""
    for kind in KINDS.values():
        words.take("REASONS", meanings.REASONS, kind.reason)
    return table(("reason", "meaning"), [(code(reason), meaning) for reason, meaning in meanings.REASONS.items()])


def events_of(vertical: Vertical, words: Words, own: bool) -> str:
    """The columns of table `events`: the vertical's own, or those that the archive adds."""
    columns = [column for column in events_schema(vertical) if (column.name in vertical.event_schema.names) == own]
    return column_table(f"{vertical.name}.events" if own else "events", columns, words)


def columns_of(name: str) -> Iterable[T.StructField]:
    if name in SCHEMAS:
        return SCHEMAS[name]
    kinds = {kind.simpleString(): kind for kind in (T.StringType(), T.DoubleType(), T.TimestampType(), T.BooleanType())}
    return [T.StructField(column, kinds[kind]) for column, kind in meanings.MADE_BY_QUERIES[name]]


def column_table(name: str, columns: Iterable[T.StructField], words: Words) -> str:
    own = meanings.COLUMNS.get(name, {})
    rows = []
    for column in columns:
        unit = f" ({column.metadata['unit']})" if "unit" in column.metadata else ""
        kind = column.dataType.simpleString() + ("" if column.nullable else ", required")
        rows.append((code(column.name), kind, words.take(name, own, column.name, meanings.SHARED) + unit))
    return table(("column", "type", "meaning"), rows)


def trend_names(vertical: str) -> list[str]:
    """The names under which the vertical's trends module returns reports, read from its text."""
    module = ast.parse((ROOT / vertical / "trends.py").read_text())
    reporters = [
        function for function in module.body
        if isinstance(function, ast.FunctionDef) and function.returns and function.name != "baselines"
        and ast.unparse(function.returns) in ("dict[str, DataFrame]", "Mapping[str, pd.DataFrame]")
    ]  # fmt: skip
    names: dict[str, None] = {}
    for reporter in reporters:
        for statement in ast.walk(reporter):
            if isinstance(statement, ast.Return | ast.Assign) and statement.value is not None:
                for name in report_keys(statement):
                    names[name] = None
    return list(names)


def report_keys(statement: ast.Return | ast.Assign) -> Iterator[str]:
    """The keys of the dictionaries that the statement returns or assigns, and of those that it assigns to."""
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Constant):
                yield str(target.slice.value)
    values = [statement.value]
    while values:
        value = values.pop()
        if isinstance(value, ast.BinOp):
            values += [value.left, value.right]
        if isinstance(value, ast.Dict):
            yield from (str(key.value) for key in value.keys if isinstance(key, ast.Constant))


# Topics


def topics_page(words: Words) -> str:
    example = next(iter(verticals().values()))
    names = topic_names("VERTICAL")
    rows = [
        (names.events, "one event, a JSON object", "producers, `generate`, `replay`, `intake`, the gateway, `redrive`",
         "detection, the archive, the shadow query"),
        (names.labels, "one label, a JSON object", "labellers, `generate`, `replay`", "the archive alone"),
        (names.alerts, "one alert, a JSON object; the same `alert_id` again as a window fills", "detection",
         "the archive, the gateway's stream, screens"),
        (names.dead_letter, "the record as it came; without value or key where they are too large", "the archive",
         "whoever repairs producers"),
    ]  # fmt: skip
    own = [(code(topic), words.take("OWN_TOPICS", meanings.OWN_TOPICS, topic)) for vertical in verticals().values()
           for topic in own_topics(vertical)]  # fmt: skip
    rights = [
        (role, ", ".join(f"{code(topic)}: {' and '.join(operation.name.lower().replace('_', ' ') for operation in operations)}"
                         for topic, operations in role_rights(example, role).items()))
        for role in ROLES
    ]  # fmt: skip
    return page(
        "Topics",
        "All topics of a vertical are keyed by entity, so that what concerns one entity stays in order. Labels have the "
        "entity of "
        "their event; a dead letter has the key of its record.",
        table(("topic", "value", "written by", "read by"), [(code(name), *rest) for name, *rest in rows]),
        "Topics that are made here have the broker's timestamps (`LogAppendTime`): [why](../explanation/contract-and-archive.md"
        "#when-an-event-came-in). A value with a field that is not in the schema is no valid event.",
        "## Fields of a value",
        "An event has the columns of its vertical: [tables](tables.md#events). The others have fields of the same meaning as "
        "in the tables "
        "[labels](tables.md#labels) and [alerts](tables.md#alerts). Times are ISO 8601 text with a zone.",
        table(("value", "fields"), [("label", ", ".join(LABELS_SCHEMA.names)), ("alert", ", ".join(ALERT_SCHEMA.names))]),
        "A dead letter's headers, all text: `reason`, `detail`, `topic`, `partition`, `offset` of the record, `key_bytes`, "
        "`value_bytes`, and "
        "`left_out` (key, value or both).",
        "## Other topics",
        table(("topic", "value"), own),
        "## Rights by role",
        f"`hybrid topics VERTICAL --allow ROLE=USER` grants them; here of {example.name}. `generate` and `replay` need the "
        f"first two roles.",
        table(("role", "rights"), rights),
    )


# What the author of a vertical uses


def authoring_page(words: Words) -> str:
    modules = {module: definitions(module) for module in [*imports(AUTHORING), "common.vertical"]}
    imported = imports(AUTHORING)
    home = {name: module for module, names in imported.items() for name in names}
    parts = [
        "Import these names from `common.authoring`: nothing else of the core is promised to stay. [A domain of your "
        "own](../new-domain.md) walks through an example. `DataFrame` and `Column` are Spark's, `T` is `pyspark.sql.types`."
    ]
    for name in DECLARED:
        node = modules[home[name]][name]
        parts += [f"## {name}", *paragraphs(ast.get_docstring(node)), field_table(node)]
    parts += ["## Functions that a vertical gives"]
    protocols = {name: node for name, node in modules["common.vertical"].items() if name in PROTOCOLS}
    parts += [table(("type", "called as", "meaning"), [protocol_row(name, node) for name, node in protocols.items()])]
    for module, names in imported.items():
        rows = [name_row(name, modules[module][name]) for name in names if name not in DECLARED]
        parts += [f"## {module}", table(("name", "meaning"), rows)] if rows else []
    return page("What the author of a vertical uses", *parts)


def imports(file: str) -> dict[str, list[str]]:
    """The names that a module imports from the core, by module."""
    nodes = ast.parse((ROOT / file).read_text()).body
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("common")]
    return {str(node.module): [alias.name for alias in node.names] for node in froms}


def definitions(module: str) -> dict[str, Any]:
    """Classes and functions of a module as nodes; of a constant its assignment, and the comment beside or above it."""
    lines = (ROOT / f"{module.replace('.', '/')}.py").read_text().splitlines()
    nodes: dict[str, Any] = {}
    for node in ast.parse("\n".join(lines)).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            nodes[node.name] = node
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            above = lines[node.lineno - 2] if node.lineno > 1 and lines[node.lineno - 2].startswith("# ") else ""
            beside = lines[node.end_lineno - 1].partition("  # ")[2] if node.end_lineno else ""
            nodes[node.targets[0].id] = ast.unparse(node), beside or above.removeprefix("# ")
    return nodes


def protocol_row(name: str, node: ast.ClassDef) -> tuple[str, str, str]:
    call = next(member for member in node.body if isinstance(member, ast.FunctionDef))
    return code(name), code(signature(call).removeprefix("__call__")), " ".join(paragraphs(ast.get_docstring(node)))


def name_row(name: str, node: Any) -> tuple[str, str]:
    if isinstance(node, tuple):
        return code(node[0]), node[1]
    text = " ".join(paragraphs(ast.get_docstring(node)))
    return code(signature(node) if isinstance(node, ast.FunctionDef) else constructor(node)), text


def signature(node: ast.FunctionDef) -> str:
    """The call in one line, without `self` and the marks of positional arguments."""
    arguments = ast.unparse(node.args).removeprefix("self, ").removesuffix(", /")
    return f"{node.name}({arguments})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


def constructor(node: ast.ClassDef) -> str:
    """The class as it is made: its own `__init__`, or the fields that a caller gives."""
    for member in node.body:
        if isinstance(member, ast.FunctionDef) and member.name == "__init__":
            return signature(member).replace("__init__", node.name, 1).removesuffix(" -> None")
    fields = [ast.unparse(member) for member in node.body if isinstance(member, ast.AnnAssign)]
    return f"{node.name}({', '.join(field for field in fields if 'default_factory' not in field and not field.startswith('_'))})"


def field_table(node: ast.ClassDef) -> str:
    """The fields of a dataclass with the docstring below each, where there is one."""
    rows = []
    for field, after in pairwise([*node.body, ast.Pass()]):
        if isinstance(field, ast.AnnAssign):
            text = after.value.value if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) else ""
            default = code(ast.unparse(field.value)) if field.value else "required"
            row = (code(ast.unparse(field.target)), code(ast.unparse(field.annotation)), default, str(text))
            rows.append(row)
    return table(("field", "type", "default", "meaning"), rows)


def main(arguments: list[str]) -> int:
    """Writes or checks the pages; returns the exit code."""
    words, is_check = Words(), "--check" in arguments
    pages = {
        "settings.md": settings_page(words), "commands.md": commands_page(words), "tables.md": tables_page(words),
        "topics.md": topics_page(words), "authoring.md": authoring_page(words),
    }  # fmt: skip
    problems = words.problems()
    for name, text in pages.items():
        path = PAGES / name
        if is_check and (not path.exists() or path.read_text() != text):
            problems.append(f"docs/reference/{name} is not what the code says: run python docs/generate.py")
        if not is_check:
            path.write_text(text)
    sys.stderr.write("".join(f"{line}\n" for line in problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
