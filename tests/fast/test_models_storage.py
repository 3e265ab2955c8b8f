"""Models as files: what was saved is loaded, and what was changed since, or never was a model, is refused."""

import json
import math

import pytest

from common.models.check import UnsafeModel
from common.models.storage import from_json, load, save
from common.models.training import TrainedModel

MODEL = TrainedModel(
    features=("amount",),
    structure="TRY_DIVIDE(1, EXP(-(`amount` * GET(model_parameters, 0))) + 1)",
    parameters=(0.1 + 0.2,),
    metrics={"auc_roc": 0.9, "average_precision": float("nan")},
    details={"training_rows": 10, "training_anomalies": 2},
)


def test_a_model_comes_back_to_the_last_bit(tmp_path):
    loaded = load(save(MODEL, tmp_path), MODEL.features)
    assert (loaded.features, loaded.structure, loaded.parameters) == (MODEL.features, MODEL.structure, MODEL.parameters)
    assert loaded.version == MODEL.version
    assert loaded.metrics["auc_roc"] == 0.9
    assert math.isnan(loaded.metrics["average_precision"])
    assert loaded.details == MODEL.details


def test_the_version_says_what_decides_a_score_and_nothing_else():
    assert TrainedModel(MODEL.features, MODEL.structure, MODEL.parameters).version == MODEL.version
    assert TrainedModel(MODEL.features, MODEL.structure, (0.3,)).version != MODEL.version


def test_people_can_read_it(tmp_path):
    text = (save(MODEL, tmp_path) / "model.sql").read_text()
    assert text.startswith(f"-- model {MODEL.version}, learnt from 10 rows, 2 of them anomalous")
    assert "0.30000000000000004" in text


def test_saving_twice_changes_nothing(tmp_path):
    stored = save(MODEL, tmp_path) / "model.json"
    before = stored.read_bytes()
    save(MODEL, tmp_path)
    assert stored.read_bytes() == before


def test_a_number_changed_by_hand_is_noticed(tmp_path):
    stored = save(MODEL, tmp_path) / "model.json"
    stored.write_text(stored.read_text().replace("0.30000000000000004", "0.31"))
    with pytest.raises(UnsafeModel, match="was changed after it was stored"):
        load(stored.parent, MODEL.features)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"features": "amount"}',
        '{"features": ["a"], "parameters": ["1"]}',
        '{"features": ["a"], "parameters": [true]}',
        '{"features": ["a"], "parameters": [NaN]}',
        '{"features": ["a"], "parameters": [1], "structure": 3}',
        '{"features": ["a"], "parameters": [1' + "0" * 400 + '], "structure": "1"}',
        '{"features": ["a", "a"], "parameters": [], "structure": "1"}',
        '{"features": ["a"], "parameters": [], "structure": "1", "metrics": [1]}',
        '{"features": ["a"], "parameters": [], "structure": "1", "details": "x"}',
    ],
)
def test_what_is_no_model_is_refused(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(UnsafeModel):
        load(tmp_path, ["a", "amount"])


def test_a_folder_without_a_model_says_so(tmp_path):
    with pytest.raises(UnsafeModel, match="cannot be read as a model"):
        load(tmp_path / "absent", MODEL.features)


def test_hostile_sql_in_a_stored_model_is_refused():
    hostile = "REFLECT('java.lang.System', 'exit', 1)"
    content = json.loads(json.dumps({"features": ["amount"], "parameters": [1.0], "structure": hostile}))
    with pytest.raises(UnsafeModel, match="may not hold"):
        from_json(content, MODEL.features)


@pytest.mark.parametrize("feature", ["card_id", "${env:HYBRID_KAFKA_SASL_PASSWORD}", "user"])
def test_a_model_over_other_columns_than_the_verticals_features_is_refused(feature):
    content = {"features": [feature], "parameters": [], "structure": f"`{feature}`"}
    with pytest.raises(UnsafeModel, match="none of the vertical's features"):
        from_json(content, MODEL.features)
