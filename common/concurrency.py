"""Waiting for several blocking calls at once, and for Ctrl-C meanwhile."""

from collections.abc import Callable, Iterable
from threading import Thread

LOOK_EVERY = 0.25  # seconds


def side_by_side(calls: Iterable[Callable[[], object]], meanwhile: Callable[[], object] = lambda: None) -> None:
    """Returns when all calls have; raises what the first to fail raised. `meanwhile` is called again and again until then.

    An exception here, such as Ctrl-C, does not wait for the calls: an executor would, for a query that nobody stops any more.
    """
    problems: list[BaseException] = []

    def run(call: Callable[[], object]) -> None:
        try:
            call()
        except BaseException as problem:
            problems.append(problem)

    threads = [Thread(target=run, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            meanwhile()
            thread.join(LOOK_EVERY)
    if problems:
        raise problems[0]
