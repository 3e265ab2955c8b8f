"""Several calls at once: all are waited for, an error comes through, and Ctrl-C waits for none."""

import threading
import time

import pytest

from common.concurrency import run_concurrently


def test_calls_run_at_the_same_time_and_all_are_waited_for():
    met, done = threading.Barrier(3, timeout=20), []
    run_concurrently([lambda name=name: (met.wait(), done.append(name)) for name in "abc"])
    assert sorted(done) == ["a", "b", "c"]


def test_an_error_comes_through_once_all_have_ended():
    ended = []

    def fails():
        raise ValueError("no archive")

    with pytest.raises(ValueError, match="no archive"):
        run_concurrently([fails, lambda: (time.sleep(0.3), ended.append(1))])
    assert ended == [1]


def test_who_waits_is_called_meanwhile_and_may_leave_without_waiting():
    release, looks = threading.Event(), []

    def look():
        looks.append(1)
        if len(looks) == 3:
            raise KeyboardInterrupt

    try:
        with pytest.raises(KeyboardInterrupt):
            run_concurrently([release.wait], look)
        assert len(looks) == 3
    finally:
        release.set()
