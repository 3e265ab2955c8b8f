"""Every example is listed, has a page that says how to run it, and stands in the list of all."""

from pathlib import Path

import pytest

from common.commands.examples import first_sentences
from common.installed import example_names

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/__main__.py"))


def test_all_are_listed_with_a_sentence():
    assert sorted(first_sentences()) == NAMES
    assert all(sentence.endswith(".") for sentence in first_sentences().values())


@pytest.mark.parametrize("name", NAMES)
def test_each_has_a_page_with_its_command(name):
    lines = (EXAMPLES / name / "README.md").read_text().splitlines()
    assert f".venv/bin/hybrid examples {name}" in [line.partition("#")[0].strip() for line in lines]
    assert f"[{name}]({name}/README.md)" in (EXAMPLES / "README.md").read_text()
    tests = (Path(__file__).parents[1] / "broker" / "test_examples.py").read_text()
    assert name in example_names() or f"def test_{name}(" in tests
