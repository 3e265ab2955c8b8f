"""The examples, each run and compared with its known answer."""

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
def lines():
    return []


def test_producers_consumers(broker, vertical_name, lines):
    outcome = producers_consumers.run_story(broker.bootstrap_servers, vertical_name, lines.append)
    bought = [*producers_consumers.MORNING, *producers_consumers.NOON, *producers_consumers.EVENING]
    assert sorted(order for order, _ in outcome.sent_orders) == sorted(bought)
    for customer in producers_consumers.CUSTOMERS:
        partitions = {place.partition for order, place in outcome.sent_orders if order.customer == customer}
        assert len(partitions) == 1, "all of one key lie in one partition"
    by_partition = Counter(place.partition for _, place in outcome.sent_orders)
    in_order = {(partition, offset) for partition, count in by_partition.items() for offset in range(count)}
    assert {place for _, place in outcome.sent_orders} == in_order

    assert outcome.partitions_alone == outcome.partitions_after_leave == {0, 1, 2}, (
        "whoever is alone in a group has all partitions"
    )
    assert (
        all(outcome.partitions_shared)
        and not set.intersection(*outcome.partitions_shared)
        and set.union(*outcome.partitions_shared) == {0, 1, 2}
    )
    orders = [order for reader in outcome.kitchen_orders.values() for order in reader]
    assert sorted(orders) == sorted(outcome.sent_orders), "the group's readers have read each order once, together"
    assert sorted(order for order, _ in outcome.kitchen_orders["reader 3"]) == sorted(producers_consumers.EVENING)
    assert {place.partition for _, place in outcome.kitchen_orders["reader 2"]} <= outcome.partitions_shared[1]
    assert sorted(outcome.audit_orders) == sorted(outcome.sent_orders), "another group reads all for itself"
    for reader in (*outcome.kitchen_orders.values(), outcome.audit_orders):
        for (_, before), (_, after) in pairwise(sorted(reader, key=lambda order: order[1].partition)):
            assert before.partition < after.partition or before.offset < after.offset, "in order within a partition"
    assert any(line.startswith("reader 1 gives back partitions") for line in lines)


@pytest.mark.timeout(300)
def test_log_levels(spark, broker, vertical_name, tmp_path, lines):
    outcome = log_levels.run_story(spark, broker.bootstrap_servers, vertical_name, tmp_path, lines.append)
    # 198 lines of eight levels in turn: 24 rounds, and six more.
    known = {"INFO": 24 * 4 + 4, "DEBUG": 24 * 2 + 1, "WARN": 24 + 1, "ERROR": 24, "UNREADABLE": 2}
    assert outcome.batch == outcome.stream == outcome.real_time == known
    assert len(outcome.seconds) == 3 and outcome.seconds["real-time mode"] < outcome.seconds["micro-batches"], outcome.seconds


@pytest.mark.timeout(300)
def test_stock_prices(spark, broker, vertical_name, tmp_path, lines):
    outcome = stock_prices.run_story(spark, broker.bootstrap_servers, vertical_name, tmp_path, lines.append)
    sent = ticks.day_of_ticks(2, stock_prices.MINUTES, with_jump=True)
    expected = {}
    for tick in sorted(sent, key=lambda tick: tick.time):
        minute = tick.time.replace(second=0, microsecond=0, tzinfo=None)
        expected.setdefault((tick.symbol, minute), []).append(tick)
    assert {bar: (row.open, row.high, row.low, row.close, row.volume, row.ticks) for bar, row in outcome.batch_bars.items()} == {
        bar: (
            own[0].price,
            max(tick.price for tick in own),
            min(tick.price for tick in own),
            own[-1].price,
            sum(tick.size for tick in own),
            len(own),
        )
        for bar, own in expected.items()
    }

    # By hand, batch by batch: what a batch brings closes minutes at the end of the next one, and is left out of those after that.
    left_out, closed, watermark = [], *[datetime.min.replace(tzinfo=UTC)] * 2
    for first in range(0, len(sent), stock_prices.TICKS_PER_BATCH):
        batch_bars = sent[first : first + stock_prices.TICKS_PER_BATCH]
        left_out += [tick for tick in batch_bars if tick.time.replace(second=0, microsecond=0) + timedelta(minutes=1) <= closed]
        closed, watermark = watermark, max(watermark, max(tick.time for tick in batch_bars) - timedelta(minutes=2))
    assert {tick.arrival_time - tick.time for tick in left_out} == {ticks.TOO_LATE}, "none that was only slightly late"
    assert outcome.dropped_ticks == len(left_out) > 0 and set(outcome.stream_bars) <= set(outcome.batch_bars)
    lacking = {(tick.symbol, tick.time.replace(second=0, microsecond=0, tzinfo=None)) for tick in left_out}
    assert outcome.differences == sorted(lacking)
    end = max(minute for _, minute in outcome.batch_bars)
    assert len(outcome.stream_bars) >= 3 * (stock_prices.MINUTES - 4) and end == datetime(2026, 3, 2, 10, 29)
    jump = (ticks.OPENING + timedelta(minutes=ticks.JUMP_MINUTE)).replace(tzinfo=None)
    assert outcome.stream_alerts == outcome.batch_alerts == [(ticks.JUMP_SYMBOL, jump)]


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:DStream:FutureWarning")
def test_dstreams(spark, tmp_path, lines):
    outcome = dstreams.run_story(spark, tmp_path, lines.append)
    by_second = [Counter(level_of(line) for line in lines_of(second)) for second in range(SECONDS)]
    windows = [sum(by_second[max(0, second - WINDOW + 1) : second + 1], Counter()) for second in range(SECONDS)]
    assert outcome.legacy_windows == outcome.structured_windows == windows
    assert outcome.legacy_total == outcome.legacy_socket == outcome.structured_total == sum(by_second, Counter())
    assert not [line for line in lines if "but DStreams" in line]


@pytest.mark.timeout(300)
def test_ticket_sales(spark, broker, vertical_name, tmp_path, lines):
    outcome = ticket_sales.run_story(spark, broker.bootstrap_servers, vertical_name, tmp_path, lines.append)
    assert outcome.kills == ticket_sales.KILLS
    request_ids = sorted(request.request_id for request in outcome.requests)
    assert sorted(answer.request_id for answer in outcome.answers) == request_ids, "each once"
    requests = {request.request_id: request for request in outcome.requests}
    for show, capacity in CAPACITY.items():
        answers = [answer for answer in outcome.answers if answer.show == show]
        free_seats = capacity
        for answer in answers:  # in the order of their partition
            assert (answer.status == GRANTED) == (answer.seats <= free_seats)
            assert answer.seats == requests[answer.request_id].seats
            free_seats -= answer.seats if answer.status == GRANTED else 0
            assert answer.free_seats == free_seats >= 0
        row = outcome.final_stock[show]
        assert (row.sold, row.free_seats, row.is_oversold, row.is_miscounted) == (capacity - free_seats, free_seats, False, False)
        assert outcome.live_stock[show] == row, "the stream and the batch job are one function"
        assert row.refused == sum(answer.status == REFUSED for answer in answers)
    sold_out = {show for show, row in outcome.final_stock.items() if row.free_seats == 0}
    assert sold_out >= {"opera", "final", "comedy"}, "there was a rush"
    assert outcome.final_stock["ballet"].free_seats > 0 and 1 < outcome.final_stock["ballet"].lasts_seconds < 1_000


def test_a_seller_sells_no_seat_twice_whatever_is_asked_for():
    stock = Stock()
    granted = 0
    for number, seats in enumerate([4] * 74 + [5, -3, 0, 10**9, 3, 1]):
        answer = stock.decide(Request(f"r{number}", "comedy", seats, 0))
        granted += seats if answer.status == GRANTED else 0
        assert answer.free_seats == CAPACITY["comedy"] - granted >= 0
    assert granted == CAPACITY["comedy"]
    assert stock.decide(Request("x", "no such show", 1, 0)).status == REFUSED


@pytest.mark.timeout(300)
def test_flume(spark, broker, vertical_name, tmp_path, lines):
    outcome = flume.run_story(spark, broker.bootstrap_servers, vertical_name, tmp_path, lines.append)
    assert len(outcome.written_lines) == flume.LINES
    assert set(outcome.received_lines) == set(outcome.written_lines), "nothing is lost, nothing is made up"
    assert outcome.repeats == len(outcome.received_lines) - flume.LINES
    assert outcome.levels == flume.count_levels_by_hand(outcome.written_lines)
    payments = sum(b"till" in line for line in outcome.written_lines)
    assert outcome.payments == outcome.valid_payments == payments == flume.LINES // 5
    assert event_of(b"no JSON") == b"no JSON" and event_of(b"[1]") == b"[1]"


def test_a_line_that_is_sent_again_has_the_same_id():
    line = b'{"level": "INFO", "message": "line 1"}'
    assert id_of(line) == id_of(bytes(line)) != id_of(line + b" ") and len(id_of(line)) == 32


@pytest.mark.timeout(300)
def test_databricks(spark, capsys):
    """The notebook is run unchanged, and the variables of its cells are checked."""
    databricks_globals = {"spark": spark, "display": lambda frame: frame.limit(3).collect()}
    variables = runpy.run_module("examples.databricks.card_fraud", databricks_globals)
    batch = {(row.alert_id, row.score) for row in variables["batch_alerts"].collect()}
    assert batch == {(row.alert_id, row.score) for row in variables["stream_alerts"].collect()} and len(batch) > 20
    assert (variables["only_in_batch"], variables["only_in_stream"]) == (0, 0)
    rules = {row.rule: row for row in variables["precision"].collect()}
    assert set(rules) == {"amount_outlier", "unseen_region", "terminal_risk"}
    assert all(row.precision > 0.2 for row in rules.values()), "far above the share of frauds"
    assert sum(row.found for row in variables["recall"].collect()) > 0
    source = (Path(databricks.__file__).parent / "card_fraud.py").read_text()
    assert source.startswith("# Databricks notebook source\n") and source.count("# COMMAND ----------") >= 10
