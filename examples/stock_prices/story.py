"""A morning's ticks as a stream, and the same ticks once more as a batch job."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from pyspark.sql import DataFrame, Row, SparkSession

from examples.producers_consumers.producer import make_topic
from examples.stock_prices.bars import minute_bars, parse_ticks, unusual_bars, usual_ranges
from examples.stock_prices.ticks import Tick, day_of_ticks

WATERMARK = "2 minutes"  # how much later than the newest a tick may be
MINUTES = 60
TICKS_A_BATCH = 120

Say = Callable[[str], None]
Bar = tuple[str, datetime]


@dataclass
class Told:
    """Bars by share and minute, of the stream (those it closed) and of batch; alerts of both; how many ticks were too late."""

    stream: dict[Bar, Row] = field(default_factory=dict)
    batch: dict[Bar, Row] = field(default_factory=dict)
    stream_alerts: list[Bar] = field(default_factory=list)
    batch_alerts: list[Bar] = field(default_factory=list)
    dropped: int = 0

    @property
    def differing(self) -> list[Bar]:
        """Bars that the stream closed before a tick of theirs came."""
        return sorted(bar for bar in self.stream if self.stream[bar] != self.batch[bar])


def tell(spark: SparkSession, servers: str, topic: str, folder: Path, say: Say) -> Told:
    """Run the story on a topic that is not there yet. folder: for tables and checkpoints."""
    told = Told()
    yesterday = spark.createDataFrame([_row(tick) for tick in day_of_ticks(1, 240, with_jump=False)], _COLUMNS)
    ranges = usual_ranges(minute_bars(yesterday)).persist()
    for row in ranges.orderBy("symbol").collect():
        say(f"usual for {row.symbol:6}: a minute's return of {row.usual:+.5f}, give or take {row.spread:.5f}")

    ticks = day_of_ticks(2, MINUTES, with_jump=True)
    _send(servers, topic, ticks)
    say(f"{len(ticks)} ticks of {MINUTES} minutes lie on topic {topic}, in the order in which they came")
    told.dropped = _stream(spark, servers, topic, ranges, folder)
    told.stream = _by_bar(spark.read.parquet(str(folder / "bars")))
    told.stream_alerts = sorted(_by_bar(spark.read.schema(_ALERTS).parquet(str(folder / "alerts"))))
    say(f"the stream has closed {len(told.stream)} bars; {told.dropped} ticks came after their bar was closed, and were left out")

    records = spark.read.format("kafka").options(**{"kafka.bootstrap.servers": servers, "subscribe": topic}).load()
    bars = minute_bars(parse_ticks(records)).persist()
    told.batch = _by_bar(bars)
    told.batch_alerts = sorted(_by_bar(unusual_bars(bars, ranges)))
    say(f"batch has made {len(told.batch)} bars of the same ticks; of those that both have, {len(told.differing)} differ:")
    for bar in told.differing:
        stream, batch = told.stream[bar], told.batch[bar]
        say(f"  {bar[0]:6} {bar[1]:%H:%M}  stream {_line(stream)}   batch {_line(batch)}")
    for symbol, minute in told.stream_alerts:
        bar = told.stream[symbol, minute]
        say(f"alert: {symbol} at {minute:%H:%M} went from {bar.open:.2f} to {bar.close:.2f}")
    return told


def _stream(spark: SparkSession, servers: str, topic: str, ranges: DataFrame, folder: Path) -> int:
    """Bars and alerts of what lies on the topic, batch by batch, to Parquet; how many ticks the watermark left out."""
    options = {"kafka.bootstrap.servers": servers, "subscribe": topic, "startingOffsets": "earliest",
               "maxOffsetsPerTrigger": str(TICKS_A_BATCH)}
    ticks = parse_ticks(spark.readStream.format("kafka").options(**options).load()).withWatermark("time", WATERMARK)

    def keep(bars: DataFrame, number: int) -> None:
        """A bar comes here once, when the watermark has passed its minute."""
        bars.persist()
        bars.write.parquet(str(folder / "bars" / f"batch={number}"))
        unusual_bars(bars, ranges).write.parquet(str(folder / "alerts" / f"batch={number}"))
        bars.unpersist()

    query = (
        minute_bars(ticks)
        .writeStream.foreachBatch(keep)
        .outputMode("append")
        .option("checkpointLocation", str(folder / "checkpoint"))
        .trigger(availableNow=True)
        .start()
    )
    query.awaitTermination()
    return sum(operator.numRowsDroppedByWatermark for progress in query.recentProgress for operator in progress.stateOperators)


def _by_bar(bars: DataFrame) -> dict[Bar, Row]:
    rows = bars.select(*_BAR).collect()
    return {(row.symbol, row.minute): row for row in rows}


_BAR = ["symbol", "minute", "open", "high", "low", "close", "volume", "ticks"]
_ALERTS = "symbol string, minute timestamp, open double, high double, low double, close double, volume long, ticks long"
_COLUMNS = "tick_id string, symbol string, price double, size long, time timestamp"


def _row(tick: Tick) -> tuple[Any, ...]:
    return tick.tick_id, tick.symbol, tick.price, tick.size, tick.time


def _line(bar: Row) -> str:
    return f"{bar.open:.2f} {bar.high:.2f} {bar.low:.2f} {bar.close:.2f} of {bar.ticks} ticks"


def _send(servers: str, topic: str, ticks: list[Tick]) -> None:
    # One partition: so that this story is the same each time. With several, a partition that is read ahead of the others moves
    # the watermark, and what is late depends on that.
    make_topic(servers, topic, partitions=1)
    producer = Producer({"bootstrap.servers": servers, "acks": "all"})
    for tick in ticks:
        producer.produce(topic, tick.as_json, key=tick.symbol.encode())
    if producer.flush(30):
        raise RuntimeError("not all ticks were acknowledged within 30 s")
