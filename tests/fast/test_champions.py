"""Who is champion, who challenges, and the way back."""

from concurrent.futures import ThreadPoolExecutor
from math import nan
from threading import Barrier

import pytest

from common.batch.model_comparison import ModelComparison
from common.models.training import TrainedModel
from common.published.model_registry import NoSuchModel, challenger, promote, publish_model, rollback
from common.published.versions import MODEL, in_force, versions

FIRST, SECOND, THIRD = (TrainedModel(("amount",), "`amount` * GET(model_parameters, 0)", (weight,)) for weight in (1.0, 2.0, 3.0))


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path)


def champion(folder):
    return in_force(folder, MODEL).version


def test_the_first_model_is_champion_and_a_later_one_challenges_it_until_it_is_promoted(folder):
    publish_model(FIRST, "2020-03-01", folder)
    assert (champion(folder), challenger(folder)) == (FIRST.version, None)
    publish_model(FIRST, "2020-03-02", folder)
    assert challenger(folder) is None, "the champion trained again is no challenger"
    publish_model(SECOND, "2020-03-03", folder)
    assert (champion(folder), challenger(folder).version) == (FIRST.version, SECOND.version)
    publish_model(THIRD, "2020-03-04", folder)
    assert challenger(folder).version == THIRD.version, "the newest challenges"
    assert promote(folder, "ann").details["who"] == "ann"
    assert (champion(folder), challenger(folder)) == (THIRD.version, None)
    with pytest.raises(NoSuchModel, match="no challenger"):
        promote(folder, "ann")


def test_rollback_goes_back_step_by_step_and_not_to_and_fro(folder):
    for model in (FIRST, SECOND, THIRD):
        publish_model(model, "2020-03-01", folder)
        if challenger(folder):
            promote(folder, "ann")
    assert [rollback(folder, "ben").version for _ in range(2)] == [SECOND.version, FIRST.version]
    with pytest.raises(NoSuchModel, match="before"):
        rollback(folder, "ben")
    publish_model(THIRD, "2020-03-05", folder)
    promote(folder, "ann")
    assert rollback(folder, "ben").version == FIRST.version


@pytest.mark.parametrize("change", [promote, rollback])
def test_of_several_who_change_the_model_in_force_at_once_one_does_and_the_others_are_told(folder, change):
    for model in (FIRST, SECOND, THIRD):
        publish_model(model, "2020-03-01", folder)
        if challenger(folder):
            promote(folder, "ann")
    publish_model(FIRST, "2020-03-02", folder)
    before, at_once = len(versions(folder)), Barrier(4)

    def change_it(who):
        at_once.wait()
        try:
            return change(folder, who).details["who"]
        except NoSuchModel as told:
            return str(told)

    with ThreadPoolExecutor(4) as pool:
        outcomes = [*pool.map(change_it, ("ann", "ben", "cleo", "dan"))]
    did = [each for each in outcomes if each in ("ann", "ben", "cleo", "dan")]
    # Who looked only after it was done goes one step further back, as who comes later does.
    assert len(did) == len(versions(folder)) - before and (change is rollback or len(did) == 1)
    assert in_force(folder, MODEL).version == (FIRST if change is promote or len(did) == 2 else SECOND).version
    told = [each for each in outcomes if each not in did]
    assert all("meanwhile" in each or "no challenger" in each or "before this one" in each for each in told)


def test_who_promotes_what_is_not_the_challenger_any_more_is_told_by_whom_it_was_changed(folder, monkeypatch):
    for model in (FIRST, SECOND):
        publish_model(model, "2020-03-01", folder)
    seen = challenger(folder)
    promote(folder, "ann")
    monkeypatch.setattr("common.published.model_registry.challenger", lambda _: seen)
    with pytest.raises(NoSuchModel, match=f"meanwhile model {SECOND.version} was put in force by ann"):
        promote(folder, "ben")


@pytest.mark.parametrize(("old", "new", "better"), [(0.5, 0.52, True), (0.5, 0.505, False), (0.5, 0.4, False), (nan, nan, False)])
def test_a_challenger_is_better_by_a_margin_and_never_without_anomalies(old, new, better):
    assert ModelComparison(10, {"average_precision": old}, {"average_precision": new}).is_better(0.01) is better
