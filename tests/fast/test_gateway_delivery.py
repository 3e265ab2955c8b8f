"""What a request is told when the buffer is full or the broker is gone: never that something arrived which did not."""

import asyncio
import json

import pytest

from common.gateway.delivery import AsyncProducer, BatchTooLarge, BrokerUnavailable, BufferFull
from common.kafka.reader import read_all


def messages(number, size=1):
    return [{"key": b"k", "value": b"%d" % n * size} for n in range(number)]


def run(work):
    """`work(start)` in a loop; start(connection, ...) gives a Delivery that is stopped in the end."""

    async def main():
        started = []

        def start(*given, **options):
            delivery = AsyncProducer(*given, **options)
            delivery.start()
            started.append(delivery)
            return delivery

        try:
            return await work(start)
        finally:
            for delivery in started:
                delivery.stop(0)

    return asyncio.run(main())


def test_what_is_done_without_failure_is_on_the_topic_in_order(mock_kafka):
    async def work(start):
        delivery = start(mock_kafka, 10)
        sent = [delivery.send("t", messages(number)) for number in (1, 500, 3)]
        await asyncio.gather(*(each.done for each in sent))
        return [each.failures for each in sent]

    assert run(work) == [[], [], []]
    assert [record.value for record in read_all(mock_kafka, "t")] == [each["value"] for n in (1, 500, 3) for each in messages(n)]


@pytest.mark.parametrize("limits", [{"max_records": 10}, {"max_records": 1_000, "max_megabytes": 1}])
def test_a_full_buffer_takes_nothing_of_a_request_and_has_room_again(mock_kafka, limits):
    async def work(start):
        delivery = start(mock_kafka, 10, linger=0.2, **limits)
        first = delivery.send("t", messages(8, 50_000))
        with pytest.raises(BufferFull) as full:
            delivery.send("t", messages(9, 100_000))
        assert type(full.value) is BufferFull
        with pytest.raises(BatchTooLarge, match="at most"):
            delivery.send("t", messages(20, 100_000))
        await first.done
        await delivery.send("t", messages(2)).done

    run(work)
    assert len(read_all(mock_kafka, "t")) == 10


def test_a_record_that_the_client_refuses_is_a_failure_of_its_own(mock_kafka):
    async def work(start):
        delivery = start(mock_kafka, 10)
        sent = delivery.send("t", [*messages(2), {"key": b"k", "value": b"x" * 2_000_000}])
        await sent.done
        return sent

    [(value, _)] = run(work).failures
    assert len(value) == 2_000_000
    assert len(read_all(mock_kafka, "t")) == 2


def test_what_a_broker_that_is_gone_did_not_take_has_failed_and_the_next_is_refused_at_once(mortal_kafka):
    async def work(start):
        delivery = start(mortal_kafka.connection, 2)
        await delivery.send("t", messages(1)).done
        mortal_kafka.stop()
        lost = delivery.send("t", messages(5))
        await lost.done
        with pytest.raises(BrokerUnavailable):
            while True:
                delivery.send("t", messages(1))
                await asyncio.sleep(0.05)
        return lost

    assert len(run(work).failures) == 5


def test_over_http_a_broker_that_is_gone_is_503_and_ready_says_so(start_gateway, mortal_kafka, generated_events):
    gateway, events = start_gateway(gateway_timeout=2), generated_events("finance_fraud", 3)
    assert gateway.ask("GET", "/readyz")[0] == 200
    assert gateway.post(events)[0] == 202
    mortal_kafka.stop()
    status, told, headers = gateway.post(events, idempotency_key="k")
    lost = [event["transaction_id"] for event in events]
    assert (status, told.get("not_acknowledged", lost)) == (503, lost) and headers["retry-after"], json.dumps(told)
    assert gateway.ask("GET", "/readyz")[0] == 503
    assert gateway.ask("GET", "/healthz")[0] == 200
    assert gateway.post(events, idempotency_key="k")[0] == 503, "what came to nothing is not what a key is answered with"
