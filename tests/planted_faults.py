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
    Fault(
        "a rule of finance_fraud: amounts beyond the habit are taken for usual",
        "finance_fraud/detector.py",
        "F.when(is_usual_terminal, 1.0).otherwise(0.0)",
        "F.when(is_usual_terminal, 1.0).otherwise(1.0)",
        "tests/files/test_finance_rules.py::test_amount_outlier_counts_deviations_above_the_cards_own_logarithms",
    ),
    Fault(
        "a rule of retail_behavior: a cart that was bought is taken for abandoned",
        "retail_behavior/detector.py",
        'F.when(~has_event_of("events", PURCHASE), cart_value("events"))',
        'cart_value("events")',
        "tests/files/test_retail_rules.py::test_a_cart_that_was_bought_or_emptied_or_is_small_is_left_alone",
    ),
    Fault(
        "a rule of health_monitoring: a red parameter counts two points",
        "health_monitoring/rules/news2.py",
        'isin("C", "V", "P", "U"), RED)',
        'isin("C", "V", "P", "U"), 2)',
        "tests/files/test_health_news2.py::test_every_border_of_the_published_table",
    ),
    Fault(
        "a rule of telecom_anomaly: load does not excuse an outlier",
        "telecom_anomaly/detector.py",
        "LOADED_DEVIATIONS = 3.0 ",
        "LOADED_DEVIATIONS = 300.0 ",
        "tests/files/test_telecom_rules.py::test_kpi_outlier_leaves_one_bad_report_and_what_load_explains_alone",
    ),
    Fault(
        "a lost row: a file of one row is taken for empty",
        "common/tables/writing.py",
        "if recorded_rows(action) > 0]",
        "if recorded_rows(action) > 1]",
        "tests/files/test_archive.py::test_valid_rows_are_kept_and_others_quarantined_with_their_bytes",
    ),
    Fault(
        "a doubled alert: an update is another alert if its score is",
        "common/archive/archive.py",
        'MergeRule(["alert_id"], NEWEST',
        'MergeRule(["alert_id", "score"], NEWEST',
        "tests/files/test_archive_streams.py::test_an_alert_is_one_row_the_newest",
    ),
    Fault(
        "a record in quarantine twice: read again under a new checkpoint it is taken for new",
        "common/archive/duplicates.py",
        'return rows.join(F.broadcast(common_records), [*RECORD], "left_anti")',
        "return rows",
        "tests/files/test_archive.py::test_records_read_again_under_a_new_checkpoint_add_nothing",
    ),
    Fault(
        "another topic's offsets: the topic's id is not looked at",
        "common/kafka/topic_identity.py",
        "if self.id != earlier.id and",
        "if False and self.id != earlier.id and",
        "tests/fast/test_same_topic.py::test_another_topic_is_told_from_it",
    ),
    Fault(
        "a query that stands still is never found",
        "common/streaming/stalled_queries.py",
        "return self._grown_at is not None and",
        "return self._grown_at is None and",
        "tests/fast/test_standstill.py::test_a_query_that_takes_nothing_while_its_topic_grows_is_found_within_a_minute",
    ),
    Fault(
        "a process left running: who supervises does not see that its parent is gone",
        "common/embedded/supervise.py",
        "and os.getppid() == parent and not _is_closed(0):",
        "and (os.getppid() == parent or True) and (_is_closed(0) or True):",
        "tests/fast/test_embedded_supervise.py::test_a_parent_killed_without_warning_takes_the_command_with_it",
    ),
    Fault(
        "a lost change: who publishes does not look at what others published meanwhile",
        "common/tables/small_tables.py",
        "on_any_version=False",
        "on_any_version=True",
        "tests/fast/test_tuning.py::test_a_change_that_another_process_makes_between_our_look_and_our_commit_stays",
    ),
    Fault(
        "a doubled row: a commit whose answer was lost is made again",
        "common/tables/small_tables.py",
        'yield f"process-{_OWN_ID}-{os.getpid()}", _own_batches[location]',
        "yield None, None",
        "tests/fast/test_tables_append.py::test_processes_that_append_leave_a_transaction_each_and_not_one_for_each_row",
    ),
    Fault(
        "a wrong record: of two attempts at a batch the first counts",
        "common/streaming/lineage_rows.py",
        'np.minimum(rows["end_offset"], lowest',
        'np.maximum(rows["end_offset"], 0 * lowest',
        "tests/fast/test_judged_rows.py::test_rows_made_fewer_at_any_moments_say_of_each_offset_what_judged_it",
    ),
    Fault(
        "a stopped stream: upkeep that breaks down ends",
        "common/archive/upkeep.py",
        "except BaseException as problem:",
        "except ValueError as problem:",
        "tests/fast/test_upkeep.py::test_a_library_that_breaks_down_ends_no_upkeep",
    ),
    Fault(
        "a wrong unit: seconds into the future are taken for minutes",
        "common/contract/times.py",
        "secs=F.lit(bounds.future_tolerance)",
        "mins=F.lit(bounds.future_tolerance)",
        "tests/files/test_contract_parse.py::test_every_invalid_record_has_its_reason",
    ),
    Fault(
        "a figure that nobody measured: the most that a query may lack is taken for what it lacks",
        "loadtests/query_lag.py",
        "return lag if is_exact else AtMost(lag)",
        "return lag",
        "tests/fast/test_loads_accounting.py::test_the_lag_of_a_real_time_query_is_known_when_a_batch_has_just_ended_and_not_in_between",
    ),
    Fault(
        "an open door: the head of a request may be without end",
        "common/gateway/protocol.py",
        "if self._unparsed_bytes > MAX_HEAD_BYTES:",
        "if self._unparsed_bytes > MAX_HEAD_BYTES * 100_000:",
        "tests/fast/test_gateway_bounds.py::test_a_head_without_end_is_cut_off",
    ),
    Fault(
        "an open door: what follows a dot in a fix is not looked at",
        "common/archive/safe_expressions.py",
        "if len(parts) != 1 or parts[0].lower() not in FUNCTIONS:",
        "if len(parts) == 1 and parts[0].lower() not in FUNCTIONS:",
        "tests/files/test_fixes.py::test_of_whatever_is_written_only_what_is_listed_passes",
    ),
    Fault(
        "a secret in plans: the key of pseudonyms is a literal",
        "common/privacy/pseudonyms.py",
        "    spark = SparkSession.active()\n",
        "    return F.lit(value)\n    spark = SparkSession.active()\n",
        "tests/files/test_secrets.py::test_no_secret_is_left",
    ),
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
