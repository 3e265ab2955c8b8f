"""Writes a new vertical from the templates beside this file: `hybrid new`."""

import keyword
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

from common.errors import UserError
from common.installed import vertical_names

MODULES = ("__init__", "events", "settings", "detector", "baselines", "trends", "generator")
# Templates beside the modules, and where each goes below the new folder.
OTHER_FILES = {name: name for name in ("README.md", "pyproject.toml", "locustfile.py")} | {"tests.py": "tests/test_rules.py"}


class NotWritten(UserError):
    """A vertical cannot be written under that name or at that place."""


def write_vertical(name: str, folder: Path, entity: str = "device") -> list[Path]:
    """Write a vertical that runs as it is to `folder`/`name`; returns the files. Raises NotWritten, and writes nothing then."""
    _check_word(name, "the name of a vertical")
    _check_word(entity, "the name of an entity")
    if name in vertical_names():
        raise NotWritten(f"a vertical {name} is installed already; choose another name")
    if name in sys.stdlib_module_names or (files("common") / ".." / name).is_dir():
        raise NotWritten(f"a package {name} is there already; choose another name")
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
    targets = {f"vertical/{module}.py": f"{name}/{module}.py" for module in MODULES} | OTHER_FILES
    paths = []
    for source, relative_path in targets.items():
        path = target / relative_path
        path.parent.mkdir(parents=True, exist_ok=True)
        template = Template((files("common.template") / f"{source}.tmpl").read_text())
        path.write_text(template.substitute(words))
        paths.append(path)
    return paths


def _check_word(word: str, what: str) -> None:
    """Raises NotWritten for what is not fit to be a name in Python and in Kafka."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{1,39}", word) or keyword.iskeyword(word):
        raise NotWritten(f"{word!r} cannot be {what}: take 2 to 40 lower-case letters, digits and underscores, a letter first")


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))
