"""Writes the certificate authorities that this machine trusts in the format that Java reads.

A runtime from a package brings its own list, which lacks, say, a company's authority.
"""

import hashlib
import ssl
import struct
from pathlib import Path

STORE_PASSWORD = "changeit"  # by custom: the authorities are public, the password is only the format's checksum


def write_trust_store(path: Path) -> bool:
    """Writes a Java key store (JKS) of the authorities that Python finds; returns False, and writes none, if it finds none."""
    certificates = _read_authorities()
    if not certificates:
        return False
    content = struct.pack(">III", 0xFEEDFEED, 2, len(certificates))
    for number, certificate in enumerate(certificates):
        content += struct.pack(">I", 2) + _encode_text(f"authority-{number}") + struct.pack(">Q", 0)
        content += _encode_text("X.509") + struct.pack(">I", len(certificate)) + certificate
    path.write_bytes(content + hashlib.sha1(STORE_PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + content).digest())
    return True


def _read_authorities() -> list[bytes]:
    """DER certificates. Those in a folder are read here file by file: a context would only load one when a server needs it."""
    context = ssl.create_default_context()
    folder = ssl.get_default_verify_paths().capath
    for file in sorted(Path(folder).glob("*.0")) if folder else ():
        try:
            context.load_verify_locations(file)
        except (ssl.SSLError, OSError):  # not a certificate, or not ours to read
            continue
    return sorted(context.get_ca_certs(binary_form=True))


def _encode_text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()
