"""The plain loop finds in a real topic what pandas finds in the same transactions, and is gone afterwards."""

import sys
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import psutil

from loadtests.bench.peers.card_rules import alert_id
from loadtests.bench.peers.engine_process import Engine
from loadtests.bench.peers.measurements import Backlog, Site, measure_catch_up, send_all
from loadtests.bench.peers.peer import PEERS
from loadtests.bench.peers.reference import CardJob
from loadtests.bench.peers.transactions import POPULATION, generate_transactions


def alerts_by_pandas(rows, job):
    """The job's rules once more: what only grows by its end, the z-score prefix by prefix with pandas' own mean and deviation."""
    thresholds = job.thresholds
    keys = [rows["card_id"], rows["event_time"].dt.floor(f"{job.window_seconds}s")]
    amounts = rows["amount"].groupby(keys)
    ends = amounts.agg(["count", "max"])
    fills = rows[amounts.transform("count") >= thresholds.least_events]
    so_far = fills["amount"].groupby([key[fills.index] for key in keys]).expanding(thresholds.least_events)
    scores = (so_far.max() - so_far.mean()) / so_far.std(ddof=0)
    windows_by_rule = {
        "velocity": ends.index[ends["count"] >= thresholds.velocity],
        "amount": ends.index[ends["max"] * 100 >= thresholds.amount_cents],
        "zscore": scores[scores >= thresholds.zscore].index.droplevel(2).unique(),
    }
    return {alert_id(rule, card, int(start.timestamp())) for rule, windows in windows_by_rule.items() for card, start in windows}


def commands_below():
    """Of all processes below this one. The Java of another test's Spark has some that are gone within milliseconds."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # a zombie's exception is one of these
            yield " ".join(process.cmdline())


def test_the_loop_finds_what_pandas_finds(broker, tmp_path):
    loop = next(peer for peer in PEERS if peer.name == "loop")
    population = POPULATION.model_copy(update={"cards": 50, "terminals": 100})
    job, transactions = CardJob(), generate_transactions(1, 2_000, population)
    expected_ids = alerts_by_pandas(transactions.columns, job)
    assert len(expected_ids) > 10
    site = Site(broker, tmp_path, partitions=2, checkpoint_seconds=300)
    name = uuid4().hex[:8]
    topic = site.new_topic(f"peers.{name}-events")
    send_all(site, topic, transactions)
    backlog = Backlog(topic, len(transactions), expected_ids)
    catch_up = measure_catch_up(site, Engine(loop, Path(sys.executable)), job, backlog, name)
    assert not catch_up.differences
    assert catch_up.updates >= len(expected_ids)
    assert not [command for command in commands_below() if "loop_job.py" in command]
