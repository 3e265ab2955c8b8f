"""`archive --until-idle` waits for what is in the topics, and not for a broker that is gone."""

from threading import Event
from types import SimpleNamespace

import pytest

from common.commands import stages
from common.kafka.connection import BrokerError
from common.streaming.archiving import Archiving


@pytest.fixture
def archived(monkeypatch):
    """An archive whose one query is through once `done` is set."""
    monkeypatch.setattr(stages, "STATUS_INTERVAL_SECONDS", 0.1)
    monkeypatch.setattr(stages, "MAX_SILENCE_SECONDS", 0.3)
    done = Event()
    query = SimpleNamespace(isActive=True, processAllAvailable=lambda: done.wait(20))
    quiet = SimpleNamespace(find_stalled=lambda *_: {}, check=list)
    yield SimpleNamespace(archiving=Archiving(None, {"events": query}, quiet, {"events": quiet}), done=done)
    done.set()


def test_it_gives_up_when_the_broker_is_gone(archived, mortal_kafka):
    mortal_kafka.stop()
    with pytest.raises(BrokerError, match="no Kafka at"):
        stages.drain(archived.archiving, mortal_kafka.connection)
    assert not archived.done.is_set()


def test_it_ends_when_all_is_archived(archived, mock_kafka):
    archived.done.set()
    stages.drain(archived.archiving, mock_kafka)
