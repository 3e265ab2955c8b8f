"""A producer counts every record as delivered or failed, whatever happens to the broker."""

import pytest

from common.kafka.connection import BrokerError
from common.kafka.lag import LagMeter, read_offsets, records_behind
from common.kafka.producers import DeliveryFailed, Producer, RecordsRefused
from common.kafka.reader import read_all
from common.kafka.topics import end_offsets, topic_names


def test_every_record_arrives_in_the_order_of_its_key(mock_kafka):
    with Producer(mock_kafka) as producer:
        producer.send_many("t", [b"%d" % (n % 5) for n in range(1_000)], [b"%d" % n for n in range(1_000)])
    assert producer.delivered_count == 1_000
    records = read_all(mock_kafka, "t")
    assert sorted(int(record.value) for record in records) == list(range(1_000))
    for key in {record.key for record in records}:
        of_key = [record for record in records if record.key == key]
        assert len({record.partition for record in of_key}) == 1
        values = [int(record.value) for record in sorted(of_key, key=lambda record: record.offset)]
        assert values == sorted(values)


def test_one_record_and_many_of_a_key_share_its_partition(mock_kafka):
    with Producer(mock_kafka) as producer:
        for n in range(20):
            producer.send("t", b"card-%d" % n, b"one")
        producer.send_many("t", [b"card-%d" % n for n in range(20)], [b"many"] * 20)
    partitions = {}
    for record in read_all(mock_kafka, "t"):
        partitions.setdefault(record.key, set()).add(record.partition)
    assert len(partitions) == 20 and all(len(of_key) == 1 for of_key in partitions.values())


def test_a_full_buffer_makes_the_caller_wait_and_loses_nothing(mock_kafka):
    with Producer(mock_kafka, max_records=100) as producer:
        producer.send_many("t", [b"k"] * 5_000, [b"v"] * 5_000)
        assert producer.buffered_count <= 100
    assert producer.delivered_count == 5_000


def test_a_given_timestamp_is_the_record_s(mock_kafka):
    with Producer(mock_kafka) as producer:
        producer.send("t", b"k", b"v", timestamp=1_700_000_000_000)
    (record,) = read_all(mock_kafka, "t")
    assert record.timestamp == 1_700_000_000_000


def test_a_record_that_is_too_large_is_counted_and_the_others_are_delivered(mock_kafka):
    message = r"1 records were not delivered .*\(2 were\).* too large"
    with pytest.raises(RecordsRefused, match=message) as caught, Producer(mock_kafka) as producer:
        producer.send_many("t", [b"k"] * 3, [b"first", b"x" * 2_000_000, b"last"])
    assert (caught.value.delivered_count, caught.value.failed_count) == (2, 1)
    assert [record.value for record in read_all(mock_kafka, "t")] == [b"first", b"last"]


def test_a_broker_that_goes_away_ends_in_an_error_that_accounts_for_every_record(mortal_kafka):
    producer = Producer(mortal_kafka.connection, delivery_timeout=4, max_records=50)
    with pytest.raises(DeliveryFailed, match="not delivered") as caught, producer:
        producer.send_many("t", [b"k"] * 30, [b"v"] * 30)
        producer.flush()
        mortal_kafka.stop()
        producer.send_many("t", [b"k"] * 1_000, [b"v"] * 1_000)
    assert not isinstance(caught.value, RecordsRefused)
    assert caught.value.delivered_count == 30
    assert caught.value.failed_count == 50  # the 51st found no room, and was never taken


def test_an_error_of_the_caller_is_not_hidden_by_what_could_not_be_delivered(mock_kafka):
    with pytest.raises(ValueError, match="the caller's own") as caught, Producer(mock_kafka) as producer:
        producer.send_many("t", [b"k"] * 2, [b"fits", b"x" * 2_000_000])
        raise ValueError("the caller's own")
    assert caught.value.__notes__ == ["1 records were delivered, 1 were not"]


def test_keys_and_values_of_different_number_are_an_error(mock_kafka):
    with pytest.raises(ValueError, match="zip"), Producer(mock_kafka) as producer:
        producer.send_many("t", [b"k"], [])


def test_reading_a_topic_that_stays_too_small_says_how_far_it_came(mock_kafka):
    with Producer(mock_kafka) as producer:
        producer.send("t", b"k", b"v")
    with pytest.raises(BrokerError, match=r"t: 1 records within 3 s, of at least 2"):
        read_all(mock_kafka, "t", at_least=2, timeout=3)


def test_topics_are_named_after_their_vertical():
    assert list(topic_names("energy_grid")) == [
        "energy_grid.events",
        "energy_grid.labels",
        "energy_grid.alerts",
        "energy_grid.dead-letter",
    ]


def test_lag_is_what_lies_between_a_query_s_progress_and_the_ends_of_the_topic(mock_kafka):
    with Producer(mock_kafka) as producer:
        producer.send_many("t", [b"%d" % n for n in range(100)], [b"v"] * 100)
    ends = end_offsets(mock_kafka, "t")
    lag = LagMeter(mock_kafka, "t")
    assert sum(ends.values()) == lag.measure(None) == 100
    offsets = ", ".join(f'"{partition}": {max(0, end - 2)}' for partition, end in ends.items())
    assert lag.measure({"sources": [{"endOffset": f'{{"t": {{{offsets}}}}}'}]}) == sum(min(end, 2) for end in ends.values())


def test_the_slowest_of_several_sources_counts_and_other_topics_do_not():
    ends = {"t": {"0": 9, "1": 4}, "other": {"0": 1}}, '{"t": {"0": 7}}', None
    progress = {"sources": [{"endOffset": end} for end in ends]}
    assert read_offsets(progress, "t") == {0: 7, 1: 4}
    assert records_behind({0: 10, 1: 4, 2: 5}, {0: 7, 1: 4}) == 3 + 0 + 5
