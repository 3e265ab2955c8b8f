"""Batch on schedule: one run at a time, put off while something speaks against it, a missed one caught up once."""

import threading
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from common import tables
from common.batch.schedule import CUT_SHORT, GRACE, BatchJob, cron, newest_run_started_at, run_schedule
from common.settings import SettingsError
from common.workspace import FolderInUse, Workspace

NEVER = CronTrigger(year=2000, timezone=UTC)
EVERY_SECOND = CronTrigger(second="*", timezone=UTC)


def job(tmp_path, trigger=NEVER, work=lambda: "done", put_off=lambda: None, **given):
    said = []
    made = BatchJob(Workspace(tmp_path, "v"), trigger, work, put_off, say=said.append, ending=threading.Event(), **given)
    return made, said


def outcomes(tmp_path):
    return tables.read_arrow(Workspace(tmp_path, "v").table("batch_runs")).sort_by("started_at")["outcome"].to_pylist()


def free(workspace):
    with suppress(FolderInUse), workspace.lock("batch"):
        return True
    return False


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_run_that_is_due_is_done_and_recorded(tmp_path):
    done = threading.Event()
    made, _ = job(tmp_path, EVERY_SECOND, work=lambda: done.set() or "two baselines")
    with run_schedule([made]):
        assert done.wait(60)
    assert set(outcomes(tmp_path)) == {"two baselines"}


def test_a_run_due_during_another_waits_for_its_end(tmp_path):
    began, release, at_once, most = [], threading.Event(), [0], [0]

    def work():
        at_once[0] += 1
        most[0] = max(most[0], at_once[0])
        began.append(datetime.now(UTC))
        if len(began) == 1:
            release.wait(60)
        at_once[0] -= 1
        return "done"

    made, _ = job(tmp_path, EVERY_SECOND, work)
    with run_schedule([made]):
        wait_until(lambda: began)
        time.sleep(2.2)  # two more are due meanwhile
        assert len(began) == 1
        release.set()
        wait_until(lambda: len(began) >= 3)
    assert most == [1]


def test_all_that_were_due_during_a_run_are_one_run_after_it(tmp_path):
    began = []

    def work():
        began.append(datetime.now(UTC))
        if len(began) == 1:
            time.sleep(2.2)  # two more are due meanwhile
            made.ending.wait(1.05 - datetime.now(UTC).microsecond / 1e6)  # and what follows begins early in a second
        return "done"

    made, _ = job(tmp_path, EVERY_SECOND, work)
    made.run()
    assert len(began) == 2


def test_missed_is_told_from_what_is_recorded(tmp_path):
    now = datetime.now(UTC)
    made, _ = job(tmp_path, CronTrigger(hour=(now.hour + 12) % 24, timezone=UTC))
    assert not made.has_missed_run(now), "it never ran, so nothing was missed"
    made.run()
    assert newest_run_started_at(made.workspace) >= now
    assert not made.has_missed_run(now + timedelta(minutes=5))
    assert made.has_missed_run(now + timedelta(days=1, seconds=5))


def test_what_was_missed_while_nothing_ran_is_caught_up_once(tmp_path):
    earlier, _ = job(tmp_path)
    earlier.run()
    made, _ = job(tmp_path, IntervalTrigger(hours=24, start_date=datetime.now(UTC), timezone=UTC))
    time.sleep(0.01)
    with run_schedule([made]):
        wait_until(lambda: len(outcomes(tmp_path)) == 2)
        time.sleep(0.5)
    assert outcomes(tmp_path) == ["done", "done"]


def test_it_is_put_off_while_something_speaks_against_it(tmp_path):
    reasons = ["the streams are behind", "the streams are behind", None]
    made, said = job(tmp_path, put_off=lambda: reasons.pop(0), wait_seconds=0.01)
    made.run()
    assert said == ["batch put off: the streams are behind", "batch begins", "batch: done"]


def test_what_goes_wrong_when_it_is_asked_whether_to_begin_puts_it_off(tmp_path):
    def put_off():
        if not said:
            raise RuntimeError("no broker")

    made, said = job(tmp_path, put_off=put_off, wait_seconds=0.01)
    made.run()
    assert said == ["batch put off: how the streams do cannot be seen: RuntimeError: no broker", "batch begins", "batch: done"]


def test_what_a_run_breaks_down_with_is_recorded_whatever_it_is(tmp_path):
    class Panic(BaseException):
        """As pyo3's, which is no Exception."""

    def work():
        raise Panic("index out of bounds")

    made, _ = job(tmp_path, work=work)
    made.run()
    assert outcomes(tmp_path) == ["failed: index out of bounds"]


def test_a_run_that_cannot_be_recorded_is_said_and_not_begun_again_at_once(tmp_path):
    ran = []
    made, said = job(tmp_path, EVERY_SECOND, work=lambda: ran.append(None) or "done")
    made.run()
    log = Path(made.workspace.table("batch_runs"), "_delta_log")
    log.rename(log.with_name("elsewhere"))
    log.touch()
    made.run()
    assert len(ran) == 2 and said[-1].startswith("batch ended: ")
    log.unlink()
    log.with_name("elsewhere").rename(log)
    made.end(time.monotonic() + 1)
    assert outcomes(tmp_path) == ["done"], "none is taken for cut short that was not"


def test_a_record_that_cannot_be_read_keeps_nothing_from_starting(tmp_path):
    table = Path(Workspace(tmp_path, "v").table("batch_runs"), "_delta_log")
    table.mkdir(parents=True)
    (table / "00000000000000000000.json").write_text("{")
    made, said = job(tmp_path)
    with run_schedule([made]):
        pass
    assert said == []


def test_a_record_of_which_a_file_is_cut_short_keeps_nothing_from_starting(tmp_path):
    earlier, _ = job(tmp_path)
    earlier.run()
    [file] = Path(earlier.workspace.table("batch_runs")).glob("*.parquet")
    file.write_bytes(file.read_bytes()[:100])
    made, said = job(tmp_path)
    with run_schedule([made]):
        pass
    assert said == []


def test_the_end_while_it_is_put_off_ends_it_without_a_run(tmp_path):
    made, _ = job(tmp_path, EVERY_SECOND, put_off=lambda: "the streams are behind")
    with run_schedule([made]):
        time.sleep(1.5)
    assert newest_run_started_at(made.workspace) is None


def test_two_processes_do_not_run_it_at_once(tmp_path):
    inside, release = threading.Event(), threading.Event()
    first, _ = job(tmp_path, work=lambda: inside.set() or (release.wait(60) and "done"))
    second, said = job(tmp_path, wait_seconds=0.01)
    threads = [threading.Thread(target=each.run) for each in (first, second)]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    wait_until(lambda: said)
    release.set()
    for thread in threads:
        thread.join()
    assert said == ["batch put off: another batch command is at work", "batch done by another process meanwhile"]
    assert outcomes(tmp_path) == ["done"]


def test_a_command_that_is_at_work_puts_it_off_and_does_not_take_its_place(tmp_path):
    made, said = job(tmp_path, wait_seconds=0.01)
    thread = threading.Thread(target=made.run)
    with made.workspace.lock("batch"):  # as `hybrid reconcile` does
        thread.start()
        wait_until(lambda: said)
    thread.join()
    assert said == ["batch put off: another batch command is at work", "batch begins", "batch: done"]


def test_what_puts_it_off_keeps_no_command_from_its_work(tmp_path):
    made, said = job(tmp_path, put_off=lambda: "the streams are behind", wait_seconds=60)
    with run_schedule([made]):
        thread = threading.Thread(target=made.run)
        thread.start()
        wait_until(lambda: said)
        with made.workspace.lock("batch"):
            pass
    thread.join()


@pytest.mark.parametrize("heeds", [True, False])
def test_the_end_cuts_a_run_short_which_is_no_failure_and_is_caught_up(tmp_path, heeds):
    inside, cancelled, release = threading.Event(), threading.Event(), threading.Event()

    def work():
        inside.set()
        (cancelled if heeds else release).wait(60)
        raise RuntimeError("Job 7 cancelled")

    made, said = job(tmp_path, EVERY_SECOND, work, cancel=cancelled.set)
    with run_schedule([made]):
        assert inside.wait(60)
        began = time.monotonic()
    assert time.monotonic() - began < GRACE + 1
    assert cancelled.is_set()
    release.set()
    wait_until(lambda: free(made.workspace))
    assert outcomes(tmp_path) == [CUT_SHORT], "though it was the first, and whether or not it ended itself"
    assert said == ["batch begins", "batch: cut short"]

    again, _ = job(tmp_path)
    assert again.has_missed_run(datetime.now(UTC))
    with run_schedule([again]):
        wait_until(lambda: outcomes(tmp_path) == [CUT_SHORT, "done"])
    assert not again.has_missed_run(datetime.now(UTC))


def test_a_failure_is_recorded_and_the_next_run_comes(tmp_path):
    made, said = job(tmp_path, work=lambda: 1 / 0)
    made.run()
    made.work = lambda: "done"
    made.run()
    assert outcomes(tmp_path) == ["failed: division by zero", "done"]
    assert "batch: failed: division by zero" in said


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "3",
        "61 * * * *",
        "* * * *",
        "a b c d e",
        "* * * * * *",
        "0 3 * * 8",
        "0 3 * * 5-1",
        "0 3 * * 1-",
        "0 3 * * ,",
        "0 3 * * moon",
        "0 3 * * 1/0",
    ],
)
def test_a_schedule_that_is_none_is_refused(expression):
    with pytest.raises(SettingsError, match="five cron fields"):
        cron(expression)


@pytest.mark.parametrize("expression", ["0 3 30 2 *", "0 3 31 2,4,6,9,11 *"])
def test_a_schedule_that_never_comes_is_refused(expression):
    with pytest.raises(SettingsError, match=r"never comes: day 3[01] is in none of its months"):
        cron(expression)


@pytest.mark.parametrize("expression", ["0 3 29 2 *", "0 3 30 2 1"])
def test_a_schedule_that_comes_seldom_or_by_its_weekday_is_taken(expression):
    assert cron(expression).get_next_fire_time(None, datetime(2024, 3, 31, tzinfo=UTC))


def matches(at, expression):
    """cron(5), read by hand: numbers, lists, ranges and steps; either of the two days is enough where both are restricted."""

    def allowed(field, least, most):
        for part in field.split(","):
            span, _, step = part.partition("/")
            first, _, last = (f"{least}-{most}" if span == "*" else span).partition("-")
            yield from range(int(first), int(last or (most if step else first)) + 1, int(step or 1))

    minute, hour, day, month, weekday = expression.split()
    of_month, of_week = at.day in allowed(day, 1, 31), at.isoweekday() % 7 in {each % 7 for each in allowed(weekday, 0, 7)}
    days = of_month or of_week if not (day.startswith("*") or weekday.startswith("*")) else of_month and of_week
    return at.minute in allowed(minute, 0, 59) and at.hour in allowed(hour, 0, 23) and at.month in allowed(month, 1, 12) and days


@pytest.mark.parametrize("expression", [
    "0 3 * * 0", "0 3 * * 7", "0 3 * * 1-5", "0 3 1 * 5", "0 3 * * *", "30 4 1,15 * 0,3", "0 */6 * * 5-7", "0 3 31 * *",
    "0 3 * 2 */2", "0 3 */2 * 1", "5 0 13 * 5", "0 12 * * 2/2",
])  # fmt: skip
def test_a_schedule_is_due_when_cron_says(expression):
    trigger, last, due = cron(expression), datetime(2024, 3, 31, tzinfo=UTC), []
    while last is not None and len(due) < 8:
        last = trigger.get_next_fire_time(last, last)
        due.append(last)
    at, expected = datetime(2024, 3, 31, tzinfo=UTC), []
    while len(expected) < 8:
        at += timedelta(hours=1) if expression.startswith("0 ") else timedelta(minutes=5)  # all are due at such minutes
        if matches(at, expression):
            expected.append(at)
    assert due == expected


def test_weekdays_have_names():
    named, numbered = cron("0 3 * * MON,wed-Fri"), cron("0 3 * * 1,3-5")
    at = datetime(2024, 4, 1, 4, tzinfo=UTC)
    for _ in range(6):
        due = named.get_next_fire_time(at, at)
        assert due == numbered.get_next_fire_time(at, at)
        at = due
