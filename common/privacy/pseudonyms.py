"""Replaces fields that name a person by keyed hashes, and encrypts the raw bytes that may hold them.

A vertical lists such fields in `Vertical.pseudonymised`. After the contract nothing downstream sees their text: tables,
alerts, quarantine, dead letters, labels. The same key gives the same pseudonym, so baselines and alerts stay joined.
The input topic itself holds what its producers sent.

No key is a literal: Spark prints literals wherever it prints a plan, in an error, a log, or on its web page. A key is the
one row of a table in the driver's memory, read by a scalar subquery: it is read once a batch, is then as fast as a literal,
in real-time mode too, and a plan shows `scalar-subquery` in its place.
"""

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from common.privacy.keys import ID_BYTES, Key, all_keys, present_key
from common.vertical import Vertical

BLOCK_BYTES = 64  # of SHA-256 (RFC 2104)
SHOWN_DIGITS = 24  # of the 64 hexadecimal digits: 96 bits, no two of a billion people alike


def pseudonym(value: Column, key: Key) -> Column:
    """The first 24 hexadecimal digits of HMAC-SHA-256 (RFC 2104) of text; null stays null. Native: it runs in real time."""
    inner = F.unhex(F.sha2(F.concat(_secret_column(_pad_key(key, 0x36)), value.cast("binary")), 256))
    return F.substring(F.sha2(F.concat(_secret_column(_pad_key(key, 0x5C)), inner), 256), 1, SHOWN_DIGITS)


def with_pseudonyms(vertical: Vertical, fields: list[str]) -> list[Column]:
    """The columns `fields`, with pseudonyms in the place of those that the vertical lists."""
    if not vertical.pseudonymised:
        return [F.col(name) for name in fields]
    key = present_key()
    return [pseudonym(F.col(name), key).alias(name) if name in vertical.pseudonymised else F.col(name) for name in fields]


def entity_pseudonym(vertical: Vertical, value: Column) -> Column:
    """An entity's id that did not come through the contract (of a label, a backfill), as the vertical's tables have it."""
    return pseudonym(value, present_key()) if vertical.entity in vertical.pseudonymised else value


def encrypt_deterministically(value: Column, *nonce_context: Column | str) -> Column:
    """The key's id, followed by AES-GCM of bytes under the key.

    The nonce is a hash of `nonce_context`, which names what is encrypted (a record's topic, partition, offset and column), and of
    the bytes: a retry gives the same result, and different bytes never share a nonce. The context alone would not do: in a
    recreated topic or on another cluster it names another record, and two texts under one nonce reveal each other.
    """
    key = present_key()
    secret = _secret_column(key.encryption_key)
    nonce_source = F.concat(secret, F.concat_ws("|", *nonce_context, F.sha2(value, 256)).cast("binary"))
    nonce = F.unhex(F.substring(F.sha2(nonce_source, 256), 1, 24))
    return F.concat(F.lit(key.id), F.aes_encrypt(value, secret, F.lit("GCM"), F.lit("DEFAULT"), nonce))


def decrypt(value: Column) -> Column:
    """The bytes that `encrypt_deterministically` was given, by any of `all_keys`; null for another key or changed bytes.

    Bytes of an earlier version, without the key's id, are tried with each key.
    """
    secrets = [(key.id, _secret_column(key.encryption_key)) for key in all_keys()]
    ciphertext = F.substring(value, ID_BYTES + 1, 2**31 - 1)
    mode = F.lit("GCM")
    behind_id = [F.when(key_id(value) == F.lit(id_), F.try_aes_decrypt(ciphertext, secret, mode)) for id_, secret in secrets]
    return F.coalesce(*behind_id, *[F.try_aes_decrypt(value, secret, mode) for _, secret in secrets])


def key_id(value: Column) -> Column:
    """The id of the key with which `encrypt_deterministically` made the bytes."""
    return F.substring(value, 1, ID_BYTES)


def _secret_column(value: bytes) -> Column:
    """Secret bytes as a column that no plan shows (see above)."""
    spark = SparkSession.active()
    rows = spark._jvm.java.util.ArrayList()  # type: ignore[union-attr]
    rows.add(bytearray(value))
    table = spark._jsparkSession.createDataset(rows, spark._jvm.org.apache.spark.sql.Encoders.BINARY())  # type: ignore[union-attr]
    return DataFrame(table.toDF(), spark).scalar()


def _pad_key(key: Key, pad: int) -> bytes:
    """The key filled up to a block and combined with the pad byte, as HMAC has it."""
    return bytes(byte ^ pad for byte in key.secret.ljust(BLOCK_BYTES, b"\0"))
