"""Where the gateway listens, and what it needs for that."""

from dataclasses import dataclass
from pathlib import Path

from common.gateway.access import is_loopback
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

    def check(self, tokens: Tokens) -> None:
        """Raises SettingsError where others could reach it and it has neither token nor TLS."""
        if is_loopback(self.host):
            return
        lacking = [what for what, there in (
            ("a token (hybrid token add)", bool(tokens)), ("TLS (--certificate, --key)", bool(self.certificate))) if not there]
        if lacking:
            raise SettingsError(f"{self.host} can be reached from other machines: that needs {' and '.join(lacking)}")
