"""NOTICE names what is installed under a licence that asks whoever passes it on for more than its text."""

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
PINNED = re.compile(r"^([a-z0-9][a-z0-9._-]*)==", re.MULTILINE)
ASKS_FOR_MORE = re.compile(r"\b(?:MPL|[AL]?GPL|EPL|CDDL|EUPL)|Mozilla|General Public|Eclipse")


def licences(name):
    try:
        said = metadata(name)
    except PackageNotFoundError:  # for another system or another Python
        return ""
    classifiers = [each for each in said.get_all("Classifier") or [] if each.startswith("License")]
    return " ".join([said.get("License-Expression") or "", (said.get("License") or "")[:100], *classifiers])


def test_notice_names_what_asks_for_more_and_nothing_else():
    pinned = set(PINNED.findall((ROOT / "requirements.lock").read_text()))
    asking = {name for name in pinned if ASKS_FOR_MORE.search(licences(name))}
    named = set(re.findall(r"^(\S+) {2,}\S", (ROOT / "NOTICE").read_text(), re.MULTILINE))
    assert len(pinned) > 100 and "certifi" in asking
    assert named <= pinned
    assert asking <= named
