"""The certificate authorities this machine trusts, in the form that Java reads.

A runtime from a package brings its own list, which knows nothing of, say, a company's authority.
"""

import hashlib
import ssl
import struct
from pathlib import Path

PASSWORD = "changeit"  # by custom: the authorities are public, the password is only the format's checksum


def write_trust_store(path: Path) -> bool:
    """A Java key store (JKS) of the authorities that Python finds; False, and no file, when it finds none."""
    certificates = _authorities()
    if not certificates:
        return False
    content = struct.pack(">III", 0xFEEDFEED, 2, len(certificates))
    for number, certificate in enumerate(certificates):
        content += struct.pack(">I", 2) + _text(f"authority-{number}") + struct.pack(">Q", 0)
        content += _text("X.509") + struct.pack(">I", len(certificate)) + certificate
    path.write_bytes(content + hashlib.sha1(PASSWORD.encode("utf-16-be") + b"Mighty Aphrodite" + content).digest())
    return True


def _authorities() -> list[bytes]:
    """DER certificates. A folder of them is read file by file: a context would load them one at a time, when asked for one."""
    context = ssl.create_default_context()
    folder = ssl.get_default_verify_paths().capath
    for file in sorted(Path(folder).glob("*.0")) if folder else ():
        try:
            context.load_verify_locations(file)
        except (ssl.SSLError, OSError):  # not a certificate, or not ours to read
            continue
    return sorted(context.get_ca_certs(binary_form=True))


def _text(text: str) -> bytes:
    return struct.pack(">H", len(text)) + text.encode()
