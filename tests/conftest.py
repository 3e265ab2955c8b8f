"""One Spark session for all layers of a process, and where the real data lies when it is there."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before scikit-learn is imported: two OpenMP threads on busy cores wait for each other, twenty times longer than one works.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def short_lived_java() -> None:
    """Java that a test starts is at work for a minute or so: it would pay for its second compiler and not live to gain by it."""
    from common.processing.session import COMPILE_QUICKLY

    os.environ.setdefault("JDK_JAVA_OPTIONS", COMPILE_QUICKLY)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    from common.processing.session import start_session

    session = start_session("tests", task_slots=12, folder=tmp_path_factory.mktemp("spark"))
    yield session
    session.stop()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the project; its absence fails in CI, where it must be, and skips elsewhere."""
    if not SHARED.exists():
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"real data is not at {SHARED}: these tests run where it is")
    return SHARED
