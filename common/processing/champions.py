"""Which model is in force (the champion), which one waits for its proof (the challenger), and how they change places.

The first model is champion at once. One trained later is a challenger: streams score it beside the champion, it raises no
alert (`shadow`), and once labels are known it is compared on them. It stands until a model is put in force after it.
"""

from dataclasses import replace
from datetime import UTC, datetime

from common.models.storage import as_json
from common.models.training import TrainedModel
from common.processing.learnt import put_in_force
from common.processing.versions import CHALLENGER, MODEL, Version, in_force, newest, versions


class NoSuchModel(Exception):
    """There is no challenger to promote, or no model before the champion to go back to."""


def publish_model(model: TrainedModel, as_of: str, folder: str) -> Version:
    """Put a trained model in force if it is the first, or the champion trained again; else make it the challenger."""
    champion = in_force(folder, MODEL)
    kind = MODEL if champion is None or champion.version == model.version else CHALLENGER
    published = Version(kind, model.version, as_of, datetime.now(UTC), as_json(model))
    return put_in_force(published, folder)


def challenger(folder: str) -> Version | None:
    """The newest challenger, unless a model was put in force after it."""
    return challenging(versions(folder))


def challenging(published: list[Version]) -> Version | None:
    """The same of publications that were read already."""
    found, champion = newest(published, CHALLENGER), newest(published, MODEL)
    return found if found and champion and found.created_at > champion.created_at else None


def promote(folder: str, who: str) -> Version:
    """Put the challenger in force; streams take it up within a checkpoint interval. Raises NoSuchModel."""
    waiting = challenger(folder)
    if waiting is None:
        raise NoSuchModel("there is no challenger: train one with hybrid train")
    return _crown(waiting, folder, who)


def rollback(folder: str, who: str) -> Version:
    """Put the champion before the present one in force again. Raises NoSuchModel."""
    line: list[Version] = []
    for each in versions(folder):
        if each.kind == MODEL and each.details.get("rollback"):
            line.pop()
        elif each.kind == MODEL and (not line or line[-1].version != each.version):
            line.append(each)
    if len(line) < 2:
        raise NoSuchModel("no model was in force before this one")
    return _crown(line[-2], folder, who, rollback=True)


def _crown(model: Version, folder: str, who: str, rollback: bool = False) -> Version:
    details = {**model.details, "who": who, "rollback": rollback}
    crowned = replace(model, kind=MODEL, created_at=datetime.now(UTC), details=details)
    return put_in_force(crowned, folder)
