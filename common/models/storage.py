"""Stores models as files: <folder>/<version>/model.json, which is loaded, and model.sql, for people to review.

Loading trusts nothing: it checks types, that the features are the vertical's, the structure's nodes, and that the content hashes
to the version in the folder's name.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.models.check import UnsafeModel, check_structure
from common.models.structure import format_expression
from common.models.training import TrainedModel


def save(model: TrainedModel, folder: Path) -> Path:
    """Write the model into a folder named after its version; a stored version is left as it is. Returns the folder."""
    target = folder / model.version
    if (target / "model.json").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    (target / "model.sql").write_text(_header(model) + format_expression(model.structure, model.parameters) + "\n")
    # model.json last and atomically: a folder that has it is complete.
    unfinished = target / "model.json.unfinished"
    unfinished.write_text(json.dumps(as_json(model), indent=2, allow_nan=False) + "\n")
    unfinished.replace(target / "model.json")
    return target


def load(folder: Path, features: Sequence[str]) -> TrainedModel:
    """The model in `folder`, over some of `features`; raises UnsafeModel if it is none, or not of the version in the name."""
    path = folder / "model.json"
    try:
        model = from_json(json.loads(path.read_text()), features)
    except (OSError, ValueError, RecursionError) as error:
        raise UnsafeModel(f"{path} cannot be read as a model: {error}") from None
    if model.version != folder.name:
        raise UnsafeModel(f"{path} holds version {model.version}: it was changed after it was stored as {folder.name}")
    return model


def as_json(model: TrainedModel) -> dict[str, Any]:
    """The model as a dictionary of JSON types; a metric that is not a number becomes null."""
    metrics = {name: value if math.isfinite(value) else None for name, value in model.metrics.items()}
    return {
        "version": model.version,
        "features": list(model.features),
        "metrics": metrics,
        "details": model.details,
        "structure": model.structure,
        "parameters": list(model.parameters),
    }


def from_json(content: Any, features: Sequence[str]) -> TrainedModel:
    """The model that `as_json` wrote, over some of `features`, those of the vertical; raises UnsafeModel for anything else."""
    if not isinstance(content, dict):
        raise UnsafeModel("a model is a JSON object")
    own_features, parameters, structure = (content.get(name) for name in ("features", "parameters", "structure"))
    if not isinstance(own_features, list) or not all(isinstance(feature, str) for feature in own_features):
        raise UnsafeModel("a model's features are a list of column names")
    if foreign := sorted(set(own_features) - set(features)):
        raise UnsafeModel(f"the model reads {foreign[0][:80]!r}, which is none of the vertical's features: train a new one")
    if not isinstance(parameters, list) or not all(_is_number(parameter) for parameter in parameters):
        raise UnsafeModel("a model's parameters are a list of finite numbers")
    if not isinstance(structure, str):
        raise UnsafeModel("a model's structure is text")
    check_structure(structure, own_features, len(parameters))
    parameter_values = tuple(float(parameter) for parameter in parameters)
    metrics, details = (content.get(name) or {} for name in ("metrics", "details"))
    if not isinstance(metrics, dict) or not isinstance(details, dict):
        raise UnsafeModel("a model's metrics and details are JSON objects")
    known_metrics = {name: float("nan") if value is None else value for name, value in metrics.items()}
    return TrainedModel(tuple(own_features), structure, parameter_values, known_metrics, details)


def _is_number(value: Any) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond every double
        return False


def _header(model: TrainedModel) -> str:
    source = f"{model.details.get('training_rows', '?')} rows, {model.details.get('training_anomalies', '?')} of them anomalous"
    return f"-- model {model.version}, learnt from {source}.\n-- For reading: the score is computed from model.json.\n"
