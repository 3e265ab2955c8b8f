"""Writes a shop's log files, and kills the agent that sends their lines to Kafka while it does."""

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka.admin import AdminClient
from pyspark.sql import SparkSession

from common import contract
from common.installed import find_vertical
from common.kafka.connection import Connection
from common.kafka.reader import read_all
from common.kafka.topics import create_topics
from examples.flume.agent import start_agent
from examples.flume.lines import event_of, id_of
from examples.log_levels.levels import count_levels

LINES, KILL_AT_LINE = 3_000, 1_400
LEVELS = ("INFO", "INFO", "DEBUG", "WARN", "INFO", "ERROR")
MAX_WAIT_SECONDS = 120.0

Say = Callable[[str], None]


@dataclass
class Outcome:
    """What happened: the lines as they were written, and as they came to the topic; the shop's levels, each line counted once.

    payments: different ones that the tills wrote; valid_payments: those of them that are valid events of finance_fraud.
    """

    written_lines: list[bytes] = field(default_factory=list)
    received_lines: list[bytes] = field(default_factory=list)
    levels: dict[str, int] = field(default_factory=dict)
    payments: int = 0
    valid_payments: int = 0

    @property
    def repeats(self) -> int:
        """How many lines came again, recognised by their ids."""
        return len(self.received_lines) - len({id_of(line) for line in self.received_lines})


def run_story(spark: SparkSession, servers: str, topic: str, folder: Path, say: Say) -> Outcome:
    """Run the story on topics that do not exist yet. folder: for the logs, and for the agent's files."""
    outcome = Outcome()
    logs, connection = folder / "logs", Connection(servers)
    logs.mkdir()
    create_topics(AdminClient(connection.client_options()), connection, [topic], 1)
    agent = start_agent(folder / "agent", logs, servers, topic)
    try:
        say(f"an agent follows {logs}/*.log; a shop and its tills write there:")
        with (logs / "shop.log").open("ab") as shop, (logs / "tills.log").open("ab") as tills:
            for number in range(LINES):
                line = _make_line(number)
                file = tills if b"till" in line else shop
                file.write(line + b"\n")
                file.flush()
                outcome.written_lines.append(line)
                if number == KILL_AT_LINE:
                    _wait_for_lines(connection, topic, 1)
                    say(f"after {number + 1:,} lines the agent is killed, and started again; the shop goes on writing")
                    agent.kill()
                    agent.stop()
                    agent = start_agent(folder / "agent", logs, servers, topic)
                if number % 10 == 0:
                    time.sleep(0.005)
        deadline = time.monotonic() + MAX_WAIT_SECONDS
        while (received_count := len(set(outcome.received_lines))) < LINES:
            if time.monotonic() > deadline or agent.exit_status() is not None:
                raise TimeoutError(f"{received_count:,} of {LINES:,} lines came: see {folder}/agent/agent.log")
            time.sleep(0.5)
            outcome.received_lines = [record.value or b"" for record in read_all(connection, topic)]
    finally:
        agent.stop()
    say(
        f"{len(outcome.written_lines):,} lines were written, {len(outcome.received_lines):,} came: none is missing, "
        f"{outcome.repeats:,} came twice, which their ids say"
    )

    line_by_id = {id_of(line): line for line in outcome.received_lines}
    shop_lines = spark.createDataFrame([(line.decode(),) for line in line_by_id.values() if b"level" in line], "value string")
    outcome.levels = {row.level: row["count"] for row in count_levels(shop_lines).collect()}
    counts = ", ".join(f"{level} {count}" for level, count in sorted(outcome.levels.items()))
    say(f"the shop's lines by level, as log_levels counts them: {counts}")

    finance = find_vertical("finance_fraud")
    events = [event_of(line) for line in outcome.received_lines if b"till" in line]
    outcome.payments = len(set(events))
    rows = [(b"k", event, "tills", 0, number) for number, event in enumerate(events)]
    records = spark.createDataFrame(rows, "key binary, value binary, topic string, partition int, offset long")
    valid = contract.valid_events(records.selectExpr("*", "current_timestamp() AS timestamp"), finance, bounds=None)
    outcome.valid_payments = valid.select("transaction_id").distinct().count()
    say(
        f"the tills' lines, mapped to events of finance_fraud: {outcome.valid_payments:,} of {outcome.payments:,} are valid, "
        "each once"
    )
    return outcome


def _make_line(number: int) -> bytes:
    """The line of that number: four of five are the shop's own log, the fifth is a till's."""
    if number % 5 == 4:
        timestamp = f"2026-03-02T{9 + number // 600:02}:{number // 10 % 60:02}:{number % 60:02}.000Z"
        payment = {
            "at": timestamp,
            "till": f"t{number % 7}",
            "card": f"c{number % 90}",
            "amount": 5.0 + number % 40,
            "currency": "EUR",
        }
        return json.dumps(payment | {"number": number}).encode()
    return json.dumps({"level": LEVELS[number % 6], "message": f"line {number}"}).encode()


def count_levels_by_hand(lines: list[bytes]) -> Counter[str]:
    """The shop's levels by hand, for comparison."""
    return Counter(json.loads(line)["level"] for line in lines if b"level" in line)


def _wait_for_lines(connection: Connection, topic: str, lines: int) -> None:
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    while len(read_all(connection, topic)) < lines:
        if time.monotonic() > deadline:
            raise TimeoutError(f"no line came within {MAX_WAIT_SECONDS:g} s")
        time.sleep(0.2)
