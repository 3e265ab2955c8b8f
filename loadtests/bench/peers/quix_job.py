"""The card job in Quix Streams: its tumbling window, an update at every event, state in RocksDB with a changelog topic."""

import json
import sys
from datetime import datetime
from typing import Any

import orjson
from card_rules import raise_alerts, to_cents
from quixstreams import Application
from quixstreams.dataframe.windows import Count, Max, Sum


def main(job: dict) -> None:
    application = Application(
        job["servers"],
        consumer_group=job["group"],
        auto_offset_reset="earliest",
        state_dir=job["folder"],
        commit_interval=job["checkpoint_seconds"],
        producer_extra_config={"linger.ms": 0 if job["low_latency"] else 5},
        consumer_extra_config={"fetch.wait.max.ms": 10},
        loglevel="INFO",
    )
    events = application.topic(
        job["events"], key_deserializer="str", value_deserializer="bytes", timestamp_extractor=read_milliseconds
    )
    alerts = application.topic(job["alerts"], key_serializer="str", value_serializer="bytes")
    (
        application.dataframe(events)
        .apply(read_amounts)
        .tumbling_window(job["window_seconds"] * 1000, grace_ms=job["watermark_seconds"] * 1000)
        .agg(count=Count(), total=Sum("cents"), squares=Sum("squares"), largest=Max("cents"))
        .current()
        .apply(lambda window, card, *_: judge_window(job, card, window), expand=True, metadata=True)
        .to_topic(alerts)
    )
    application.run()


def read_milliseconds(value: bytes, *_: Any) -> int:
    return int(datetime.fromisoformat(orjson.loads(value)["event_time"]).timestamp() * 1000)


def read_amounts(value: bytes) -> dict[str, int]:
    cents = to_cents(orjson.loads(value)["amount"])
    return {"cents": cents, "squares": cents * cents}


def judge_window(job: dict, card: str, window: dict) -> list[bytes]:
    """The window's alerts as JSON."""
    totals = (window["count"], window["total"], window["squares"], window["largest"])
    return [orjson.dumps(alert) for alert in raise_alerts(job, card, window["start"] // 1000, totals)]


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
