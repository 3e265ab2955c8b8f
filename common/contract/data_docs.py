"""great-expectations' Data Docs as pages that load nothing from elsewhere.

As they are written they fetch scripts and styles from six hosts, which whoever opens a page tells of it, and whose code then runs
beside the data. What they show is in the pages themselves, but for the index, which a script fills: it gets a plain list. They
are left without scripts, with a few styles of our own, and with a policy by which a browser loads nothing else.
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
CLOSED = f'<head><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
HEAD = f"{CLOSED}<style>{STYLE}</style>"
OPENED = re.compile(r"<head\b[^>]*>", re.IGNORECASE)
SCRIPTS = re.compile(r"<script\b.*?</script\s*>", re.DOTALL | re.IGNORECASE)
FETCHED = re.compile(r"<(?:link|img|iframe|source|base)\b[^>]*>", re.IGNORECASE)
STYLED = re.compile(r"""(@import\s+)?url\(\s*["']?\s*(?:https?:)?//[^)]*\)""", re.IGNORECASE)


def close_pages(docs: Path) -> None:
    """Rewrite all pages below `docs` so that they load nothing from elsewhere."""
    for page in docs.rglob("*.html"):
        page.write_text(closed(page.read_text(encoding="utf-8")), encoding="utf-8")
    index = docs / "index.html"
    index.write_text(index.read_text(encoding="utf-8").replace("</body>", f"{_listed(docs)}</body>", 1), encoding="utf-8")


def _listed(docs: Path) -> str:
    """Links to the pages, the newest run first."""
    pages = sorted((path.relative_to(docs) for path in docs.glob("*/**/*.html")), reverse=True)
    links = (f'<li><a href="{quote(str(page))}">{escape(str(page.with_suffix("")))}</a></li>' for page in pages)
    return f"<ul>{''.join(links)}</ul>"


def closed(page: str) -> str:
    """A page without scripts and without what it would fetch; what it shows stays."""
    head = OPENED.search(page)
    if head and page.startswith(CLOSED, head.start()):  # written before, and left as it was; the data may say that, too
        return page
    for outside in (SCRIPTS, FETCHED, STYLED):
        page = outside.sub("", page)
    return OPENED.sub(lambda _: HEAD, page, count=1)
