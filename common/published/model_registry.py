"""Which model is in force (the champion), which one waits for its proof (the challenger), and how they change places.

The first model is champion at once. One trained later is a challenger: streams score it beside the champion, it raises no
alert (`shadow`), and once labels are known it is compared on them. It stands until a model is put in force after it.
"""

from dataclasses import replace
from datetime import UTC, datetime

from common.errors import UserError
from common.models.storage import as_json
from common.models.training import TrainedModel
from common.published.reference_data import publish
from common.published.versions import CHALLENGER, MODEL, Version, in_force, newest, versions


class NoSuchModel(UserError):
    """There is no challenger to promote, or no model before the champion to go back to."""


def publish_model(model: TrainedModel, as_of: str, folder: str) -> Version:
    """Put a trained model in force if it is the first, or the champion trained again; else make it the challenger."""
    def publication(published: list[Version]) -> Version:
        champion = newest(published, MODEL)
        kind = MODEL if champion is None or champion.version == model.version else CHALLENGER
        return Version(kind, model.version, as_of, datetime.now(UTC), as_json(model))

    return publish(publication, folder)


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

    def publication(published: list[Version]) -> Version:
        if challenging(published) != waiting:
            raise NoSuchModel(f"model {waiting.version} was not promoted: meanwhile {_last_change(published)}")
        return _crowned(waiting, who)

    return publish(publication, folder)


def rollback(folder: str, who: str) -> Version:
    """Put the champion before the present one in force again. Raises NoSuchModel."""
    champion = in_force(folder, MODEL)

    def publication(published: list[Version]) -> Version:
        if newest(published, MODEL) != champion:
            raise NoSuchModel(f"nothing was rolled back: meanwhile {_last_change(published)}")
        line = _line(published)
        if len(line) < 2:
            raise NoSuchModel("no model was in force before this one")
        return _crowned(line[-2], who, rollback=True)

    return publish(publication, folder)


def _line(published: list[Version]) -> list[Version]:
    """The champions of which each is the one to go back to from the next; the last is in force."""
    line: list[Version] = []
    for each in published:
        if each.kind == MODEL and each.details.get("rollback"):
            line.pop()
        elif each.kind == MODEL and (not line or line[-1].version != each.version):
            line.append(each)
    return line


def _last_change(published: list[Version]) -> str:
    """For people: what was done to models last, and by whom, if a person did it."""
    last = next(each for each in reversed(published) if each.kind in (MODEL, CHALLENGER))
    what = "was put in force" if last.kind == MODEL else "was trained and challenges the champion"
    by = f" by {last.details['who']}" if "who" in last.details else ""
    return f"model {last.version} {what}{by}; look at it, and then do this again if it is still wanted"


def _crowned(model: Version, who: str, rollback: bool = False) -> Version:
    details = {**model.details, "who": who, "rollback": rollback}
    return replace(model, kind=MODEL, created_at=datetime.now(UTC), details=details)
