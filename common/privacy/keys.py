"""The secret keys of pseudonyms and of quarantined bytes: the present one, and former ones, with which old bytes are read.

Each has an id, a hash from which nobody gets the key; the id stands with what the key encrypted and beside the tables
(`common.privacy.key_ids`).
"""

import base64
import binascii
import hashlib
import logging
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from common.settings import Settings, SettingsError, load

KEY_BYTES, ID_BYTES = 32, 8
FEWEST_DIFFERENT = 16  # of a random key's bytes; that there are fewer happens once in 10^17 keys
OWN, FORMER = "pseudonym.key", "pseudonym-*.key"  # in the data folder; an earlier version kept them in HYBRID_HOME
LOG = logging.getLogger(__name__)

_data: Path | None = None  # the folder that this process works on


@dataclass(frozen=True)
class Key:
    """32 random bytes."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> bytes:
        return hashlib.sha256(b"which key" + self.secret).digest()[:ID_BYTES]

    @property
    def of_bytes(self) -> bytes:
        """The key, made of this one, that bytes are encrypted with."""
        return hashlib.sha256(b"raw bytes" + self.secret).digest()


def use_data_folder(folder: Path) -> None:
    """From now on keys that are not given are those that are kept in this folder, and not in HYBRID_DATA."""
    global _data  # a process works on one folder, and expressions that need a key are built all over it
    _data = folder.absolute()


def present_key(settings: Settings | None = None) -> Key:
    """HYBRID_PSEUDONYM_KEY, else the data folder's own, made on first use: who has the data has its key.

    Raises SettingsError for what cannot be read as a key, or is none.
    """
    settings = settings or load(Settings)
    if settings.pseudonym_key is None:
        return _own_key(*(folder / OWN for folder in _folders(settings)))
    return _given("HYBRID_PSEUDONYM_KEY", settings.pseudonym_key.get_secret_value())


def former_keys(settings: Settings | None = None) -> list[Key]:
    """HYBRID_PSEUDONYM_FORMER_KEYS, and those in the data folder that are called pseudonym-ANYTHING.key. Raises SettingsError."""
    settings = settings or load(Settings)
    given = settings.pseudonym_former_keys.get_secret_value().split(",") if settings.pseudonym_former_keys else []
    kept = [path for folder in _folders(settings) for path in sorted(folder.glob(FORMER))]
    return [_given("HYBRID_PSEUDONYM_FORMER_KEYS", text.strip()) for text in given] + [_kept(path) for path in kept]


def known_keys(settings: Settings | None = None) -> list[Key]:
    """The present key and then the former ones."""
    settings = settings or load(Settings)
    return list(dict.fromkeys([present_key(settings), *former_keys(settings)]))


def _folders(settings: Settings) -> tuple[Path, Path]:
    """Where keys are kept, and where an earlier version kept them."""
    return _data or settings.data.expanduser().absolute(), settings.home.expanduser().absolute()


def _given(name: str, text: str) -> Key:
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise SettingsError(f"{name}: base64 of {KEY_BYTES} bytes expected; one is made by: openssl rand -base64 {KEY_BYTES}")
    return _checked(secret, name)


def _kept(path: Path) -> Key:
    secret = path.read_bytes()
    if len(secret) != KEY_BYTES:
        raise SettingsError(
            f"{path} is no key: it has {len(secret)} bytes, not {KEY_BYTES}. Put the right one back, or remove it for a new "
            "one, with which the same person gets another pseudonym"
        )
    return _checked(secret, str(path))


def _checked(secret: bytes, where: str) -> Key:
    if len(set(secret)) < FEWEST_DIFFERENT:
        raise SettingsError(f"{where} is no random key, it can be guessed; one is made by: openssl rand -base64 {KEY_BYTES}")
    return Key(secret)


def _own_key(path: Path, earlier: Path) -> Key:
    if path.exists():
        return _kept(path)
    secret = secrets.token_bytes(KEY_BYTES)
    if earlier.exists() and not any(path.parent.glob(FORMER)):  # where there is one, this is to be a new key
        secret = _kept(earlier).secret
        LOG.warning("the key of pseudonyms, kept in %s by an earlier version, is kept with the data now: %s", earlier, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    made.touch(mode=0o600)
    with made.open("wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())  # or a crash might leave an empty file, and every pseudonym to whoever guesses that
    try:
        os.link(made, path)  # whole or not at all, and never over one that another process made meanwhile
    except FileExistsError:
        pass
    finally:
        made.unlink()
    return _kept(path)
