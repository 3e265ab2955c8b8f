"""The commands in the project's pages, as a reader would copy them."""

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(page for page in ROOT.rglob("*.md") if not {".venv", "hybrid-data", ".git"} & set(page.relative_to(ROOT).parts))
FENCE = re.compile(r"^```[a-z]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]+)\)")
IN_LINE = re.compile(r"`(\.venv/bin/hybrid [^`]*)`")
# What stands for a value of the reader's, and one of its kind.
VALUES = {"NAME": "finance_fraud", "VERTICAL": "finance_fraud", "HOST:PORT": "localhost:8080", "host:9092": "localhost:9092",
          "FIELD=SQL": "amount=1.0", "...": ""}  # fmt: skip


def fenced_commands(page):
    """Those in a page's blocks, in one line each, with their comments."""
    lines = [line for block in FENCE.findall(page.read_text()) for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if re.match(r"(\.venv/bin/)?(hybrid|locust) ", line)]


def commands(page):
    """These, and those within its text and tables."""
    return fenced_commands(page) + IN_LINE.findall(page.read_text())


def words_of(command):
    """A command's words, with something in the place of what the reader is to give."""
    for name, value in VALUES.items():
        command = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", value, command)
    return shlex.split(re.split(r" #| \| | && | &$|; ", command)[0], comments=True)


def links(page):
    """Where the page's links lead within the project: the file, and the heading's anchor, which may be empty."""
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        file, _, anchor = link.partition("#")
        yield (page.parent / file).resolve() if file else page, anchor


def anchors(page):
    """The anchors of the page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    texts = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", text).replace(" ", "-") for text in texts}
