"""Which room may import which: the contracts of import-linter hold, and are seen to fail; verticals have one entrance."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERTICALS = ("finance_fraud", "health_monitoring", "retail_behavior", "telecom_anomaly")
DOMAINS = (*VERTICALS, "examples/predictive_maintenance", "examples/social_trends")
PACKAGES = ("common", "examples", "loadtests", *VERTICALS)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the packages, to plant imports in."""
    folder = tmp_path_factory.mktemp("tree")
    for package in PACKAGES:
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def broken_contracts(tree):
    """Lines of import-linter's report that name a broken contract."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()", "--no-cache"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, env={"PYTHONPATH": str(tree), "PATH": "/usr/bin"})
    lines = [line for line in done.stdout.splitlines() if line.endswith(" BROKEN")]
    assert bool(lines) == bool(done.returncode) and "Contracts" in done.stdout, done.stdout + done.stderr
    return lines


PLANTED = [
    ("common/kafka/lag.py", "from common.streaming.queries import read_topic", "The rooms of the core stand one upon another"),
    ("common/batch/backtest.py", "from common.reconciliation.reconcile import reconcile", "The rooms of the core"),
    ("common/errors.py", "import finance_fraud", "The core knows no vertical"),
    ("retail_behavior/features.py", "from finance_fraud.features import FEATURES as THEIRS", "No vertical knows another"),
    ("loadtests/feed.py", "from common.commands.stages import drain", "Nothing imports a command"),
]


def test_the_contracts_hold(tree):
    assert broken_contracts(tree) == []


@pytest.mark.parametrize(("file", "line", "contract"), PLANTED)
def test_an_import_that_climbs_back_up_is_found(tree, file, line, contract):
    path = tree / file
    text = path.read_text()
    path.write_text(f"{text}\n{line}\n")
    try:
        assert any(contract in broken for broken in broken_contracts(tree))
    finally:
        path.write_text(text)


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_vertical_takes_from_the_core_what_its_author_is_promised(domain):
    """Its studies, which are not part of what runs, aside."""
    modules = {
        node.module
        for path in (ROOT / domain).rglob("*.py") if "studies" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "common"
    }  # fmt: skip
    assert modules == {"common.authoring"}


# What comes first in every vertical, by the same name and with the same in it.
FIRST = {
    "README.md": (),
    "__init__.py": ("VERTICAL",),
    "events.py": ("CONTRACT", "ENTITY", "EVENT_ID", "EVENT_SCHEMA", "EVENT_TIME", "LABEL_DELAY"),
    "settings.py": ("Population",),
    "detector.py": ("QUERIES", "SCENARIOS"),
    "baselines.py": ("baselines",),
    "trends.py": ("CHARTS", "trends"),
    "generator.py": ("DIRTY_FIELDS", "EVENT_COLUMNS", "generate_day"),
}
ROOMS = {"simulation", "rules", "planning", "formats", "studies"}


def defined_in(source):
    names = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return names


@pytest.mark.parametrize("domain", [*DOMAINS, "common/template/vertical"])
def test_every_vertical_has_the_same_rooms(domain):
    is_template = domain.startswith("common/template")
    for name, definitions in FIRST.items():
        path = ROOT / domain / (f"{name}.tmpl" if is_template else name)
        if name == "README.md" and is_template:
            continue  # written by `hybrid new` from a template of its own
        assert path.exists(), path
        if name.endswith(".py") and not is_template:
            missing = set(definitions) - defined_in(path.read_text())
            assert not missing, f"{path}: {missing}"
        elif is_template:
            assert all(definition in path.read_text() for definition in definitions), path
    if domain in VERTICALS:
        assert {path.name for path in (ROOT / domain).iterdir() if path.is_dir() and path.name != "__pycache__"} <= ROOMS
