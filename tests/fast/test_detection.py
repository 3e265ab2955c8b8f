"""Queries that end although they should run: which of them go on by themselves."""

import logging
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from pyspark.errors import AnalysisException

from common.deployment import Deployment
from common.kafka.connection import BrokerError
from common.kafka.topic_identity import Topic, TopicChanged
from common.models.storage import as_json
from common.models.training import TrainedModel
from common.published.reference_data import put_in_force
from common.published.versions import CHALLENGER, MODEL, Version
from common.streaming import detection
from common.streaming.detection import Detection
from common.streaming.queries import FOREIGN_BYTES, SLOW_PYTHON, QueryEnded
from common.workspace import Workspace


class Started:
    """Stands for a running query; `end` ends it for a reason."""

    def __init__(self):
        self.isActive, self._reason = True, None

    def end(self, reason):
        self.isActive, self._reason = False, reason

    def exception(self):
        return Exception(f"Python worker failed to connect back: {self._reason}")


@pytest.fixture
def detecting(monkeypatch):
    """Two queries; `_start` adds another start of one, without Spark."""

    def start(self, names):
        self.running += [
            SimpleNamespace(query=SimpleNamespace(name=name), streaming=Started(), mode="micro-batch") for name in names
        ]

    monkeypatch.setattr(Detection, "_start", start)
    topics, standstills = SimpleNamespace(check=list), SimpleNamespace(find_stalled=lambda *_: {})
    detecting = Detection(None, None, None, topics, standstills)
    detecting._start(["per_event", "online"])
    return detecting


def newest(detecting, name):
    return next(each.streaming for each in detecting.running if each.query.name == name)


@pytest.mark.parametrize("chance", [SLOW_PYTHON, f"java.lang.IllegalArgumentException: {FOREIGN_BYTES}: 274879086587"])
def test_a_query_that_ended_by_chance_goes_on_once(detecting, chance):
    first = newest(detecting, "online")
    first.end(chance)
    detecting.keep_running()
    assert sorted(each.query.name for each in detecting.running) == ["online", "per_event"]
    assert newest(detecting, "online") is not first and newest(detecting, "online").isActive
    newest(detecting, "online").end(SLOW_PYTHON)
    with pytest.raises(QueryEnded, match="online ended: the machine was too busy"):
        detecting.keep_running()


def test_a_query_that_ended_for_another_reason_is_not_started_again(detecting):
    newest(detecting, "per_event").end("No space left on device")
    with pytest.raises(QueryEnded, match="per_event ended: the disk is full"):
        detecting.keep_running()


def test_another_query_that_ends_so_goes_on_too(detecting):
    for name in ("online", "per_event"):
        newest(detecting, name).end(SLOW_PYTHON)
        detecting.keep_running()
    assert all(each.streaming.isActive for each in detecting.running)


def test_more_partitions_than_there_are_slots_for_end_it_in_words(detecting):
    detecting.topics.check = lambda: [Topic("cards.events", "cluster", "id", 12)]
    with pytest.raises(TopicChanged, match=r"cards.events has 12 partitions now, .* start again"):
        detecting.keep_running()


def test_a_query_that_stands_still_is_stopped_and_started_again(detecting):
    first = newest(detecting, "online")
    first.stop = lambda: first.end("stopped")
    detecting.standstills.find_stalled = lambda *_: {"online": 1}
    detecting.keep_running()
    assert not first.isActive and newest(detecting, "online").isActive
    assert sorted(each.query.name for each in detecting.running) == ["online", "per_event"]


def test_one_that_does_not_stop_ends_it_in_words(detecting):
    newest(detecting, "online").stop = lambda: None
    detecting.standstills.find_stalled = lambda *_: {"online": 1}
    with pytest.raises(QueryEnded, match="online stands still and does not stop: start again"):
        detecting.keep_running()


MODELS = [TrainedModel(("amount",), f"`amount` * {factor} * GET(model_parameters, 0)", (1.0,)) for factor in ("1", "2")]


@pytest.fixture
def following(tmp_path):
    """Detection whose model is in force, and that has said so."""
    workspace = Workspace(tmp_path, "v")
    publish(workspace, MODEL, MODELS[0])
    vertical = SimpleNamespace(model=SimpleNamespace(features=("amount",)))
    detecting = Detection(None, Deployment(vertical, workspace, None, None), None, None, None, scoring=MODELS[0])
    assert not detecting.follow_model()
    return detecting


def publish(workspace, kind, model, **more):
    put_in_force(Version(kind, model.version, "2020-03-01", datetime.now(UTC), {**as_json(model), **more}), workspace.tables)


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_models_that_cannot_be_read_are_said_once_and_end_no_query(following, caplog):
    log = following.deployment.workspace.folder / "tables" / "versions" / "_delta_log"
    [*_, newest_commit] = sorted(log.glob("*.json"))
    whole = newest_commit.read_text()
    newest_commit.write_text("{")
    assert not following.follow_model() and not following.follow_model()
    assert len(warnings(caplog)) == 1 and "cannot be read" in warnings(caplog)[0]
    newest_commit.write_text(whole)
    assert not following.follow_model()
    publish(following.deployment.workspace, MODEL, MODELS[1], structure="java_method('x')")
    assert not following.follow_model() and not following.follow_model()
    assert len(warnings(caplog)) == 2 and "UnsafeModel" in warnings(caplog)[1]


@pytest.mark.parametrize("kind", [AnalysisException, BrokerError, TopicChanged])
def test_a_challenger_that_cannot_be_scored_is_said_once_and_ends_no_query(following, caplog, monkeypatch, kind):
    def refused(*given):
        raise kind("column amount cannot be resolved")

    monkeypatch.setattr(detection, "start_shadow", refused)
    publish(following.deployment.workspace, CHALLENGER, MODELS[1])
    assert not following.follow_model() and not following.follow_model()
    assert len(warnings(caplog)) == 1 and "challenger" in warnings(caplog)[0] and "cannot be resolved" in warnings(caplog)[0]
