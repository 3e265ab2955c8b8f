"""The note beside the tables: ids of the keys with which they were written, the newest last."""

from collections.abc import Sequence
from pathlib import Path

from common.privacy.encrypted_rows import opening_keys
from common.privacy.keys import Key, former_keys, present_key
from common.settings import SettingsError
from common.vertical import Vertical

KEY_NOTE = "pseudonym-key.id"


def check_key(vertical: Vertical, folder: Path) -> None:
    """Raises SettingsError where the tables in `folder` were written with another key than the one there is now.

    With it the same person would get another pseudonym, and what is quarantined could not be read any more. The note takes a
    new key only while the one before is still known. Where an earlier version wrote no note, the quarantined rows tell.
    """
    if not vertical.pseudonymised:
        return
    note, present, former = folder / KEY_NOTE, present_key(), former_keys()
    now = present.id.hex()
    before = (note.read_text().split() if note.exists() else []) or _told_by_rows(folder, present, former)
    if before[-1:] == [now]:
        return
    if before and (now in before or before[-1] not in (key.id.hex() for key in former)):
        raise SettingsError(
            f"{folder} was written with another pseudonym key (its id is {before[-1]}, that of the present one {now}): {_ADVICE}"
        )
    _write([*before, now], note)


_ADVICE = (
    "give that key in HYBRID_PSEUDONYM_KEY, or put the data folder's pseudonym.key back. If it is to change from now on, give "
    "it in HYBRID_PSEUDONYM_FORMER_KEYS: the same person then gets another pseudonym"
)


def _told_by_rows(folder: Path, present: Key, former: Sequence[Key]) -> list[str]:
    """The id of the former key, where it alone opens quarantined rows; none where no row tells, or the present key opens one."""
    opened = opening_keys(str(folder / "tables" / "quarantine"), [present, *former])
    if opened is None or present in opened:
        return []
    if not opened:
        raise SettingsError(
            f"{folder} was written with another pseudonym key: what is quarantined there is opened by none that is known (the "
            f"id of the present one is {present.id.hex()}): {_ADVICE}"
        )
    return [opened[-1].id.hex()]


def _write(ids: Sequence[str], note: Path) -> None:
    unfinished = note.with_name(f"{note.name}.unfinished")
    unfinished.write_text("".join(f"{each}\n" for each in ids))
    unfinished.replace(note)
