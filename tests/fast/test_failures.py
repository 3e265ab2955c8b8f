"""A failure is described by its first line and where it was raised, its causes too, and never by a plan in Spark's text."""

import re
import sys
from pathlib import Path

import pytest

from common import cli
from common.errors import first_line
from common.failures import failure_trace

PLAN = "\n'Project ['no, column, 0x3636]\n+- LocalRelation [secret#1]\n"
JAVA = "java.lang.Exception: at work\n\tat org.apache.spark.A.b(A.scala:1)\n\t... 3 more\nCaused by: java.io.IOException: gone\n"


def failed(text):
    try:
        try:
            raise ValueError("the cause" + PLAN + JAVA)
        except ValueError as cause:
            raise RuntimeError(text) from cause
    except RuntimeError as failure:
        return failure


@pytest.mark.parametrize(
    ("text", "line"), [("one", "one"), ("\n  two \nthree", "two"), ("", "RuntimeError"), ("\n", "RuntimeError")]
)
def test_a_failure_says_its_first_line_or_its_kind(text, line):
    assert first_line(RuntimeError(text)) == line


def test_a_trace_has_places_and_first_lines_and_no_plan():
    trace = failure_trace(failed("it failed" + PLAN))
    assert trace.index("ValueError: the cause") < trace.index("RuntimeError: it failed")
    assert "in failed" in trace and "A.scala:1" in trace and "Caused by: java.io.IOException: gone" in trace
    assert not [line for line in ("Project", "LocalRelation", "0x3636") if line in trace]


def test_a_failure_that_causes_itself_is_told_once():
    failure = RuntimeError("round")
    failure.__context__ = ValueError("and round")
    failure.__context__.__context__ = failure
    assert failure_trace(failure).count("round") == 2


def test_what_a_defect_leaves_for_people_has_no_plan_and_is_its_owners(monkeypatch, capsys, tmp_path):
    def run():
        raise failed("it failed" + PLAN)

    monkeypatch.setattr(cli, "_run", run)
    monkeypatch.setattr(sys, "argv", ["hybrid"])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = capsys.readouterr().err
    [trace] = tmp_path.iterdir()
    assert ended.value.code == 70 and "unexpected RuntimeError: it failed" in printed
    assert trace.stat().st_mode & 0o077 == 0
    assert not [text for text in (printed, trace.read_text()) if re.search("Project|LocalRelation|0x3636", text)]


def test_only_one_place_decides_how_failures_are_told():
    """A failure's text, cut or whole, is taken in `common.failures`: elsewhere a plan could be printed with it."""
    by_hand = re.compile(r"\.splitlines\(\)\[:?[01]\]|format_exc|print_exc|exc_info=|LOG\.exception|logging\.exception")
    sources = [path for path in (Path(cli.__file__).parent).rglob("*.py") if path.name != "failures.py"]
    lines = {f"{path.name}: {line.strip()}" for path in sources for line in path.read_text().splitlines() if by_hand.search(line)}
    # The head of an HTTP answer, a reason that was kept as text, and what another program printed.
    assert {line.split(":")[0] for line in lines} <= {"http_load.py", "batch.py", "comparison.py"}, lines
