"""Before anything goes live: changed rules over history beside the present ones, and a model that the world moved away from."""

from datetime import date, timedelta

import pytest
from pyspark.sql import functions as F

from common import tables
from common.archive.history import NoHistory
from common.batch.backfill import backfill
from common.batch.batch import retrain_if_moved, train_model
from common.batch.threshold_trial import try_thresholds
from common.installed import find_vertical
from common.published.live_thresholds import publish_settings
from common.published.model_registry import challenger
from common.published.versions import MODEL, in_force
from common.settings import SettingsError
from common.workspace import Workspace
from tests.deployments import deployed

pytestmark = [pytest.mark.files, pytest.mark.usefixtures("compiled")]

VERTICAL = find_vertical("finance_fraud")
START, DAYS, JUDGED = date(2020, 3, 1), 30, 3


@pytest.fixture(scope="module")
def workspace(spark, tmp_path_factory):
    place = Workspace(tmp_path_factory.mktemp("data"), VERTICAL.name)
    backfill(spark, deployed(VERTICAL, place), 7, START, DAYS, VERTICAL.population(**VERTICAL.small, fraud=5))
    return place


@pytest.fixture(scope="module")
def rehearsed(spark, workspace):
    publish_settings(VERTICAL, workspace.tables, {"spree": "4"}, "ann")  # part of what the present rules are
    return try_thresholds(spark, deployed(VERTICAL, workspace), {"velocity": "4", "amount_zscore": "5", "spree": "3"}, JUDGED)


def test_a_lower_threshold_adds_alerts_a_higher_one_removes_them_and_other_rules_keep_theirs(rehearsed):
    counts = {rule.name: [rehearsed.counts.get((rule.name, status), 0) for status in ("kept", "added", "removed")]
              for rule in VERTICAL.rules}  # fmt: skip
    lower, higher, published = counts.pop("velocity"), counts.pop("amount_outlier"), counts.pop("spree")
    assert lower[1] > 0 == lower[2]
    assert higher[2] > 0 == higher[1]
    assert published[1] > 0 == published[2]
    assert all(added == removed == 0 for _, added, removed in counts.values())
    assert sum(kept for kept, _, _ in counts.values()) > 0


def test_both_are_measured_against_the_labels_and_every_alert_is_in_the_table(spark, workspace, rehearsed):
    rows = tables.read(spark, workspace.table("backtest"))
    for side, evaluation in (("old", rehearsed.present), ("new", rehearsed.changed)):
        raised = rows.where(F.col(f"{side}_score").isNotNull()).groupBy("rule")
        found = raised.agg(F.count("*").alias("alerts"), F.count_if("is_right").alias("right")).collect()
        measured = {each.rule: (each.alerts, each.right) for each in evaluation.rules if each.alerts}
        assert {row.rule: (row.alerts, row.right) for row in found} == measured
    assert rows.where("status = 'kept' AND (old_score IS NULL OR new_score IS NULL)").isEmpty()
    of_burst = {row.new_threshold for row in rows.where("rule = 'velocity'").collect()}
    assert of_burst == {4.0}
    recalls = [{each.scenario: each.recall for each in side.scenarios} for side in (rehearsed.present, rehearsed.changed)]
    assert recalls[1]["velocity"] >= recalls[0]["velocity"]
    assert recalls[1]["large_amount"] < recalls[0]["large_amount"]


def test_what_cannot_be_judged_is_refused(spark, workspace):
    with pytest.raises(NoHistory, match="2020-03-01 to 2020-03-30"):
        try_thresholds(spark, deployed(VERTICAL, workspace), {"velocity": "4"}, DAYS)
    with pytest.raises(SettingsError, match="greater than 0"):
        try_thresholds(spark, deployed(VERTICAL, workspace), {"velocity": "0"}, JUDGED)


def test_a_model_whose_inputs_moved_gets_a_challenger(spark, workspace):
    champion = train_model(spark, deployed(VERTICAL, workspace), START + timedelta(days=18)).version
    as_of = START + timedelta(days=DAYS)
    assert retrain_if_moved(spark, deployed(VERTICAL, workspace), as_of, limit=1e6) == ""
    # Its training days, 4 to 10, and the week before day 12 are not apart.
    assert retrain_if_moved(spark, deployed(VERTICAL, workspace), START + timedelta(days=12), limit=1e-6) == ""
    assert challenger(workspace.tables) is None
    told = retrain_if_moved(spark, deployed(VERTICAL, workspace), as_of, limit=1e-6)
    assert challenger(workspace.tables).version in told and champion in told
    assert in_force(workspace.tables, MODEL).version == champion
    assert retrain_if_moved(spark, deployed(VERTICAL, workspace), as_of, limit=1e-6) == "", (
        "the one that waits is left to its proof"
    )
