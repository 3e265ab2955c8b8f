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
from card_rules import EMPTY_TOTALS, Totals, add_amount, raise_alerts, to_cents, window_start


def build_dataflow(job: dict) -> Dataflow:
    servers = [job["servers"]]
    flow = Dataflow("card_job")
    batch_size = 1_000 if job["low_latency"] else 5_000
    source = KafkaSource(servers, [job["events"]], add_config={"fetch.wait.max.ms": "10"}, batch_size=batch_size)
    messages = op.input("events", flow, source)
    # (card, (card, window start, amount in cents))
    amounts = op.flat_map_batch("amounts", messages, lambda batch: [read_amount(job, message.value) for message in batch])
    # (card, alert as JSON)
    alerts = op.stateful_flat_map("windows", amounts, lambda windows, event: update_windows(job, windows, *event))
    records = op.map("records", alerts, lambda alert: KafkaSinkMessage(alert[0].encode(), alert[1]))
    op.output("alerts", records, KafkaSink(servers, job["alerts"], {"linger.ms": "0" if job["low_latency"] else "5"}))
    return flow


def read_amount(job: dict, value: bytes) -> tuple[str, tuple[str, int, int]]:
    event = orjson.loads(value)
    card = event["card_id"]
    return card, (card, window_start(event["event_time"], job["window_seconds"]), to_cents(event["amount"]))


def update_windows(
    job: dict, windows: dict[int, Totals] | None, card: str, start: int, cents: int
) -> tuple[dict[int, Totals], Iterable[bytes]]:
    """A card's windows with one more event, and the alerts that it raises."""
    windows = windows or {}
    if start not in windows:
        oldest = max(windows, default=start) - job["watermark_seconds"]
        windows = {begin: totals for begin, totals in windows.items() if begin >= oldest}
    windows[start] = add_amount(windows.get(start, EMPTY_TOTALS), cents)
    return windows, [orjson.dumps(alert) for alert in raise_alerts(job, card, start, windows[start])]


def main(job: dict) -> None:
    recovery = Path(job["folder"]) / "recovery"
    if job["index"] == 0:
        incomplete = recovery.with_name("recovery-made")
        incomplete.mkdir(parents=True)
        init_db_dir(incomplete, job["processes"])
        incomplete.rename(recovery)
    while not recovery.exists():
        time.sleep(0.05)
    cli_main(
        build_dataflow(job),
        process_id=job["index"],
        addresses=job["addresses"],
        epoch_interval=timedelta(seconds=job["checkpoint_seconds"]),
        recovery_config=RecoveryConfig(recovery),
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
