"""The card job in Bytewax: a stateful operator keyed by card, with recovery on; one process for each core."""

import json
import sys
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import bytewax.operators as op
import orjson
from bytewax.connectors.kafka import KafkaSink, KafkaSinkMessage, KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.run import cli_main
from card_rules import NOTHING, Totals, added, alerts, cents, window_start


def dataflow(job: dict) -> Dataflow:
    servers = [job["servers"]]
    flow = Dataflow("card_job")
    batch = 1_000 if job["low_latency"] else 5_000
    source = KafkaSource(servers, [job["events"]], add_config={"fetch.wait.max.ms": "10"}, batch_size=batch)
    messages = op.input("events", flow, source)
    # (card, (window start, amount in cents))
    amounts = op.flat_map_batch("amounts", messages, lambda batch: [read(job, message.value) for message in batch])
    # (card, alerts)
    found = op.stateful_flat_map("windows", amounts, lambda windows, each: updated(job, windows, *each))
    records = op.map("records", found, lambda each: KafkaSinkMessage(each[0].encode(), each[1]))
    op.output("alerts", records, KafkaSink(servers, job["alerts"], {"linger.ms": "0" if job["low_latency"] else "5"}))
    return flow


def read(job: dict, value: bytes) -> tuple[str, tuple[str, int, int]]:
    event = orjson.loads(value)
    card = event["card_id"]
    return card, (card, window_start(event["event_time"], job["window_seconds"]), cents(event["amount"]))


def updated(
    job: dict, windows: dict[int, Totals] | None, card: str, start: int, amount: int
) -> tuple[dict[int, Totals], Iterable[bytes]]:
    """A card's windows with one more event, and what that raises."""
    windows = windows or {}
    if start not in windows:
        oldest = max(windows, default=start) - job["watermark_seconds"]
        windows = {begin: totals for begin, totals in windows.items() if begin >= oldest}
    windows[start] = added(windows.get(start, NOTHING), amount)
    return windows, [orjson.dumps(alert) for alert in alerts(job, card, start, windows[start])]


def main(job: dict) -> None:
    recovery = Path(job["folder"]) / "recovery"
    if job["index"] == 0:
        aside = recovery.with_name("recovery-made")
        aside.mkdir(parents=True)
        init_db_dir(aside, job["processes"])
        aside.rename(recovery)
    while not recovery.exists():
        time.sleep(0.05)
    cli_main(
        dataflow(job),
        process_id=job["index"],
        addresses=job["addresses"],
        epoch_interval=timedelta(seconds=job["checkpoint_seconds"]),
        recovery_config=RecoveryConfig(recovery),
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
