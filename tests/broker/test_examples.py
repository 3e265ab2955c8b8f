"""The examples, each run and compared with what is known of it."""

import runpy
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from examples import databricks
from examples.dstreams import story as dstreams
from examples.dstreams.legacy import level_of
from examples.dstreams.lines import SECONDS, WINDOW, lines_of
from examples.flume import story as flume
from examples.flume.lines import event_of, id_of
from examples.log_levels import story as log_levels
from examples.producers_consumers import story as producers_consumers
from examples.stock_prices import story as stock_prices
from examples.stock_prices import ticks
from examples.ticket_sales import story as ticket_sales
from examples.ticket_sales.tickets import CAPACITY, GRANTED, REFUSED, Request, Stock

pytestmark = pytest.mark.broker


@pytest.fixture
def said():
    return []


def test_producers_consumers(broker, vertical_name, said):
    told = producers_consumers.tell(broker.bootstrap_servers, vertical_name, said.append)
    bought = [*producers_consumers.MORNING, *producers_consumers.NOON, *producers_consumers.EVENING]
    assert sorted(order for order, _ in told.sent) == sorted(bought)
    for customer in producers_consumers.CUSTOMERS:
        partitions = {place.partition for order, place in told.sent if order.customer == customer}
        assert len(partitions) == 1, "all of one key lie in one partition"
    by_partition = Counter(place.partition for _, place in told.sent)
    in_order = {(partition, offset) for partition, count in by_partition.items() for offset in range(count)}
    assert {place for _, place in told.sent} == in_order

    assert told.alone == told.left == {0, 1, 2}, "whoever is alone in a group has all partitions"
    assert all(told.shared) and not set.intersection(*told.shared) and set.union(*told.shared) == {0, 1, 2}
    read = [each for reader in told.kitchen.values() for each in reader]
    assert sorted(read) == sorted(told.sent), "the group's readers have read each order once, together"
    assert sorted(order for order, _ in told.kitchen["reader 3"]) == sorted(producers_consumers.EVENING)
    assert {place.partition for _, place in told.kitchen["reader 2"]} <= told.shared[1]
    assert sorted(told.audit) == sorted(told.sent), "another group reads all for itself"
    for reader in (*told.kitchen.values(), told.audit):
        for (_, before), (_, after) in pairwise(sorted(reader, key=lambda each: each[1].partition)):
            assert before.partition < after.partition or before.offset < after.offset, "in order within a partition"
    assert any(line.startswith("reader 1 gives back partitions") for line in said)


@pytest.mark.timeout(300)
def test_log_levels(spark, broker, vertical_name, tmp_path, said):
    told = log_levels.tell(spark, broker.bootstrap_servers, vertical_name, tmp_path, said.append)
    # 198 lines of eight levels in turn: 24 rounds, and six more.
    known = {"INFO": 24 * 4 + 4, "DEBUG": 24 * 2 + 1, "WARN": 24 + 1, "ERROR": 24, "UNREADABLE": 2}
    assert told.batch == told.stream == told.real_time == known
    assert len(told.seconds) == 3 and told.seconds["real-time mode"] < told.seconds["micro-batches"], told.seconds


@pytest.mark.timeout(300)
def test_stock_prices(spark, broker, vertical_name, tmp_path, said):
    told = stock_prices.tell(spark, broker.bootstrap_servers, vertical_name, tmp_path, said.append)
    sent = ticks.day_of_ticks(2, stock_prices.MINUTES, with_jump=True)
    expected = {}
    for tick in sorted(sent, key=lambda tick: tick.time):
        minute = tick.time.replace(second=0, microsecond=0, tzinfo=None)
        expected.setdefault((tick.symbol, minute), []).append(tick)
    assert {bar: (row.open, row.high, row.low, row.close, row.volume, row.ticks) for bar, row in told.batch.items()} == {
        bar: (own[0].price, max(each.price for each in own), min(each.price for each in own), own[-1].price,
              sum(each.size for each in own), len(own))
        for bar, own in expected.items()}

    # By hand, batch by batch: what a batch brings closes minutes at the end of the next one, and is left out of those after that.
    left_out, closed, watermark = [], *[datetime.min.replace(tzinfo=UTC)] * 2
    for first in range(0, len(sent), stock_prices.TICKS_A_BATCH):
        batch = sent[first : first + stock_prices.TICKS_A_BATCH]
        left_out += [tick for tick in batch if tick.time.replace(second=0, microsecond=0) + timedelta(minutes=1) <= closed]
        closed, watermark = watermark, max(watermark, max(tick.time for tick in batch) - timedelta(minutes=2))
    assert {tick.arrives - tick.time for tick in left_out} == {ticks.TOO_LATE}, "none that was only slightly late"
    assert told.dropped == len(left_out) > 0 and set(told.stream) <= set(told.batch)
    lacking = {(tick.symbol, tick.time.replace(second=0, microsecond=0, tzinfo=None)) for tick in left_out}
    assert told.differing == sorted(lacking)
    end = max(minute for _, minute in told.batch)
    assert len(told.stream) >= 3 * (stock_prices.MINUTES - 4) and end == datetime(2026, 3, 2, 10, 29)
    jump = (ticks.OPENING + timedelta(minutes=ticks.JUMP_MINUTE)).replace(tzinfo=None)
    assert told.stream_alerts == told.batch_alerts == [(ticks.JUMP_SYMBOL, jump)]


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:DStream:FutureWarning")
def test_dstreams(spark, tmp_path, said):
    told = dstreams.tell(spark, tmp_path, said.append)
    by_second = [Counter(level_of(line) for line in lines_of(second)) for second in range(SECONDS)]
    windows = [sum(by_second[max(0, second - WINDOW + 1) : second + 1], Counter()) for second in range(SECONDS)]
    assert told.legacy_windows == told.structured_windows == windows
    assert told.legacy_total == told.legacy_socket == told.structured_total == sum(by_second, Counter())
    assert not [line for line in said if "but DStreams" in line]


@pytest.mark.timeout(300)
def test_ticket_sales(spark, broker, vertical_name, tmp_path, said):
    told = ticket_sales.tell(spark, broker.bootstrap_servers, vertical_name, tmp_path, said.append)
    assert told.kills == ticket_sales.KILLS
    assert sorted(each.request_id for each in told.answers) == sorted(each.request_id for each in told.requests), "each once"
    wanted = {each.request_id: each for each in told.requests}
    for show, capacity in CAPACITY.items():
        answers = [each for each in told.answers if each.show == show]
        left = capacity
        for each in answers:  # in the order of their partition
            assert (each.status == GRANTED) == (each.seats <= left) and each.seats == wanted[each.request_id].seats
            left -= each.seats if each.status == GRANTED else 0
            assert each.left == left >= 0
        row = told.stock[show]
        assert (row.sold, row.left, row.is_oversold, row.is_miscounted) == (capacity - left, left, False, False)
        assert told.live[show] == row, "the stream and the batch job are one function"
        assert row.refused == sum(each.status == REFUSED for each in answers)
    assert {show for show, row in told.stock.items() if row.left == 0} >= {"opera", "final", "comedy"}, "there was a rush"
    assert told.stock["ballet"].left > 0 and 1 < told.stock["ballet"].lasts_seconds < 1_000


def test_a_seller_sells_no_seat_twice_whatever_is_asked_for():
    stock = Stock()
    granted = 0
    for number, seats in enumerate([4] * 74 + [5, -3, 0, 10**9, 3, 1]):
        answer = stock.decide(Request(f"r{number}", "comedy", seats, 0))
        granted += seats if answer.status == GRANTED else 0
        assert answer.left == CAPACITY["comedy"] - granted >= 0
    assert granted == CAPACITY["comedy"]
    assert stock.decide(Request("x", "no such show", 1, 0)).status == REFUSED


@pytest.mark.timeout(300)
def test_flume(spark, broker, vertical_name, tmp_path, said):
    told = flume.tell(spark, broker.bootstrap_servers, vertical_name, tmp_path, said.append)
    assert set(told.came) == set(told.written) and len(told.written) == flume.LINES, "nothing is lost, nothing is made up"
    assert told.repeats == len(told.came) - flume.LINES
    assert told.levels == flume.levels_written(told.written)
    assert told.payments == told.accepted == sum(b"till" in line for line in told.written) == flume.LINES // 5
    assert event_of(b"no JSON") == b"no JSON" and event_of(b"[1]") == b"[1]"


def test_what_nobody_noted_as_sent_is_sent_again_and_known_by_its_id():
    line = b'{"level": "INFO", "message": "line 1"}'
    assert id_of(line) == id_of(bytes(line)) != id_of(line + b" ") and len(id_of(line)) == 32


@pytest.mark.timeout(300)
def test_databricks(spark, capsys):
    """The notebook is run as it is; what its cells leave is looked at."""
    left = runpy.run_module("examples.databricks.card_fraud", {"spark": spark, "display": lambda frame: frame.limit(3).collect()})
    batch = {(row.alert_id, row.score) for row in left["batch_alerts"].collect()}
    assert batch == {(row.alert_id, row.score) for row in left["stream_alerts"].collect()} and len(batch) > 20
    assert (left["only_one"], left["only_other"]) == (0, 0)
    rules = {row.rule: row for row in left["precision"].collect()}
    assert set(rules) == {"amount_outlier", "unseen_region", "terminal_risk"}
    assert all(row.precision > 0.2 for row in rules.values()), "far above the share of frauds"
    assert sum(row.found for row in left["recall"].collect()) > 0
    source = (Path(databricks.__file__).parent / "card_fraud.py").read_text()
    assert source.startswith("# Databricks notebook source\n") and source.count("# COMMAND ----------") >= 10
