"""The card job in Flink SQL: an OVER window of processing order, with a row at every event; checkpoints, state on the heap."""

import json
import sys

from pyflink.common import Configuration
from pyflink.table import EnvironmentSettings, TableEnvironment

EVENTS = """
CREATE TABLE events (
  card_id STRING, amount DOUBLE, event_time TIMESTAMP_LTZ(3), arrived AS PROCTIME()
) WITH (
  'connector' = 'kafka', 'topic' = '{events}', 'properties.bootstrap.servers' = '{servers}',
  'properties.group.id' = '{group}', 'scan.startup.mode' = 'earliest-offset', 'properties.fetch.max.wait.ms' = '10',
  'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601', 'json.ignore-parse-errors' = 'true'
)
"""

ALERTS = """
CREATE TABLE alerts (
  alert_id STRING, rule STRING, entity_id STRING, window_start BIGINT, score DOUBLE, `count` BIGINT, mean DOUBLE, deviation DOUBLE
) WITH (
  'connector' = 'kafka', 'topic' = '{alerts}', 'properties.bootstrap.servers' = '{servers}',
  'key.format' = 'raw', 'key.fields' = 'entity_id', 'value.format' = 'json',
  'sink.delivery-guarantee' = 'at-least-once', 'properties.linger.ms' = '{linger}'
)
"""

WINDOWS = """
CREATE TEMPORARY VIEW windows AS
SELECT card_id, window_start,
  COUNT(*) OVER so_far AS n, SUM(cents) OVER so_far AS total, SUM(cents * cents) OVER so_far AS squares,
  MAX(cents) OVER so_far AS largest
FROM (
  SELECT card_id, arrived, CAST(amount * 100 + 0.5 AS BIGINT) AS cents, seconds - MOD(seconds, {window_seconds}) AS window_start
  FROM (
    SELECT card_id, arrived, amount,
      CAST(TIMESTAMPDIFF(SECOND, TIMESTAMP '1970-01-01 00:00:00', CAST(event_time AS TIMESTAMP(3))) AS BIGINT) AS seconds
    FROM events
  )
)
WINDOW so_far AS (PARTITION BY card_id, window_start ORDER BY arrived ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW)
"""

SCORES = """
CREATE TEMPORARY VIEW scores AS
SELECT *, CASE WHEN n >= {least_events} AND spread > 0
  THEN CAST(n * largest - total AS DOUBLE) / SQRT(CAST(spread AS DOUBLE)) END AS zscore
FROM (SELECT *, n * squares - total * total AS spread FROM windows)
"""

RULES = (
    ("velocity", "CAST(n AS DOUBLE)", "n >= {velocity}"),
    ("amount", "CAST(largest AS DOUBLE)", "largest >= {amount_cents}"),
    ("zscore", "zscore", "zscore >= {zscore}"),
)

RULE_ALERTS = """
SELECT SUBSTRING(SHA256('card_job|{rule}|' || card_id || '|' || CAST(window_start AS STRING)), 1, 32),
  '{rule}', card_id, window_start, {score}, n, CAST(total AS DOUBLE) / n / 100, SQRT(CAST(spread AS DOUBLE)) / n / 100
FROM scores WHERE {condition}
"""


def make_configuration(job: dict) -> Configuration:
    settings = Configuration()
    for name, value in {
        "pipeline.jars": ";".join(f"file://{jar}" for jar in job["jars"]),
        "parallelism.default": job["partitions"],
        "pipeline.object-reuse": "true",
        "execution.buffer-timeout.interval": "1 ms" if job["low_latency"] else "100 ms",
        "execution.checkpointing.interval": f"{job['checkpoint_seconds']} s",
        "execution.checkpointing.dir": f"file://{job['folder']}/checkpoints",
        "state.backend.type": "hashmap",
        "table.exec.state.ttl": f"{job['watermark_seconds']} s",
        "table.exec.mini-batch.enabled": "false",
        "table.local-time-zone": "UTC",
    }.items():
        settings.set_string(name, str(value))
    return settings


def main(job: dict) -> None:
    settings = EnvironmentSettings.new_instance().in_streaming_mode().with_configuration(make_configuration(job)).build()
    tables = TableEnvironment.create(settings)
    values = job | {"linger": 0 if job["low_latency"] else 5}
    for statement in (EVENTS, ALERTS, WINDOWS, SCORES):
        tables.execute_sql(statement.format(**values))
    statements = [
        RULE_ALERTS.format(rule=rule, score=score, condition=condition.format(**values)) for rule, score, condition in RULES
    ]
    tables.execute_sql("INSERT INTO alerts " + " UNION ALL ".join(statements)).wait()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
