"""docs/generate.py says what is missing, left over or stale; `make lint` sees whether the pages are what the code says."""

import sys
from importlib.util import module_from_spec, spec_from_file_location

import pytest

from tests.pages import ROOT


@pytest.fixture(scope="module")
def generate():
    """docs/generate.py as a module; it is a program, and no part of any package."""
    sys.path.insert(0, str(ROOT / "docs"))
    spec = spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(ROOT / "docs"))


@pytest.fixture
def pages(generate, tmp_path, monkeypatch):
    monkeypatch.setattr(generate, "PAGES", tmp_path)
    return tmp_path


def test_pages_that_were_just_written_are_what_the_code_says(generate, pages):
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0


def test_a_page_that_somebody_changed_is_stale(generate, pages, capsys):
    generate.main([])
    (pages / "topics.md").write_text("# Topics\n")
    assert generate.main(["--check"]) == 1
    assert "topics.md is not what the code says" in capsys.readouterr().err


def test_a_column_without_words_and_words_without_a_column_are_named(generate, pages, capsys, monkeypatch):
    monkeypatch.delitem(generate.meanings.COLUMNS["alerts"], "severity")
    monkeypatch.setitem(generate.meanings.COLUMNS["labels"], "colour", "of nothing")
    assert generate.main([]) == 1
    assert "there are no words for alerts: severity" in (message := capsys.readouterr().err)
    assert "words of nothing: labels: colour" in message
