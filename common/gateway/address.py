"""Where the gateway listens, and what it needs for that."""

import errno
import socket
from dataclasses import dataclass
from pathlib import Path

from common.gateway.loopback_only import is_loopback
from common.gateway.tokens import Tokens
from common.settings import SettingsError


@dataclass(frozen=True)
class Address:
    """Where to listen, and the files of TLS, PEM."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def read(cls, text: str, certificate: Path | None = None, key: Path | None = None) -> "Address":
        """From `HOST:PORT`; raises SettingsError."""
        host, _, port = text.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 65536:
            raise SettingsError(f"--http {text!r}: give HOST:PORT, such as 127.0.0.1:8080")
        for path in (certificate, key):
            if path and not path.is_file():
                raise SettingsError(f"{path} is not there: --certificate and --key are PEM files")
        if bool(certificate) != bool(key):
            raise SettingsError("--certificate and --key belong together: give both")
        return cls(host.strip("[]"), int(port), certificate, key)

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def listen(self) -> socket.socket:
        """A socket bound to it; raises SettingsError."""
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, *_, place = min(found, key=lambda each: each[0] != socket.AF_INET)  # IPv4, where a name has both
            listening = socket.socket(family, socket.SOCK_STREAM)
        except OSError as problem:
            raise SettingsError(f"cannot listen at {self.url}: {problem.strerror}; give another --http HOST:PORT") from None
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(place)
        except OSError as problem:
            listening.close()
            taken = "another program listens there" if problem.errno == errno.EADDRINUSE else problem.strerror
            raise SettingsError(f"cannot listen at {self.url}: {taken}; give another --http HOST:PORT") from None
        return listening

    def check(self, tokens: Tokens) -> None:
        """Raises SettingsError where others could reach it and it has neither token nor TLS."""
        if self.is_loopback:
            return
        lacking = [what for what, there in (
            ("a token (hybrid token add)", bool(tokens)), ("TLS (--certificate, --key)", bool(self.certificate))) if not there]
        if lacking:
            raise SettingsError(f"{self.host} can be reached from other machines: that needs {' and '.join(lacking)}")
