"""The plain loop finds in a real topic what pandas finds in the same transactions, and is gone afterwards."""

import sys
from pathlib import Path
from uuid import uuid4

import pandas as pd
import psutil

from common.bench.peers.card_rules import alert_id
from common.bench.peers.measuring import Site, catch_up, send_all
from common.bench.peers.peer import PEERS
from common.bench.peers.reference import CardJob
from common.bench.peers.running import Ready
from common.bench.peers.transactions import POPULATION, transactions


def in_pandas(rows, job):
    """The job's rules once more, window by window and prefix by prefix, with pandas' own mean and deviation."""
    limits, found = job.thresholds, set()
    starts = rows["event_time"].dt.floor(f"{job.window_seconds}s")
    for (card, start), window in rows.groupby(["card_id", starts])["amount"]:
        so_far = window.expanding()
        scores = pd.DataFrame({"count": so_far.count(), "largest": so_far.max()})
        scores["zscore"] = (so_far.max() - so_far.mean()) / so_far.std(ddof=0)
        hits = {
            "velocity": scores["count"] >= limits.velocity,
            "amount": scores["largest"] * 100 >= limits.amount_cents,
            "zscore": (scores["count"] >= limits.least_events) & (scores["zscore"] >= limits.zscore),
        }
        found |= {alert_id(rule, card, int(start.timestamp())) for rule, hit in hits.items() if hit.any()}
    return found


def test_the_loop_finds_what_pandas_finds(broker, tmp_path):
    loop = next(peer for peer in PEERS if peer.name == "loop")
    job, sent = CardJob(), transactions(1, 2_000, POPULATION.model_copy(update={"cards": 50, "terminals": 100}))
    expected = in_pandas(sent.columns, job)
    assert len(expected) > 10
    site = Site(broker, tmp_path)
    name = uuid4().hex[:8]
    topic = site.new_topic(f"peers.{name}-events")
    send_all(site, topic, sent)
    caught = catch_up(site, Ready(loop, Path(sys.executable)), job, topic, len(sent), expected, name)
    assert not caught.differences
    assert caught.updates >= len(expected)
    assert not [each for each in psutil.Process().children(recursive=True) if "loop_job.py" in " ".join(each.cmdline())]
