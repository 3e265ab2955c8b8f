"""Makes bars of a morning's ticks in a stream, and of the same ticks once more in a batch job."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from pyspark.sql import DataFrame, Row, SparkSession

from examples.producers_consumers.producer import make_topic
from examples.stock_prices.bars import TICK_SCHEMA, minute_bars, parse_ticks, unusual_bars, usual_ranges
from examples.stock_prices.ticks import Tick, day_of_ticks

WATERMARK = "2 minutes"  # how much later than the newest a tick may be
MINUTES = 60
TICKS_PER_BATCH = 120

BAR_COLUMNS = ["symbol", "minute", "open", "high", "low", "close", "volume", "ticks"]
ALERT_SCHEMA = "symbol string, minute timestamp, open double, high double, low double, close double, volume long, ticks long"

Say = Callable[[str], None]
Bar = tuple[str, datetime]


@dataclass
class Outcome:
    """What happened: bars by share and minute, of the stream (those it closed) and of batch; alerts of both; ticks too late."""

    stream_bars: dict[Bar, Row] = field(default_factory=dict)
    batch_bars: dict[Bar, Row] = field(default_factory=dict)
    stream_alerts: list[Bar] = field(default_factory=list)
    batch_alerts: list[Bar] = field(default_factory=list)
    dropped_ticks: int = 0

    @property
    def differences(self) -> list[Bar]:
        """The bars that differ: the stream closed them before all of their ticks had come."""
        return sorted(bar for bar in self.stream_bars if self.stream_bars[bar] != self.batch_bars[bar])


def run_story(spark: SparkSession, servers: str, topic: str, folder: Path, say: Say) -> Outcome:
    """Run the story on a topic that does not exist yet. folder: for tables and checkpoints."""
    outcome = Outcome()
    yesterday = spark.createDataFrame([_tick_row(tick) for tick in day_of_ticks(1, 240, with_jump=False)], TICK_SCHEMA)
    ranges = usual_ranges(minute_bars(yesterday)).persist()
    for row in ranges.orderBy("symbol").collect():
        say(f"usual for {row.symbol:6}: a minute's return of {row.usual:+.5f}, give or take {row.spread:.5f}")

    ticks = day_of_ticks(2, MINUTES, with_jump=True)
    _send_ticks(servers, topic, ticks)
    say(f"{len(ticks)} ticks of {MINUTES} minutes lie on topic {topic}, in the order in which they came")
    outcome.dropped_ticks = _run_stream(spark, servers, topic, ranges, folder)
    outcome.stream_bars = _by_bar(spark.read.parquet(str(folder / "bars")))
    outcome.stream_alerts = sorted(_by_bar(spark.read.schema(ALERT_SCHEMA).parquet(str(folder / "alerts"))))
    say(
        f"the stream has closed {len(outcome.stream_bars)} bars; {outcome.dropped_ticks} ticks came after their bar was closed, "
        "and were left out"
    )

    records = spark.read.format("kafka").options(**{"kafka.bootstrap.servers": servers, "subscribe": topic}).load()
    bars = minute_bars(parse_ticks(records)).persist()
    outcome.batch_bars = _by_bar(bars)
    outcome.batch_alerts = sorted(_by_bar(unusual_bars(bars, ranges)))
    differences = outcome.differences
    say(f"batch has made {len(outcome.batch_bars)} bars of the same ticks; of those that both have, {len(differences)} differ:")
    for bar in differences:
        stream_bars, batch_bars = outcome.stream_bars[bar], outcome.batch_bars[bar]
        say(f"  {bar[0]:6} {bar[1]:%H:%M}  stream {_format_bar(stream_bars)}   batch {_format_bar(batch_bars)}")
    for symbol, minute in outcome.stream_alerts:
        bar = outcome.stream_bars[symbol, minute]
        say(f"alert: {symbol} at {minute:%H:%M} went from {bar.open:.2f} to {bar.close:.2f}")
    return outcome


def _run_stream(spark: SparkSession, servers: str, topic: str, ranges: DataFrame, folder: Path) -> int:
    """Write bars and alerts of the topic's ticks to Parquet, batch by batch; returns how many ticks the watermark left out."""
    options = {
        "kafka.bootstrap.servers": servers,
        "subscribe": topic,
        "startingOffsets": "earliest",
        "maxOffsetsPerTrigger": str(TICKS_PER_BATCH),
    }
    ticks = parse_ticks(spark.readStream.format("kafka").options(**options).load()).withWatermark("time", WATERMARK)

    def write_batch(bars: DataFrame, number: int) -> None:
        """Write the bars that the watermark has closed: each comes here once."""
        bars.persist()
        bars.write.parquet(str(folder / "bars" / f"batch={number}"))
        unusual_bars(bars, ranges).write.parquet(str(folder / "alerts" / f"batch={number}"))
        bars.unpersist()

    query = (
        minute_bars(ticks)
        .writeStream.foreachBatch(write_batch)
        .outputMode("append")
        .option("checkpointLocation", str(folder / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return sum(operator.numRowsDroppedByWatermark for progress in query.recentProgress for operator in progress.stateOperators)


def _by_bar(bars: DataFrame) -> dict[Bar, Row]:
    rows = bars.select(*BAR_COLUMNS).collect()
    return {(row.symbol, row.minute): row for row in rows}


def _tick_row(tick: Tick) -> tuple[Any, ...]:
    return tick.tick_id, tick.symbol, tick.price, tick.size, tick.time


def _format_bar(bar: Row) -> str:
    return f"{bar.open:.2f} {bar.high:.2f} {bar.low:.2f} {bar.close:.2f} of {bar.ticks} ticks"


def _send_ticks(servers: str, topic: str, ticks: list[Tick]) -> None:
    # One partition, so that this story is the same each time: of several partitions the one that is read ahead of the others
    # moves the watermark, and which ticks are late depends on that.
    make_topic(servers, topic, partitions=1)
    producer = Producer({"bootstrap.servers": servers, "acks": "all"})
    for tick in ticks:
        producer.produce(topic, tick.as_json, key=tick.symbol.encode())
    if producer.flush(30):
        raise RuntimeError("not all ticks were acknowledged within 30 s")
