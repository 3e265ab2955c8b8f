"""Models as files to review: <folder>/<version>/model.json, which is loaded, and model.sql, which is read by people.

Loading trusts nothing: types, the structure's node types, and that the content still hashes to the version's name.
"""

import json
import math
from pathlib import Path
from typing import Any

from common.models.structure import UnsafeModel, check_structure, readable
from common.models.training import TrainedModel


def save(model: TrainedModel, folder: Path) -> Path:
    """Write the model under its version, beside what is there; an equal one is left as it is. Returns its folder."""
    target = folder / model.version
    if (target / "model.json").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    (target / "model.sql").write_text(_header(model) + readable(model.structure, model.parameters) + "\n")
    # model.json last and in one step: a folder with it is a whole model.
    unfinished = target / "model.json.unfinished"
    unfinished.write_text(json.dumps(as_json(model), indent=2, allow_nan=False) + "\n")
    unfinished.replace(target / "model.json")
    return target


def load(folder: Path) -> TrainedModel:
    """The model in `folder`; raises UnsafeModel when it is not one, or not the one that its folder's name says."""
    path = folder / "model.json"
    try:
        model = from_json(json.loads(path.read_text()))
    except (OSError, ValueError, RecursionError) as error:
        raise UnsafeModel(f"{path} cannot be read as a model: {error}") from None
    if model.version != folder.name:
        raise UnsafeModel(f"{path} holds version {model.version}: it was changed after it was stored as {folder.name}")
    return model


def as_json(model: TrainedModel) -> dict[str, Any]:
    """The model as a dictionary of JSON types; a metric that is not a number becomes null."""
    metrics = {name: value if math.isfinite(value) else None for name, value in model.metrics.items()}
    return {
        "version": model.version, "features": list(model.features), "metrics": metrics, "details": model.details,
        "structure": model.structure, "parameters": list(model.parameters),
    }


def from_json(content: Any) -> TrainedModel:
    """The model that `as_json` wrote; raises UnsafeModel for anything else."""
    if not isinstance(content, dict):
        raise UnsafeModel("a model is a JSON object")
    features, parameters, structure = (content.get(name) for name in ("features", "parameters", "structure"))
    if not isinstance(features, list) or not all(isinstance(feature, str) for feature in features):
        raise UnsafeModel("a model's features are a list of column names")
    if not isinstance(parameters, list) or not all(_is_number(parameter) for parameter in parameters):
        raise UnsafeModel("a model's parameters are a list of finite numbers")
    if not isinstance(structure, str):
        raise UnsafeModel("a model's structure is text")
    check_structure(structure, features, len(parameters))
    numbers = tuple(float(parameter) for parameter in parameters)
    metrics = {name: float("nan") if value is None else value for name, value in (content.get("metrics") or {}).items()}
    return TrainedModel(tuple(features), structure, numbers, metrics, content.get("details") or {})


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _header(model: TrainedModel) -> str:
    learnt = f"{model.details.get('training_rows', '?')} rows, {model.details.get('training_anomalies', '?')} of them anomalous"
    return f"-- model {model.version}, learnt from {learnt}.\n-- For reading: the score is computed from model.json.\n"
