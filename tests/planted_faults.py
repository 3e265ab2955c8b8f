"""Faults planted on purpose, one at a time, in a copy of the project: for each, the test that is to find it must fail.

`make test-planted`, or `python tests/planted_faults.py [WORD]` for those whose name has the word. Exit status 1: one was missed.
"""

import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Fault:
    """`before` stands once in `file`, `after` is put in its place; `test` finds that."""

    name: str
    file: str
    before: str
    after: str
    test: str


FAULTS = (
    Fault("a rule of finance_fraud: amounts beyond the habit are taken for usual", "finance_fraud/detector.py",
          "deviations - F.when(known_place, 1.0).otherwise(0.0)", "deviations - F.when(known_place, 1.0).otherwise(1.0)",
          "tests/files/test_finance_rules.py::test_amount_outlier_counts_deviations_above_the_cards_own_logarithms"),
    Fault("a rule of retail_behavior: a cart that was bought is taken for abandoned", "retail_behavior/detector.py",
          'F.when(~any_of("happened", PURCHASE), cart_value("happened"))', 'cart_value("happened")',
          "tests/files/test_retail_rules.py::test_a_cart_that_was_bought_or_emptied_or_is_small_is_left_alone"),
    Fault("a rule of health_monitoring: a red parameter counts two points", "health_monitoring/news2.py",
          'isin("C", "V", "P", "U"), RED)', 'isin("C", "V", "P", "U"), 2)',
          "tests/files/test_health_news2.py::test_every_border_of_the_published_table"),
    Fault("a rule of telecom_anomaly: load does not excuse an outlier", "telecom_anomaly/detector.py",
          "LOADED = 3.0 ", "LOADED = 300.0 ",
          "tests/files/test_telecom_rules.py::test_kpi_outlier_leaves_one_bad_report_and_what_load_explains_alone"),
    Fault("a lost row: a file of one row is taken for empty", "common/tables/writing.py",
          "if rows(action) > 0]", "if rows(action) > 1]",
          "tests/files/test_archive.py::test_valid_rows_are_kept_and_others_quarantined_with_their_bytes"),
    Fault("a doubled alert: an update is another alert if its score is", "common/ingestion/archive.py",
          'path, ["alert_id"], NEWEST', 'path, ["alert_id", "score"], NEWEST',
          "tests/files/test_archive_streams.py::test_an_alert_is_one_row_the_newest"),
    Fault("a process left running: who supervises does not see that its parent is gone", "common/embedded/supervise.py",
          "and os.getppid() == parent and not _closed(0):", "and (os.getppid() == parent or True) and (_closed(0) or True):",
          "tests/fast/test_embedded_supervise.py::test_a_parent_killed_without_warning_takes_the_command_with_it"),
    Fault("a wrong unit: seconds into the future are taken for minutes", "common/contract/records.py",
          "F.make_dt_interval(secs=F.lit(tolerance))", "F.make_dt_interval(mins=F.lit(tolerance))",
          "tests/files/test_contract_parse.py::test_every_invalid_record_has_its_reason"),
    Fault("an open door: what follows a dot in a fix is not looked at", "common/ingestion/expressions.py",
          "if len(parts) != 1 or parts[0].lower() not in FUNCTIONS:", "if len(parts) == 1 and parts[0].lower() not in FUNCTIONS:",
          "tests/files/test_fixes.py::test_of_whatever_is_written_only_what_is_listed_passes"),
    Fault("a secret in plans: the key of pseudonyms is a literal", "common/pseudonyms.py",
          "    spark = SparkSession.active()\n", "    return F.lit(value)\n    spark = SparkSession.active()\n",
          "tests/files/test_secrets.py::test_no_secret_is_left"),
)


def is_found(fault: Fault, copy: Path) -> bool:
    """Whether the fault's test fails with it: by an assertion of its own, or as the product itself refuses to go on."""
    file = copy / fault.file
    source = file.read_text()
    if source.count(fault.before) != 1:
        raise SystemExit(f"{fault.file}: not once in it: {fault.before}")
    file.write_text(source.replace(fault.before, fault.after))
    try:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:xdist", fault.test]
        done = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    finally:
        file.write_text(source)
        end_what_is_left(copy)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{fault.test}: exit status {done.returncode}\n{done.stdout[-2000:]}")
    return done.returncode == 1 and f"FAILED {fault.test}" in done.stdout


def end_what_is_left(copy: Path) -> None:
    """A fault that leaves processes running does so here too: those of the copy's own files are ended, with all below them."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if any(str(copy) in word for word in process.cmdline()):
                for each in (*process.children(recursive=True), process):
                    each.kill()


def main(word: str = "") -> int:
    missed = 0
    with tempfile.TemporaryDirectory(prefix="planted-") as folder:
        copy = Path(folder, "project")
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".venv", "hybrid-data", "*.egg-info", ".*_cache"))
        if (ROOT.parent / "shared").exists():
            Path(folder, "shared").symlink_to(ROOT.parent / "shared")
        for fault in FAULTS:
            if word in fault.name:
                found = is_found(fault, copy)
                missed += not found
                print(f"{'found' if found else 'MISSED'}: {fault.name}: {fault.test}", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
