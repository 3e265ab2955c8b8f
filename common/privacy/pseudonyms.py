"""Fields that name a person: a keyed hash in their place, and the raw bytes that may hold them only encrypted.

A vertical lists such fields in `Vertical.pseudonymised`. From the contract on nothing downstream sees their text: tables,
alerts, quarantine, dead letters, labels. The same key gives the same pseudonym, so baselines and alerts stay joined.
The input topic itself holds what its producers sent.

No key is a literal: Spark prints literals wherever it prints a plan, in an error, a log, or on its web page. A key is the
one row of a table in the driver's memory, asked for by a scalar subquery: it is read once a batch, is as fast as a literal
then, in real-time mode too, and all that is printed of it is `scalar-subquery`.
"""

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from common.privacy.keys import ID_BYTES, Key, known_keys, present_key
from common.vertical import Vertical

BLOCK = 64  # bytes that SHA-256 takes at once (RFC 2104)
SHOWN_DIGITS = 24  # of the 64 hexadecimal digits: 96 bits, no two of a billion people alike


def pseudonym(value: Column, key: Key) -> Column:
    """The first 24 hexadecimal digits of HMAC-SHA-256 (RFC 2104) of text; null stays null. Native: it runs in real time."""
    inner = F.unhex(F.sha2(F.concat(_secret(_padded(key, 0x36)), value.cast("binary")), 256))
    return F.substring(F.sha2(F.concat(_secret(_padded(key, 0x5C)), inner), 256), 1, SHOWN_DIGITS)


def with_pseudonyms(vertical: Vertical, fields: list[str]) -> list[Column]:
    """The columns `fields`, those that the vertical lists replaced by pseudonyms."""
    if not vertical.pseudonymised:
        return [F.col(name) for name in fields]
    key = present_key()
    return [pseudonym(F.col(name), key).alias(name) if name in vertical.pseudonymised else F.col(name) for name in fields]


def of_entity(vertical: Vertical, value: Column) -> Column:
    """An entity's id from elsewhere (a label, a history that was generated) as the vertical's tables have it."""
    return pseudonym(value, present_key()) if vertical.entity in vertical.pseudonymised else value


def encrypted(value: Column, *place: Column | str) -> Column:
    """The key's id, and AES-GCM of bytes under the key. The nonce comes from `place`, which names what is encrypted, and from
    the bytes: a retry makes the same bytes, something else never the same nonce. The place alone would not do: after a topic
    was made anew, or on another cluster, it is another record's, and two texts under one nonce tell each other.
    """
    key = present_key()
    secret = _secret(key.of_bytes)
    of_record = F.concat(secret, F.concat_ws("|", *place, F.sha2(value, 256)).cast("binary"))
    nonce = F.unhex(F.substring(F.sha2(of_record, 256), 1, 24))
    return F.concat(F.lit(key.id), F.aes_encrypt(value, secret, F.lit("GCM"), F.lit("DEFAULT"), nonce))


def decrypted(value: Column) -> Column:
    """The bytes that `encrypted` hid with one of the known keys; null where it was another, or the bytes were changed.

    Bytes from before the key's id stood with them are tried with each key.
    """
    known = [(key.id, _secret(key.of_bytes)) for key in known_keys()]
    rest = F.substring(value, ID_BYTES + 1, 2**31 - 1)
    named = [F.when(key_id(value) == F.lit(each), F.try_aes_decrypt(rest, secret, F.lit("GCM"))) for each, secret in known]
    return F.coalesce(*named, *[F.try_aes_decrypt(value, secret, F.lit("GCM")) for _, secret in known])


def key_id(value: Column) -> Column:
    """Of what `encrypted` hid, the id of the key."""
    return F.substring(value, 1, ID_BYTES)


def _secret(value: bytes) -> Column:
    spark = SparkSession.active()
    rows = spark._jvm.java.util.ArrayList()  # type: ignore[union-attr]
    rows.add(bytearray(value))
    table = spark._jsparkSession.createDataset(rows, spark._jvm.org.apache.spark.sql.Encoders.BINARY())  # type: ignore[union-attr]
    return DataFrame(table.toDF(), spark).scalar()


def _padded(key: Key, pad: int) -> bytes:
    return bytes(byte ^ pad for byte in key.secret.ljust(BLOCK, b"\0"))
