"""The rules of every vertical find what its generator puts in, and a rule that is broken on purpose does not pass for it."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from pyspark.sql import functions as F

from common.archive.history import read_history
from common.batch.backfill import backfill
from common.batch.backtest import backtest
from common.batch.evaluation import evaluate, shortfalls
from common.installed import example_names, find_vertical, vertical_names
from common.settings import load
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = [pytest.mark.files, pytest.mark.timeout(900), pytest.mark.usefixtures("compiled")]

START, DAYS, TESTED = date(2020, 1, 1), 45, 7
# Lower than what `hybrid evaluate --strict` asks of a whole world: a small one holds a handful of cases of a scenario.
RECALL, PRECISION = 0.6, 0.5
SPOKEN = ("alert_id", "rule", "event_time", "event")


@pytest.fixture(scope="module", params=[*vertical_names(), *example_names()])
def judged(request, spark, compiled, tmp_path_factory):
    """The vertical; events, labels and alerts of the newest days of a small world's history."""
    vertical = find_vertical(request.param)
    workspace = Workspace(tmp_path_factory.mktemp("quality"), vertical.name)
    backfill(spark, deployed(vertical, workspace), 1, START, DAYS, vertical.population(**vertical.small))
    events, labels, _ = read_history(spark, workspace)
    days = [START + timedelta(days=day) for day in range(DAYS - TESTED, DAYS)]
    [alerts] = backtest(vertical, events, labels, days, load(vertical.settings))
    alerts.persist()
    yield vertical, events.where(F.col("event_day") >= F.lit(days[0])).persist(), labels, alerts
    alerts.unpersist()


def test_each_scenario_is_found_by_rules_that_are_mostly_right(judged):
    vertical, events, labels, alerts = judged
    assert vertical.scenarios
    assert shortfalls(evaluate(vertical, events, labels, alerts), RECALL, PRECISION) == []


def test_a_rule_that_says_nothing_any_more_is_found_out(judged):
    vertical, events, labels, alerts = judged
    scenario = vertical.scenarios[0]
    silent = alerts.where(~F.col("rule").isin(list(scenario.rules)))
    missed = shortfalls(evaluate(vertical, events, labels, silent), RECALL, PRECISION)
    assert any(line.startswith(f"{scenario.name}: 0 of") for line in missed)


def test_a_rule_that_always_speaks_is_found_out(judged):
    vertical, events, labels, alerts = judged
    scenario = vertical.scenarios[0]
    always = events.select(
        *(F.lit(None).cast(field.dataType).alias(field.name) for field in alerts.schema if field.name not in SPOKEN),
        F.col(vertical.event_id).alias("alert_id"),
        F.lit(scenario.rules[0]).alias("rule"),
        F.col(vertical.event_time).alias("event_time"),
        F.col(vertical.event_id).alias("event"),
    )
    noisy = replace(vertical, scenarios=(scenario,))
    missed = shortfalls(evaluate(noisy, events, labels, alerts.unionByName(always)), RECALL, PRECISION)
    assert any("alerts of" in line for line in missed)
