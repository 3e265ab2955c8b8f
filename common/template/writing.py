"""Writing a new vertical from the templates beside this file."""

import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

from common.errors import UserError
from common.installed import verticals

FIVE = ("__init__", "events", "settings", "generator", "detector", "trends")
# Where each template goes, below the new folder.
BESIDE = {name: name for name in ("README.md", "pyproject.toml", "locustfile.py")} | {"tests.py": "tests/test_rules.py"}


class NotWritten(UserError):
    """A vertical cannot be written under that name or at that place."""


def write_vertical(name: str, folder: Path, entity: str = "device") -> list[Path]:
    """Write a vertical that runs as it is to `folder`/`name`; returns the files. Raises NotWritten, and writes nothing then."""
    _check(name, "the name of a vertical")
    _check(entity, "the name of an entity")
    if name in verticals():
        raise NotWritten(f"a vertical {name} is installed already; choose another name")
    if name in sys.stdlib_module_names or (files("common") / ".." / name).is_dir():
        raise NotWritten(f"{name} is the name of a package that is there already; choose another")
    target = folder / name
    if target.exists():
        raise NotWritten(f"{target} is there already; choose another name or --path")
    title = name.replace("_", " ")
    article = "an" if entity[0] in "aeiou" else "a"
    words = {
        "name": name, "NAME": name.upper(), "Name": _camel(name), "dashed": name.replace("_", "-"), "title": title,
        "Title": title.capitalize(), "entity": entity, "ENTITY": entity.upper(), "letter": entity[0].upper(),
        "an": article, "An": article.capitalize(),
    }  # fmt: skip
    sources = {f"vertical/{part}.py": f"{name}/{part}.py" for part in FIVE} | BESIDE
    written = []
    for source, place in sources.items():
        path = target / place
        path.parent.mkdir(parents=True, exist_ok=True)
        template = Template((files("common.template") / f"{source}.tmpl").read_text())
        path.write_text(template.substitute(words))
        written.append(path)
    return written


def _check(word: str, what: str) -> None:
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,39}", word) or keyword.iskeyword(word):
        raise NotWritten(f"{word!r} cannot be {what}: lower-case letters, digits and underscores, 2 to 40, a letter first")


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
