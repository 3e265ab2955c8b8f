"""Commands in the pages are written one way, and are ones that there are, with options that they take."""

import re
import shlex
from pathlib import Path

import pytest
from typer import _click as click  # typer's own copy
from typer.core import TyperGroup
from typer.main import get_command

from common import cli

ROOT = Path(__file__).parents[2]
PAGES = sorted(page for page in ROOT.rglob("*.md") if not {".venv", "hybrid-data", ".git"} & set(page.relative_to(ROOT).parts))
FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
IN_LINE = re.compile(r"`(\.venv/bin/hybrid [^`]*)`")
# What stands for a value of the reader's, and one of its kind.
VALUES = {"NAME": "finance_fraud", "VERTICAL": "finance_fraud", "HOST:PORT": "localhost:8080", "host:9092": "localhost:9092",
          "FIELD=SQL": "amount=1.0", "...": ""}  # fmt: skip


def commands(page):
    """Those of a page, in one line each, without comments and what they are given by a shell."""
    text = page.read_text()
    fenced = [line for block in FENCE.findall(text) for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in fenced if re.match(r"(\.venv/bin/)?(hybrid|locust) ", line)] + IN_LINE.findall(text)


def words_of(command):
    for name, value in VALUES.items():
        command = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", value, command)
    return shlex.split(re.split(r" #| \| | && | &$|; ", command)[0], comments=True)


def read(words):
    """What click makes of them, without running anything; raises click.exceptions.UsageError for what it would refuse."""
    command, name = get_command(cli.app), "hybrid"
    context = None
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        name, command, words = command.resolve_command(click.Context(command, info_name=name, parent=context), words)
    return command.make_context(name, list(words), parent=context)


FOUND = [(page, command) for page in PAGES for command in commands(page)]


def test_pages_have_commands():
    assert len(FOUND) > 60 and len({page for page, _ in FOUND}) > 12


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_pages_commands_are_ones_that_there_are_with_options_that_they_take(page):
    for command in commands(page):
        assert command.startswith(".venv/bin/"), f"written one way, from the project's folder: {command}"
        words = words_of(command)
        if Path(words[0]).name == "hybrid" and words[1:]:
            try:
                read(words[1:])
            except click.exceptions.UsageError as problem:
                pytest.fail(f"{command}: {problem.format_message()}")
            except click.exceptions.Exit:
                pass  # --help, --version


@pytest.mark.parametrize("wrong", ["nope finance_fraud", "run finance_fraud --fro 60s", "bench nope", "backfill"])
def test_a_command_that_there_is_not_is_found(wrong):
    with pytest.raises(click.exceptions.UsageError):
        read(wrong.split())
