"""Where a stream begins in a topic."""

import pytest
from confluent_kafka.admin import AdminClient

from common.kafka.producers import Producer
from common.kafka.topics import create_topics
from common.streaming.queries import read_topic

pytestmark = pytest.mark.broker


def test_from_the_end_is_all_that_comes_once_it_was_asked_for(spark, broker, vertical_name, tmp_path):
    """What comes before the query has started, which takes seconds, is not left out."""
    create_topics(AdminClient(broker.client_options()), broker, [vertical_name], partitions=2)
    values = []

    def send(*texts):
        with Producer(broker, linger=0) as producer:
            for text in texts:
                producer.send(vertical_name, text.encode(), text.encode())

    send("before", "long before")
    records = read_topic(spark, broker, vertical_name, from_end=True)
    send("after", "much later")
    query = (
        records.writeStream.option("checkpointLocation", str(tmp_path))
        .trigger(availableNow=True)
        .foreachBatch(lambda rows, number: values.extend(bytes(row.value).decode() for row in rows.collect()))
        .start()
    )
    query.awaitTermination()
    assert sorted(values) == ["after", "much later"]
