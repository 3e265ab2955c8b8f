"""A model's SQL: its numbers become parameters, and what the export writes passes the check of what is loaded."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import sqlglot
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.pipeline import Pipeline
from sqlglot import exp

from common.models.check import UnsafeModel, check_structure
from common.models.scoring import score_expression
from common.models.structure import format_expression
from common.models.training import TrainedModel, export_sql, fit_logistic

FEATURES = ("amount", "ratio", "always_zero")


def rows_of(seed, size=400):
    rng = np.random.default_rng(seed)
    rows = pd.DataFrame({"amount": rng.normal(50, 20, size), "ratio": rng.gamma(2, size=size), "always_zero": np.zeros(size)})
    return rows, (rows["ratio"] + rng.normal(size=size) > 3).astype(int).to_numpy()


def test_two_trainings_share_their_structure_and_differ_in_parameters():
    first, second = (export_sql(fit_logistic(*rows_of(seed)), FEATURES) for seed in (1, 2))
    assert first[0] == second[0]
    assert len(first[1]) == len(second[1]) > len(FEATURES)
    assert first[1] != second[1]


def test_the_same_rows_in_another_order_give_the_same_parameters():
    rows, labels = rows_of(1)
    shuffled = np.random.default_rng(0).permutation(len(rows))
    shuffled_model = fit_logistic(rows.iloc[shuffled], labels[shuffled])
    assert export_sql(fit_logistic(rows, labels), FEATURES) == export_sql(shuffled_model, FEATURES)


def test_no_number_but_0_and_1_stays_in_the_structure():
    structure, _ = export_sql(fit_logistic(*rows_of(1)), FEATURES)
    without_parameters = structure.replace("GET(model_parameters, ", "").replace("`", "")
    assert "." not in without_parameters
    assert structure.count("GET(") >= 2 * len(FEATURES)


def test_a_feature_that_never_varied_keeps_its_place_in_the_structure():
    structure, _ = export_sql(fit_logistic(*rows_of(1)), FEATURES)
    assert "`always_zero`" in structure


def test_trees_export_too():
    rows, labels = rows_of(3)
    trees = GradientBoostingClassifier(n_estimators=3).fit(rows, labels)
    structure, parameters = export_sql(Pipeline([("trees", trees)]), FEATURES)
    assert "CASE WHEN" in check_structure(structure, FEATURES, len(parameters))


def test_the_readable_form_has_the_numbers_back_in():
    structure, parameters = export_sql(fit_logistic(*rows_of(1)), FEATURES)
    text = format_expression(structure, parameters)
    assert "model_parameters" not in text
    assert all(f"{abs(parameter)!r}" in text for parameter in parameters if abs(parameter) > 1e-9)


def test_the_exported_structure_passes_its_own_check():
    structure, parameters = export_sql(fit_logistic(*rows_of(1)), FEATURES)
    assert check_structure(structure, FEATURES, len(parameters)) == structure


def test_each_feature_is_scored_as_a_double_whatever_its_column_is():
    structure, parameters = export_sql(fit_logistic(*rows_of(1)), FEATURES)
    model = TrainedModel(FEATURES, structure, parameters)
    scored = sqlglot.parse_one(score_expression(model), read="spark")
    casts = list(scored.find_all(exp.TryCast))
    assert {cast.this.name for cast in casts} == set(FEATURES) and {cast.to.sql() for cast in casts} == {"DOUBLE"}
    assert all(isinstance(column.parent, exp.TryCast) for column in scored.find_all(exp.Column) if column.name in FEATURES)
    without_casts = scored.transform(lambda node: node.this if isinstance(node, exp.TryCast) else node)
    assert without_casts == sqlglot.parse_one(structure, read="spark"), "else it is the model's structure"
    with pytest.raises(UnsafeModel):
        score_expression(replace(model, structure="`other`"))
