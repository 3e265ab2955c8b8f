"""Commands in the pages are written one way, and are ones that there are, with options that they take."""

import re
from pathlib import Path

import pytest
from typer import _click as click  # typer's own copy
from typer.core import TyperGroup
from typer.main import get_command

from common import cli
from tests.pages import PAGES, ROOT, anchors, commands, links, words_of


def read(words):
    """What click makes of them, without running anything; raises UsageError for what it would refuse."""
    command, name = get_command(cli.app), "hybrid"
    context = None
    while isinstance(command, TyperGroup) and words and not words[0].startswith("-"):
        name, command, words = command.resolve_command(click.Context(command, info_name=name, parent=context), words)
    return command.make_context(name, list(words), parent=context)


def test_pages_have_commands():
    found = [(page, command) for page in PAGES for command in commands(page)]
    assert len(found) > 60 and len({page for page, _ in found}) > 12


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_pages_links_lead_to_files_and_headings_that_there_are(page):
    for file, anchor in links(page):
        assert file.exists(), f"{file} is not there"
        assert not anchor or anchor in anchors(file), f"{file.relative_to(ROOT)} has no heading #{anchor}"


def test_the_map_of_the_core_names_every_room_and_only_rooms_that_there_are():
    core = ROOT / "common"
    rooms = {f"common/{path.name}/" if path.is_dir() else f"common/{path.name}" for path in core.iterdir()
             if path.name not in ("__init__.py", "__pycache__", "py.typed")}  # fmt: skip
    named = set(re.findall(r"`(common/[a-z_]+(?:/|\.py))`", (ROOT / "CONTRIBUTING.md").read_text()))
    assert named >= rooms, f"a line for {rooms - named} is missing"
    assert named <= rooms, f"{named - rooms} is not there"
