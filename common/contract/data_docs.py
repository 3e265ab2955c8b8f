"""Rewrites great-expectations' Data Docs so that the pages load nothing from elsewhere.

The original pages fetch scripts and styles from six hosts: these hosts learn that a page was opened, and their code runs beside
the data. The pages' contents are in the pages, except for the index, which a script fills: it gets a plain list. The rewritten
pages have no scripts, a few styles of our own, and a policy by which a browser loads nothing else.
"""

import re
from html import escape
from pathlib import Path
from urllib.parse import quote

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
STYLE = """
body { font-family: sans-serif; margin: 1.5em; } table { border-collapse: collapse; } ul { list-style: none; padding-left: 1em; }
.collapse { display: block; } nav img { display: none; }
th, td { border: 1px solid #bbb; padding: 0.3em 0.6em; text-align: left; }
"""
POLICY_HEAD = f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
HEAD = f"{POLICY_HEAD}<style>{STYLE}</style>"
HEAD_TAG = re.compile(r"<head\b[^>]*>", re.IGNORECASE)
SCRIPT_ELEMENTS = re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE)
FETCHING_TAGS = re.compile(r"<(?:link|img|iframe|source|base)\b[^>]*>", re.IGNORECASE)
FETCHING_STYLES = re.compile(r"""(@import\s+)?url\(\s*["']?\s*(?:https?:)?//[^)]*\)""", re.IGNORECASE)


def close_pages(docs: Path) -> None:
    """Rewrite all pages below `docs` so that they load nothing from elsewhere."""
    for page in docs.rglob("*.html"):
        page.write_text(strip_page(page.read_text(encoding="utf-8")), encoding="utf-8")
    index = docs / "index.html"
    index.write_text(index.read_text(encoding="utf-8").replace("</body>", f"{_page_list(docs)}</body>", 1), encoding="utf-8")


def _page_list(docs: Path) -> str:
    """Links to the pages, the newest run first."""
    pages = sorted((path.relative_to(docs) for path in docs.glob("*/**/*.html")), reverse=True)
    links = (f'<li><a href="{quote(str(page))}">{escape(str(page.with_suffix("")))}</a></li>' for page in pages)
    return f"<ul>{''.join(links)}</ul>"


def strip_page(page: str) -> str:
    """The page without scripts and without anything that it would fetch; its contents stay."""
    head_tag = HEAD_TAG.search(page)
    if head_tag and page.startswith(POLICY_HEAD, head_tag.start()):  # rewritten already; elsewhere the data may hold this text
        return page
    for pattern in (SCRIPT_ELEMENTS, FETCHING_TAGS, FETCHING_STYLES):
        page = pattern.sub("", page)
    return HEAD_TAG.sub(lambda _: HEAD, page, count=1)
