"""Fields that name a person: a keyed hash in their place, and the raw bytes that may hold them only encrypted.

A vertical lists such fields in `Vertical.pseudonymised`. From the contract on nothing downstream sees their text: tables,
alerts, quarantine, dead letters, labels. The same key gives the same pseudonym, so baselines and alerts stay joined.
The input topic itself holds what its producers sent.
"""

import base64
import binascii
import hashlib
import os
import secrets
from pathlib import Path

from pyspark.sql import Column
from pyspark.sql import functions as F

from common.settings import Settings, SettingsError, load
from common.vertical import Vertical

KEY_BYTES = 32
KEY_NOTE = "pseudonym-key.id"
BLOCK = 64  # bytes that SHA-256 takes at once (RFC 2104)
SHOWN_DIGITS = 24  # of the 64 hexadecimal digits: 96 bits, no two of a billion people alike


def secret_key(settings: Settings | None = None) -> bytes:
    """HYBRID_PSEUDONYM_KEY (base64 of 32 bytes), else a key of this machine's, made on first use in HYBRID_HOME.

    Raises SettingsError when the setting cannot be read as such a key.
    """
    settings = settings or load(Settings)
    if settings.pseudonym_key is None:
        return _own_key(settings.home.expanduser().absolute() / "pseudonym.key")
    try:
        key = base64.b64decode(settings.pseudonym_key.get_secret_value(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(
            f"HYBRID_PSEUDONYM_KEY: base64 of {KEY_BYTES} bytes expected; one is made by: openssl rand -base64 {KEY_BYTES}"
        )
    return key


def pseudonym(value: Column, key: bytes) -> Column:
    """The first 24 hexadecimal digits of HMAC-SHA-256 (RFC 2104) of text; null stays null. Native: it runs in real time."""
    inner = F.unhex(F.sha2(F.concat(F.lit(_padded(key, 0x36)), value.cast("binary")), 256))
    return F.substring(F.sha2(F.concat(F.lit(_padded(key, 0x5C)), inner), 256), 1, SHOWN_DIGITS)


def with_pseudonyms(vertical: Vertical, fields: list[str]) -> list[Column]:
    """The columns `fields`, those that the vertical lists replaced by pseudonyms."""
    if not vertical.pseudonymised:
        return [F.col(name) for name in fields]
    key = secret_key()
    return [pseudonym(F.col(name), key).alias(name) if name in vertical.pseudonymised else F.col(name) for name in fields]


def of_entity(vertical: Vertical, value: Column) -> Column:
    """An entity's id from elsewhere (a label, a history that was generated) as the vertical's tables have it."""
    return pseudonym(value, secret_key()) if vertical.entity in vertical.pseudonymised else value


def encrypted(value: Column, *place: Column | str) -> Column:
    """AES-GCM of bytes under the secret key. The nonce comes from `place`, which names what is encrypted, and from the bytes:
    a retry makes the same bytes, something else never the same nonce. The place alone would not do: after a topic was made
    anew, or on another cluster, it is another record's, and two texts under one nonce tell each other.
    """
    key = hashlib.sha256(b"raw bytes" + secret_key()).digest()
    of_record = F.concat_ws("|", F.lit(key.hex()), *place, F.sha2(value, 256))
    nonce = F.unhex(F.substring(F.sha2(of_record, 256), 1, 24))
    return F.aes_encrypt(value, F.lit(key), F.lit("GCM"), F.lit("DEFAULT"), nonce)


def decrypted(value: Column) -> Column:
    """The bytes that `encrypted` hid."""
    return F.aes_decrypt(value, F.lit(hashlib.sha256(b"raw bytes" + secret_key()).digest()), F.lit("GCM"))


def check_key(vertical: Vertical, folder: Path) -> None:
    """Raises SettingsError where the tables in `folder` were written with another key than the one there is now.

    With it the same person would get another pseudonym, and what is quarantined could not be read any more. The first look
    writes down which key it is: a hash, from which nobody gets the key.
    """
    if not vertical.pseudonymised:
        return
    note, now = folder / KEY_NOTE, hashlib.sha256(b"which key" + secret_key()).hexdigest()[:16]
    if not note.exists():
        note.write_text(f"{now}\n")
    elif (before := note.read_text().strip()) != now:
        raise SettingsError(
            f"{folder} was written with another pseudonym key (its id is {before}, that of the present one {now}): give that key "
            f"in HYBRID_PSEUDONYM_KEY, or keep HYBRID_HOME where it was; remove {note} only if pseudonyms may change from now on"
        )


def _padded(key: bytes, pad: int) -> bytearray:
    return bytearray(byte ^ pad for byte in key.ljust(BLOCK, b"\0"))


def _own_key(path: Path) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    if not path.exists():
        made.touch(mode=0o600)
        with made.open("wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())  # or a crash might leave an empty file, and every pseudonym to whoever guesses that
        try:
            os.link(made, path)  # whole or not at all, and never over one that another process made meanwhile
        except FileExistsError:
            pass
        finally:
            made.unlink()
    key = path.read_bytes()
    if len(key) != KEY_BYTES:
        raise SettingsError(
            f"{path} is no key: it has {len(key)} bytes, not {KEY_BYTES}. Put the right one back, or remove it for a new "
            "one, with which the same person gets another pseudonym"
        )
    return key
