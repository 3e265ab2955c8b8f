"""Notes beside the tables the ids of the keys with which they were written, the newest last, and checks the key by them."""

from collections.abc import Sequence
from pathlib import Path

from common.privacy.encrypted_rows import find_usable_keys
from common.privacy.keys import Key, former_keys, present_key
from common.settings import SettingsError
from common.vertical import Vertical

KEY_NOTE = "pseudonym-key.id"


def check_key(vertical: Vertical, folder: Path) -> None:
    """Raises SettingsError where the tables in `folder` were written with another key than the present one.

    With another key the same person would get another pseudonym, and quarantined rows could no longer be read. A new key is
    noted only while the noted one is among the former keys. Where an earlier version wrote no note, the key is found by the
    quarantined rows that it decrypts.
    """
    if not vertical.pseudonymised:
        return
    note, present, former = folder / KEY_NOTE, present_key(), former_keys()
    present_id = present.id.hex()
    noted_ids = (note.read_text().split() if note.exists() else []) or _ids_by_rows(folder, present, former)
    if noted_ids[-1:] == [present_id]:
        return
    if noted_ids and (present_id in noted_ids or noted_ids[-1] not in (key.id.hex() for key in former)):
        raise SettingsError(
            f"{folder} was written with another pseudonym key (its id is {noted_ids[-1]}, that of the present one {present_id}): "
            f"{_ADVICE}"
        )
    _write_ids([*noted_ids, present_id], note)


_ADVICE = (
    "give that key in HYBRID_PSEUDONYM_KEY, or put the data folder's pseudonym.key back. If it is to change from now on, give "
    "it in HYBRID_PSEUDONYM_FORMER_KEYS: the same person then gets another pseudonym"
)


def _ids_by_rows(folder: Path, present: Key, former: Sequence[Key]) -> list[str]:
    """The id of the former key that alone decrypts quarantined rows; empty without encrypted rows, or if the present key does."""
    usable_keys = find_usable_keys(str(folder / "tables" / "quarantine"), [present, *former])
    if usable_keys is None or present in usable_keys:
        return []
    if not usable_keys:
        raise SettingsError(
            f"{folder} was written with another pseudonym key: its quarantined rows are decrypted by no key given here (the "
            f"present one's id is {present.id.hex()}): {_ADVICE}"
        )
    return [usable_keys[-1].id.hex()]


def _write_ids(ids: Sequence[str], note: Path) -> None:
    unfinished = note.with_name(f"{note.name}.unfinished")
    unfinished.write_text("".join(f"{key_id}\n" for key_id in ids))
    unfinished.replace(note)
