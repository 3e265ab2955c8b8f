"""A new domain from the template: it lints, its tests and the conformance tests pass, and it runs end to end as written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from common import tables
from common.template.writing import NotWritten, write_vertical
from common.workspace import Workspace

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]

CONFORMANCE = Path(__file__).parents[1] / "conformance"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A vertical that `hybrid new` wrote, and an environment in which it is installed beside the others."""
    folder = tmp_path_factory.mktemp("new")
    words = ["new", "energy_grid", "--path", str(folder), "--entity", "meter", "--no-install"]
    subprocess.run([sys.executable, "-m", "common.cli", *words], check=True, capture_output=True)
    target, site = folder / "energy_grid", folder / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "--target", str(site), str(target)]
    subprocess.run(pip, check=True, capture_output=True)
    return target, {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"}


def run(environment, *words, folder=None):
    done = subprocess.run([sys.executable, "-m", *words], env=environment, cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def test_it_is_linted_and_its_own_tests_pass(written):
    target, environment = written
    linted = run(environment, "ruff", "check", "--config", str(target / "pyproject.toml"), str(target))
    assert linted == (0, "All checks passed!\n")
    code, printed = run(environment, "pytest", "-q", "-p", "no:cacheprovider", "tests", folder=target)
    assert code == 0, printed


def test_it_conforms(written):
    code, printed = run(written[1], "pytest", "-q", str(CONFORMANCE), "-k", "energy_grid")
    assert code == 0, printed
    assert re.search(r"1\d passed", printed), printed


def test_it_runs_end_to_end_and_finds_what_it_put_in(written, tmp_path):
    code, printed = run(
        written[1], "common.cli", "run", "energy_grid", "--for", "45s", "--history-days", "30", "--data", str(tmp_path)
    )
    assert code == 0, printed
    assert "unusual_value: real-time" in printed and "stuck_value: real-time" in printed
    compared = dict(re.findall(r"^(unusual_value|stuck_value) +([\d ]+)$", printed, re.MULTILINE))
    for rule in ("unusual_value", "stuck_value"):
        equal, _late, differ, missing, extra, *_explained = map(int, compared[rule].split())
        assert equal > 0 and not differ and not missing and not extra, printed
    [workspace] = [Workspace(folder, "energy_grid") for folder in tmp_path.glob("run-*")]
    # The run's own tables, read by another engine: every record that came in is there, once.
    [(kept, places)] = duckdb.sql(f"""
        SELECT count(*), count(DISTINCT (kafka_partition, kafka_offset))
        FROM read_parquet({tables.open_table(workspace.table("events")).file_uris()}) WHERE kafka_partition >= 0
    """).fetchall()
    came = int(re.search(r"([\d,]+) records came in", printed)[1].replace(",", ""))
    quarantined = tables.row_count(workspace.table("quarantine"))
    assert kept == places
    assert kept + quarantined == came > 10_000


@pytest.mark.parametrize("name", ["Energy", "1st", "class", "finance_fraud", "common", "json", "a-b", "x"])
def test_a_name_that_cannot_be_is_refused_and_nothing_is_written(tmp_path, name):
    with pytest.raises(NotWritten):
        write_vertical(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path):
    write_vertical("energy_grid", tmp_path)
    with pytest.raises(NotWritten, match="there already"):
        write_vertical("energy_grid", tmp_path)
