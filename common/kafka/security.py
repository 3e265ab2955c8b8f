"""Kafka's security (SASL, TLS): one definition, as options of confluent-kafka and as options of Spark."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from common.settings import SettingsError

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
LOGIN_MODULES = {
    "PLAIN": "org.apache.kafka.common.security.plain.PlainLoginModule",
    "SCRAM-SHA-256": "org.apache.kafka.common.security.scram.ScramLoginModule",
    "SCRAM-SHA-512": "org.apache.kafka.common.security.scram.ScramLoginModule",
}
# Spark shows options in plans and event logs unless their names match its redaction patterns: this pattern, to which a session
# sets spark.redaction.regex and spark.sql.redaction.options.regex.
SECRET_OPTIONS = r"(?i)secret|password|token|access[.]?key|jaas|keystore\.key"


@dataclass(frozen=True)
class Security:
    """Protocol, login and TLS files (PEM; a private key in PKCS#8, the form that both client libraries read).

    Raises SettingsError for unknown, missing or contradictory values, and for files that cannot be read.
    """

    protocol: str = "PLAINTEXT"
    mechanism: str | None = None
    username: str | None = None
    password: SecretStr | None = field(default=None, repr=False)
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    key_password: SecretStr | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise SettingsError(f"kafka_security_protocol is {self.protocol!r}; it is one of {', '.join(PROTOCOLS)}")
        self._check_login()
        self._check_tls()

    @property
    def sasl(self) -> bool:
        return self.protocol.startswith("SASL")

    @property
    def tls(self) -> bool:
        return self.protocol.endswith("SSL")

    def client_options(self) -> dict[str, Any]:
        """For librdkafka. Holds secrets in the clear: never log it."""
        options = {
            "security.protocol": self.protocol,
            "sasl.mechanism": self.mechanism if self.sasl else None,
            "sasl.username": self.username,
            "sasl.password": _secret_text(self.password),
            "ssl.ca.location": _path_text(self.ca),
            "ssl.certificate.location": _path_text(self.certificate),
            "ssl.key.location": _path_text(self.key or self.certificate),
            "ssl.key.password": _secret_text(self.key_password),
        }
        return {name: value for name, value in options.items() if value is not None}

    def spark_options(self) -> dict[str, str]:
        """For Spark's Kafka source and sink. Holds secrets in the clear: never log it.

        The CA's path must exist on every executor, as must the certificate's when the same file holds the key; a
        certificate and key in files of their own travel as text, because Kafka's Java client has no two-file form.
        """
        options = {
            "security.protocol": self.protocol,
            "sasl.mechanism": self.mechanism if self.sasl else None,
            "sasl.jaas.config": self._jaas() if self.sasl else None,
            "ssl.truststore.type": "PEM" if self.ca else None,
            "ssl.truststore.location": _path_text(self.ca),
            "ssl.keystore.type": "PEM" if self.certificate else None,
            "ssl.key.password": _secret_text(self.key_password),
            **self._keystore(),
        }
        return {f"kafka.{name}": value for name, value in options.items() if value is not None}

    def _jaas(self) -> str:
        module = LOGIN_MODULES[self.mechanism or ""]
        username, password = _quote_jaas(self.username or ""), _quote_jaas(_secret_text(self.password) or "")
        return f"{module} required username={username} password={password};"

    def _keystore(self) -> dict[str, str | None]:
        if self.certificate and self.key and self.key != self.certificate:
            return {"ssl.keystore.certificate.chain": self.certificate.read_text(), "ssl.keystore.key": self.key.read_text()}
        return {"ssl.keystore.location": _path_text(self.certificate)}

    def _check_login(self) -> None:
        if not self.sasl:
            if self.username or self.password:
                raise SettingsError(f"kafka_sasl_username is set, but kafka_security_protocol {self.protocol} has no login")
            return
        if self.mechanism not in LOGIN_MODULES:
            raise SettingsError(f"kafka_sasl_mechanism is {self.mechanism!r}; it is one of {', '.join(LOGIN_MODULES)}")
        for name in ("username", "password"):
            if not getattr(self, name):
                raise SettingsError(f"kafka_sasl_{name} is not set, and kafka_security_protocol {self.protocol} needs it")

    def _check_tls(self) -> None:
        if not self.tls and (self.ca or self.certificate or self.key):
            raise SettingsError(f"kafka_ssl_* is set, but kafka_security_protocol {self.protocol} has no TLS")
        if self.key and not self.certificate:
            raise SettingsError("kafka_ssl_key_location is set without kafka_ssl_certificate_location")
        if self.ca:
            _require_file(self.ca, "kafka_ssl_ca_location", "-----BEGIN CERTIFICATE-----")
        if self.certificate:
            _require_file(self.certificate, "kafka_ssl_certificate_location", "-----BEGIN CERTIFICATE-----")
            _require_file(
                self.key or self.certificate,
                "kafka_ssl_key_location",
                "-----BEGIN PRIVATE KEY-----",
                "-----BEGIN ENCRYPTED PRIVATE KEY-----",
                hint=" (convert it: openssl pkcs8 -topk8 -in KEY -out KEY.pk8)",
            )


def _require_file(path: Path, setting: str, *markers: str, hint: str = "") -> None:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise SettingsError(f"{setting}: {path} cannot be read: {reason}") from None
    if not any(marker in text for marker in markers):
        raise SettingsError(f"{setting}: {path} has no {' or '.join(markers)}{hint}")


def _secret_text(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value else None


def _path_text(path: Path | None) -> str | None:
    return str(path) if path else None


def _quote_jaas(text: str) -> str:
    """`text` as a quoted string of the JAAS grammar, which Java reads with C's escapes and ends at a bare line break."""
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(character, escaped)
    return f'"{text}"'
