"""Finds, without Spark, the keys that decrypt the rows of an existing quarantine table."""

from collections.abc import Iterator, Sequence

import pyarrow.parquet as pq
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common import tables
from common.privacy.keys import ID_BYTES, Key

NONCE_BYTES, TAG_BYTES = 12, 16
MAX_ROWS_TRIED = 10_000  # where no key decrypts any of so many rows, none is taken to decrypt the table


def find_usable_keys(quarantine: str, keys: Sequence[Key]) -> list[Key] | None:
    """Those of `keys` that decrypt rows of the table, in their order; None where it has no encrypted rows.

    Once the first key decrypts a row, the search ends: the others are left out although they may decrypt rows too.
    """
    if not tables.table_exists(quarantine):
        return None
    usable_keys: set[Key] = set()
    is_encrypted = False
    for value in _encrypted_values(quarantine):
        is_encrypted = True
        usable_keys |= {key for key in keys if _can_open(key, value)}
        if keys[0] in usable_keys:
            break
    return [key for key in keys if key in usable_keys] if is_encrypted else None


def _encrypted_values(quarantine: str) -> Iterator[bytes]:
    """Values of the first MAX_ROWS_TRIED rows that `pseudonyms.encrypt_deterministically` may have made."""
    rows_tried = 0
    for file in tables.files(quarantine):
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=100, columns=["raw"]):
                for value in batch.column(0):
                    if value.is_valid and len(value.as_py()) >= NONCE_BYTES + TAG_BYTES:
                        yield value.as_py()
                rows_tried += batch.num_rows
                if rows_tried >= MAX_ROWS_TRIED:
                    return


def _can_open(key: Key, value: bytes) -> bool:
    """Whether the key decrypts it, as `pseudonyms.decrypt` does: behind the key's id, or in the earlier form without an id."""
    behind_id = [value[ID_BYTES:]] if value.startswith(key.id) else []
    return any(_can_decrypt(key, encrypted) for encrypted in [*behind_id, value])


def _can_decrypt(key: Key, encrypted: bytes) -> bool:
    try:
        AESGCM(key.encryption_key).decrypt(encrypted[:NONCE_BYTES], encrypted[NONCE_BYTES:], None)
    except (InvalidTag, ValueError):
        return False
    return True
