"""Which key opens what a quarantine table of before holds, told without Spark."""

from collections.abc import Iterator, Sequence

import pyarrow.parquet as pq
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from common import tables
from common.privacy.keys import ID_BYTES, Key

NONCE_BYTES, TAG_BYTES = 12, 16
MOST_ROWS = 10_000  # that are tried before none is taken to be opened


def opening_keys(quarantine: str, keys: Sequence[Key]) -> list[Key] | None:
    """Those of `keys` that open rows of the table, in their order; None where it has no encrypted rows.

    Once the first of them does, it is not asked whether others do.
    """
    if not tables.table_exists(quarantine):
        return None
    opened: set[Key] = set()
    is_encrypted = False
    for value in _encrypted(quarantine):
        is_encrypted = True
        opened |= {key for key in keys if _opens(key, value)}
        if keys[0] in opened:
            break
    return [key for key in keys if key in opened] if is_encrypted else None


def _encrypted(quarantine: str) -> Iterator[bytes]:
    """Bytes that `pseudonyms.encrypted` may have made, of some rows."""
    tried = 0
    for file in tables.files(quarantine):
        with pq.ParquetFile(file) as rows:
            for batch in rows.iter_batches(batch_size=100, columns=["raw"]):
                for value in batch.column(0):
                    if value.is_valid and len(value.as_py()) >= NONCE_BYTES + TAG_BYTES:
                        yield value.as_py()
                tried += batch.num_rows
                if tried >= MOST_ROWS:
                    return


def _opens(key: Key, value: bytes) -> bool:
    """As `pseudonyms.decrypted`: behind the key's id, or from before the id stood there."""
    return any(_is_read(key, each) for each in ([value[ID_BYTES:]] if value.startswith(key.id) else []) + [value])


def _is_read(key: Key, value: bytes) -> bool:
    try:
        AESGCM(key.of_bytes).decrypt(value[:NONCE_BYTES], value[NONCE_BYTES:], None)
    except (InvalidTag, ValueError):
        return False
    return True
