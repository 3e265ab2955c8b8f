"""Reads and checks the address at which the gateway listens, with the files of its TLS."""

import errno
import socket
from dataclasses import dataclass
from pathlib import Path

from common.gateway.loopback_only import is_loopback
from common.gateway.tokens import Tokens
from common.settings import SettingsError


@dataclass(frozen=True)
class Address:
    """Where to listen, and the PEM files of TLS; without them the gateway speaks plain HTTP."""

    host: str
    port: int
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def parse(cls, text: str, certificate: Path | None = None, key: Path | None = None) -> "Address":
        """Reads `HOST:PORT`; raises SettingsError for another text, and for a file of TLS that is missing."""
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
        """The address as a client writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.certificate else 'http'}://{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def listen(self) -> socket.socket:
        """Returns a socket bound to the address; raises SettingsError if there can be none."""
        try:
            candidates = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            family, *_, address = min(candidates, key=lambda candidate: candidate[0] != socket.AF_INET)  # IPv4, where it has both
            listener = socket.socket(family, socket.SOCK_STREAM)
        except OSError as problem:
            raise SettingsError(f"cannot listen at {self.url}: {problem.strerror}; give another --http HOST:PORT") from None
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError as problem:
            listener.close()
            reason = "another program listens there" if problem.errno == errno.EADDRINUSE else problem.strerror
            raise SettingsError(f"cannot listen at {self.url}: {reason}; give another --http HOST:PORT") from None
        return listener

    def check(self, tokens: Tokens) -> None:
        """Raises SettingsError where other machines could reach the address and there is no token, or no TLS."""
        if self.is_loopback:
            return
        requirements = (("a token (hybrid token add)", bool(tokens)), ("TLS (--certificate, --key)", bool(self.certificate)))
        unmet = [requirement for requirement, is_met in requirements if not is_met]
        if unmet:
            raise SettingsError(f"{self.host} can be reached from other machines: that needs {' and '.join(unmet)}")
