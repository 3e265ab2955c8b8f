"""Whether a topic is the one that was read before."""

import re
from dataclasses import replace

import pytest

from common.installed import find_vertical
from common.kafka.topic_identity import NO_ID, Topic
from common.settings import Settings
from common.streaming.queries import BATCH_SLOTS, task_slots

BEFORE = Topic("cards.events", "cluster-1", "id-1", 2)


@pytest.mark.parametrize("changes", [{}, {"partitions": 3}, {"id": NO_ID}])
def test_the_same_topic_goes_on(changes):
    assert replace(BEFORE, **changes).difference_from(BEFORE) == ""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"id": "id-2"}, "made anew .its id is id-2, and was id-1"),
        ({"cluster": "cluster-2"}, "another cluster"),
        ({"id": NO_ID, "partitions": 1}, "made anew .it has 1 partitions, and had 2"),
    ],
)
def test_another_topic_is_told_from_it(changes, why):
    assert re.search(why, replace(BEFORE, **changes).difference_from(BEFORE))


def test_a_topic_is_noted_and_read_again():
    assert Topic.from_json(BEFORE.to_json()) == BEFORE


def test_slots_are_counted_from_the_topics_as_they_are():
    cards = find_vertical("finance_fraud")
    settings = Settings(partitions=2, shuffle_partitions=3)
    stateful = sum(query.stateful for query in cards.queries)
    held = 12 * len(cards.queries) + 3 * stateful
    assert task_slots([cards], {"finance_fraud.events": 12, "finance_fraud.labels": 50}, settings) == held + BATCH_SLOTS
    assert task_slots([cards], {}, settings) == BATCH_SLOTS
