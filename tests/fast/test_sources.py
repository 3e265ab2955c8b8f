"""Which topics a vertical has read under one name, in the order in which it read them, and since when the present one counts."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from common import tables
from common.kafka.topic_identity import Topic
from common.streaming import checkpoint_topics
from common.streaming.checkpoint_topics import _append_if_other, _topics, present_since
from common.workspace import Workspace

NAME = "cards.events"
JANUARY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path):
    return Workspace(tmp_path, "cards")


@pytest.fixture
def note(workspace, monkeypatch):
    """(cluster, id, when its first record came, or None) -> the topic is noted."""

    def note(cluster, topic_id, first):
        milliseconds = None if first is None else int(first.timestamp() * 1_000)
        monkeypatch.setattr(checkpoint_topics, "read_first_timestamp", lambda *_: milliseconds)
        _append_if_other(Topic(NAME, cluster, topic_id, 2), workspace, None)

    return note


def test_the_same_topic_is_noted_once_also_by_commands_that_start_together(workspace, note):
    note("a", "1", JANUARY)
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(_append_if_other, Topic(NAME, "b", "2", number), workspace, None) for number in (2, 2, 2, 2)]:
            done.result()
    assert [row["id"] for row in _topics(workspace, NAME)] == ["1", "2"]


def test_after_a_failover_and_back_the_present_one_is_the_one_that_was_read_last(workspace, note):
    assert present_since(workspace, NAME) is None
    note("a", "1", JANUARY)
    assert present_since(workspace, NAME) is None, "there was no other"
    note("b", "2", JANUARY + timedelta(days=60))
    for _ in range(3):
        note("a", "1", JANUARY)
    topics = _topics(workspace, NAME)
    assert [row["id"] for row in topics] == ["1", "2", "1"] and topics[-1]["since"] == JANUARY
    assert present_since(workspace, NAME) == topics[-1]["noted_at"] > topics[1]["noted_at"]


def test_what_comes_while_an_empty_topic_is_looked_at_is_of_it(workspace, monkeypatch):
    looked = []

    def is_empty(*_):
        looked.append(datetime.now(UTC))

    monkeypatch.setattr(checkpoint_topics, "read_first_timestamp", is_empty)
    _append_if_other(Topic(NAME, "a", "1", 1), workspace, None)
    assert tables.read_arrow(workspace.table("topics"))["since"][0].as_py() <= looked[0]
