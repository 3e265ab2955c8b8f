"""The secret keys: made once, only for their owner, random, known by an id, and never replaced in silence."""

import base64
from datetime import date
from types import SimpleNamespace

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

import common.privacy.keys
from common import tables
from common.archive.archive_tables import QUARANTINE_SCHEMA
from common.privacy.key_ids import KEY_NOTE, check_key
from common.privacy.keys import KEY_BYTES, Key, all_keys, former_keys, present_key, use_data_folder
from common.settings import Settings, SettingsError, load

FIRST, SECOND, THIRD = (bytes(range(start, start + KEY_BYTES)) for start in (0, 50, 100))
WARD = SimpleNamespace(pseudonymised=("patient_id",))


def text(*secrets):
    return ",".join(base64.b64encode(secret).decode() for secret in secrets)


@pytest.fixture
def keys(monkeypatch, tmp_path):
    """Gives the present key, and the former ones."""
    monkeypatch.setenv("HYBRID_HOME", str(tmp_path / "home"))

    def give(present, *former):
        monkeypatch.setenv("HYBRID_PSEUDONYM_KEY", text(present))
        monkeypatch.setenv("HYBRID_PSEUDONYM_FORMER_KEYS", text(*former))

    give(FIRST)
    return give


@pytest.fixture
def own(monkeypatch, tmp_path):
    """No key is given, and the folder is this test's: its settings."""
    monkeypatch.delenv("HYBRID_PSEUDONYM_KEY", raising=False)
    monkeypatch.delenv("HYBRID_PSEUDONYM_FORMER_KEYS", raising=False)
    monkeypatch.setattr(common.privacy.keys, "_data_folder", None)
    return Settings(home=tmp_path / "home", data=tmp_path / "data")


def test_a_folders_own_key_is_made_once_and_only_for_its_owner(own):
    key = present_key(own)
    assert present_key(own) == key
    assert len(key.secret) == KEY_BYTES
    assert (own.data / "pseudonym.key").stat().st_mode & 0o077 == 0
    assert present_key(own.model_copy(update={"data": own.data / "another"})) != key


def test_the_key_goes_where_the_folder_goes(own, monkeypatch, tmp_path):
    key = present_key(own)
    own.data.rename(tmp_path / "moved")
    monkeypatch.setattr(common.privacy.keys, "_data_folder", None)
    use_data_folder(tmp_path / "moved")
    assert present_key(own) == key


def test_a_key_that_an_earlier_version_kept_elsewhere_is_taken_along_and_said(own, caplog):
    own.home.mkdir()
    (own.home / "pseudonym.key").write_bytes(FIRST)
    assert present_key(own).secret == FIRST == (own.data / "pseudonym.key").read_bytes()
    assert "is kept with the data now" in caplog.text
    (own.data / "pseudonym.key").rename(own.data / "pseudonym-2026.key")  # as the documents say for a change
    assert present_key(own).secret == FIRST, "under a running stream the key stays what it is"
    use_data_folder(own.data)  # the next start
    assert present_key(own).secret != FIRST
    assert [key.secret for key in former_keys(own)] == [FIRST]


def test_nobody_sees_a_key_in_what_is_printed_of_it(keys):
    shown = repr(present_key()) + str(all_keys()) + repr(load(Settings))
    assert not [form for form in (repr(FIRST), FIRST.hex(), text(FIRST)) if form in shown]


@pytest.mark.parametrize("name", ["HYBRID_PSEUDONYM_KEY", "HYBRID_PSEUDONYM_FORMER_KEYS"])
@pytest.mark.parametrize("unreadable", ["short", "????", "schlüssel", text(b"x" * 31), text(b"\0" * 32), text(b"ab" * 16)])
def test_what_is_no_random_key_is_refused_without_being_shown(keys, monkeypatch, name, unreadable):
    monkeypatch.setenv(name, unreadable)
    with pytest.raises(SettingsError, match=name) as refused:
        all_keys()
    assert unreadable not in str(refused.value)


@pytest.mark.parametrize(
    ("secret", "message"), [(b"", "has 0 bytes"), (b"k" * 3, "has 3 bytes"), (b"k" * 31, "31"), (b"k" * 32, "guessed")]
)
def test_a_file_that_was_cut_short_or_overwritten_is_no_key(own, secret, message):
    own.data.mkdir()
    for name, read in (("pseudonym.key", present_key), ("pseudonym-2025.key", former_keys)):
        (own.data / name).write_bytes(secret)
        with pytest.raises(SettingsError, match=message):
            read(own)


def test_tables_are_not_written_on_with_another_key(keys, tmp_path):
    for _ in range(2):
        check_key(WARD, tmp_path)
    keys(SECOND)
    with pytest.raises(SettingsError, match="another pseudonym key"):
        check_key(WARD, tmp_path)
    assert not any(FIRST in path.read_bytes() for path in tmp_path.iterdir() if path.is_file())


def test_a_key_is_followed_by_another_only_while_it_is_known_itself(keys, tmp_path):
    check_key(WARD, tmp_path)
    keys(SECOND, FIRST)
    check_key(WARD, tmp_path)
    assert (tmp_path / KEY_NOTE).read_text().split() == [Key(FIRST).id.hex(), Key(SECOND).id.hex()]
    keys(FIRST, SECOND)
    with pytest.raises(SettingsError, match="another pseudonym key"):  # no way back: newer tables have the newer pseudonyms
        check_key(WARD, tmp_path)
    keys(THIRD, FIRST)
    with pytest.raises(SettingsError, match="another pseudonym key"):
        check_key(WARD, tmp_path)
    keys(THIRD, FIRST, SECOND)
    check_key(WARD, tmp_path)


def test_a_note_of_one_key_from_before_is_read_as_it_is(keys, tmp_path):
    (tmp_path / KEY_NOTE).write_text(f"{Key(FIRST).id.hex()}\n")
    check_key(WARD, tmp_path)


def quarantined(folder, *values):
    """As an earlier version left its tables: no note beside them."""
    tables.ensure_table(folder / "tables" / "quarantine", QUARANTINE_SCHEMA, ["ingest_day"])
    for value in values:
        tables.append_rows([{"raw": value, "ingest_day": date(2026, 1, 1)}], QUARANTINE_SCHEMA, folder / "tables" / "quarantine")


def hidden(secret, with_id):
    nonce = secret[:12]
    return (Key(secret).id if with_id else b"") + nonce + AESGCM(Key(secret).encryption_key).encrypt(nonce, b"a record", None)


@pytest.mark.parametrize("with_id", [True, False])
def test_where_no_note_is_the_quarantined_rows_tell_the_key(keys, tmp_path, with_id):
    quarantined(tmp_path, None, b"{", hidden(FIRST, with_id))
    for present, *former in ((SECOND,), (SECOND, THIRD)):
        keys(present, *former)
        with pytest.raises(SettingsError, match="another pseudonym key"):
            check_key(WARD, tmp_path)
        assert not (tmp_path / KEY_NOTE).exists()
    keys(SECOND, THIRD, FIRST)
    check_key(WARD, tmp_path)
    assert (tmp_path / KEY_NOTE).read_text().split() == [Key(FIRST).id.hex(), Key(SECOND).id.hex()]
    (tmp_path / KEY_NOTE).unlink()
    keys(FIRST, SECOND)
    check_key(WARD, tmp_path)
    assert (tmp_path / KEY_NOTE).read_text().split() == [Key(FIRST).id.hex()]


def test_where_no_row_tells_the_key_it_is_taken_and_written_down(keys, tmp_path):
    quarantined(tmp_path, None, b"{")
    check_key(WARD, tmp_path)
    assert (tmp_path / KEY_NOTE).read_text().split() == [Key(FIRST).id.hex()]


def test_a_row_that_somebody_changed_keeps_the_key_of_the_others(keys, tmp_path):
    quarantined(tmp_path, hidden(FIRST, with_id=True)[:-1] + b"?", hidden(FIRST, with_id=True))
    check_key(WARD, tmp_path)


def test_an_own_key_that_was_put_aside_is_a_former_one(own):
    old = present_key(own)
    (own.data / "pseudonym.key").rename(own.data / "pseudonym-2025.key")
    use_data_folder(own.data)  # the next start
    assert all_keys(own) == [present_key(own), old]
