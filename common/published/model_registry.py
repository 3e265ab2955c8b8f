"""Keeps which model is in force (the champion), which waits for its proof (the challenger), and how they change places.

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

    def publication(earlier_versions: list[Version]) -> Version:
        champion = newest(earlier_versions, MODEL)
        kind = MODEL if champion is None or champion.version == model.version else CHALLENGER
        return Version(kind, model.version, as_of, datetime.now(UTC), as_json(model))

    return publish(publication, folder)


def challenger(folder: str) -> Version | None:
    """The newest challenger, unless a model was put in force after it."""
    return find_challenger(versions(folder))


def find_challenger(all_versions: list[Version]) -> Version | None:
    """The challenger among versions that were read already."""
    candidate, champion = newest(all_versions, CHALLENGER), newest(all_versions, MODEL)
    return candidate if candidate and champion and candidate.created_at > champion.created_at else None


def promote(folder: str, who: str) -> Version:
    """Put the challenger in force; streams take it up within a checkpoint interval. Raises NoSuchModel."""
    candidate = challenger(folder)
    if candidate is None:
        raise NoSuchModel("there is no challenger: train one with hybrid train")

    def publication(earlier_versions: list[Version]) -> Version:
        if find_challenger(earlier_versions) != candidate:
            raise NoSuchModel(f"model {candidate.version} was not promoted: meanwhile {_describe_last_change(earlier_versions)}")
        return _put_in_force(candidate, who)

    return publish(publication, folder)


def rollback(folder: str, who: str) -> Version:
    """Put the champion before the present one in force again. Raises NoSuchModel."""
    champion = in_force(folder, MODEL)

    def publication(earlier_versions: list[Version]) -> Version:
        if newest(earlier_versions, MODEL) != champion:
            raise NoSuchModel(f"nothing was rolled back: meanwhile {_describe_last_change(earlier_versions)}")
        champions = _successive_champions(earlier_versions)
        if len(champions) < 2:
            raise NoSuchModel("no model was in force before this one")
        return _put_in_force(champions[-2], who, rollback=True)

    return publish(publication, folder)


def _successive_champions(all_versions: list[Version]) -> list[Version]:
    """The champions of which each is the one to go back to from the next; the last is in force."""
    champions: list[Version] = []
    for version in all_versions:
        if version.kind == MODEL and version.details.get("rollback"):
            champions.pop()
        elif version.kind == MODEL and (not champions or champions[-1].version != version.version):
            champions.append(version)
    return champions


def _describe_last_change(all_versions: list[Version]) -> str:
    """For people: what was done to models last, and by whom, if a person did it."""
    newest_version = next(version for version in reversed(all_versions) if version.kind in (MODEL, CHALLENGER))
    action = "was put in force" if newest_version.kind == MODEL else "was trained and challenges the champion"
    person = f" by {newest_version.details['who']}" if "who" in newest_version.details else ""
    return f"model {newest_version.version} {action}{person}; look at it, and then do this again if it is still wanted"


def _put_in_force(model: Version, who: str, rollback: bool = False) -> Version:
    details = {**model.details, "who": who, "rollback": rollback}
    return replace(model, kind=MODEL, created_at=datetime.now(UTC), details=details)
