"""Runs blocking calls in threads and waits for all of them, in a way that Ctrl-C can interrupt."""

from collections.abc import Callable, Iterable
from threading import Thread

POLL_SECONDS = 0.25


def run_concurrently(calls: Iterable[Callable[[], object]], meanwhile: Callable[[], object] = lambda: None) -> None:
    """Returns when all calls have returned; raises the first error of any. Until then `meanwhile` is called every POLL_SECONDS.

    An exception in this thread, such as Ctrl-C, does not wait for the calls, as an executor would: for a query that nobody stops.
    """
    problems: list[BaseException] = []

    def run_and_catch(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as problem:
            problems.append(problem)

    threads = [Thread(target=run_and_catch, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            meanwhile()
            thread.join(POLL_SECONDS)
    if problems:
        raise problems[0]
