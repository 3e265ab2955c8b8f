"""What is said of a topic whose records may be lost with one broker."""

import pytest
from confluent_kafka.admin import AdminClient

from common.kafka.topic_settings import TopicSettings, min_in_sync_replicas, read_topic_settings


@pytest.mark.parametrize(
    ("replicas", "in_sync", "brokers", "risk"),
    [
        (1, "1", 1, ""),
        (1, "1", 2, "give it 2 replicas"),
        (1, "1", 5, "give it 3 replicas"),
        (2, "1", 3, ""),
        (3, "1", 3, "min.insync.replicas=2"),
        (3, "2", 3, ""),
        (3, "", 3, ""),
    ],
)
def test_a_record_that_one_broker_alone_may_have_is_a_risk_where_there_are_more(replicas, in_sync, brokers, risk):
    message = TopicSettings(2, replicas, in_sync, "CreateTime").risk(brokers)
    assert risk in message and bool(message) == bool(risk)


def test_one_broker_may_be_away():
    assert [min_in_sync_replicas(replicas) for replicas in (1, 2, 3, 5)] == [1, 1, 2, 4]


def test_of_topics_that_are_not_there_nothing_is_asked(mock_kafka):
    assert read_topic_settings(AdminClient(mock_kafka.client_options()), ["not.there"]) == {}
