"""Reads and makes the secret keys of pseudonyms and of quarantined bytes: the present key, and former keys for old bytes.

Each has an id, a hash from which the key cannot be computed; the id is stored with the bytes that the key encrypted and beside
the tables (`common.privacy.key_ids`).
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
MIN_DIFFERENT_BYTES = 16  # of a key's 32 bytes; a random key has fewer once in 10^17
KEY_FILE, FORMER_KEY_FILES = "pseudonym.key", "pseudonym-*.key"  # in the data folder; the first once in HYBRID_HOME
LOG = logging.getLogger(__name__)

_data_folder: Path | None = None  # the folder that this process works on
_keys_in_use: "dict[Path, Key]" = {}


@dataclass(frozen=True)
class Key:
    """32 random bytes."""

    secret: bytes = field(repr=False)

    @property
    def id(self) -> bytes:
        return hashlib.sha256(b"which key" + self.secret).digest()[:ID_BYTES]

    @property
    def encryption_key(self) -> bytes:
        """The key derived from this one with which bytes are encrypted."""
        return hashlib.sha256(b"raw bytes" + self.secret).digest()


def use_data_folder(folder: Path) -> None:
    """From now on keys that no setting gives are those in this folder, and not those in HYBRID_DATA."""
    global _data_folder  # a process works on one folder, and expressions that need a key are built all over it
    _data_folder = folder.absolute()
    _keys_in_use.clear()


def present_key(settings: Settings | None = None) -> Key:
    """HYBRID_PSEUDONYM_KEY, else the data folder's own key, made on first use: whoever has the data has its key.

    Raises SettingsError for text or a file that is no key, or no random one.
    """
    settings = settings or load(Settings)
    if settings.pseudonym_key is None:
        path, earlier_path = (folder / KEY_FILE for folder in _folders(settings))
        # Read once: a file that is moved for a rotation is not to change the key, or be made anew, under a running stream.
        if path not in _keys_in_use:
            _keys_in_use[path] = _read_or_make_key(path, earlier_path)
        return _keys_in_use[path]
    return _parse_key("HYBRID_PSEUDONYM_KEY", settings.pseudonym_key.get_secret_value())


def former_keys(settings: Settings | None = None) -> list[Key]:
    """Keys of HYBRID_PSEUDONYM_FORMER_KEYS, and of the data folder's files pseudonym-ANYTHING.key. Raises SettingsError."""
    settings = settings or load(Settings)
    texts = settings.pseudonym_former_keys.get_secret_value().split(",") if settings.pseudonym_former_keys else []
    files = [path for folder in _folders(settings) for path in sorted(folder.glob(FORMER_KEY_FILES))]
    return [_parse_key("HYBRID_PSEUDONYM_FORMER_KEYS", text.strip()) for text in texts] + [_read_key_file(path) for path in files]


def all_keys(settings: Settings | None = None) -> list[Key]:
    """The present key and then the former ones."""
    settings = settings or load(Settings)
    return list(dict.fromkeys([present_key(settings), *former_keys(settings)]))


def _folders(settings: Settings) -> tuple[Path, Path]:
    """The data folder, where keys are kept, and HYBRID_HOME, where an earlier version kept them."""
    return _data_folder or settings.data.expanduser().absolute(), settings.home.expanduser().absolute()


def _parse_key(name: str, text: str) -> Key:
    try:
        secret = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise SettingsError(f"{name}: base64 of {KEY_BYTES} bytes expected; to make one: openssl rand -base64 {KEY_BYTES}")
    return _check_random(secret, name)


def _read_key_file(path: Path) -> Key:
    secret = path.read_bytes()
    if len(secret) != KEY_BYTES:
        raise SettingsError(
            f"{path} is no key: it has {len(secret)} bytes, not {KEY_BYTES}. Put the right one back, or remove it for a new "
            "one, with which the same person gets another pseudonym"
        )
    return _check_random(secret, str(path))


def _check_random(secret: bytes, source: str) -> Key:
    if len(set(secret)) < MIN_DIFFERENT_BYTES:
        raise SettingsError(f"{source} is no random key, so it can be guessed; to make one: openssl rand -base64 {KEY_BYTES}")
    return Key(secret)


def _read_or_make_key(path: Path, earlier_path: Path) -> Key:
    if path.exists():
        return _read_key_file(path)
    secret = secrets.token_bytes(KEY_BYTES)
    if earlier_path.exists() and not any(path.parent.glob(FORMER_KEY_FILES)):  # with a former key, a new key is asked for
        secret = _read_key_file(earlier_path).secret
        LOG.warning("the key of pseudonyms, kept in %s by an earlier version, is kept with the data now: %s", earlier_path, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    unfinished.touch(mode=0o600)
    with unfinished.open("wb") as file:
        file.write(secret)
        file.flush()
        os.fsync(file.fileno())  # without it a crash might leave an empty file: a key that anybody can guess
    try:
        os.link(unfinished, path)  # atomic, and never over a key that another process has just made
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()
    return _read_key_file(path)
