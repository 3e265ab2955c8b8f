"""Connects to Kafka: its address and security as options for clients, and why it does not answer."""

import logging
import time
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata

from common.errors import UserError
from common.kafka.security import Security
from common.settings import SettingsError

# Without a logger librdkafka writes its own lines to stderr; users get BrokerError instead.
CLIENT_LOG = logging.getLogger("kafka.client")
CLIENT_LOG.addHandler(logging.NullHandler())
CLIENT_LOG.propagate = False

REASONS = {
    KafkaError._AUTHENTICATION: "it refused the login: check kafka_sasl_mechanism, kafka_sasl_username and kafka_sasl_password",
    KafkaError._SSL: "TLS failed: check that kafka_ssl_ca_location holds the authority that signed the broker's certificate, and "
    "that neither has expired",
    KafkaError._RESOLVE: "its name is unknown: check the address",
    KafkaError._TRANSPORT: "nothing answers there: check the address, and that the broker runs and speaks {protocol}",
    KafkaError._ALL_BROKERS_DOWN: "nothing answers there: check the address, and that the broker runs and speaks {protocol}",
    KafkaError._TIMED_OUT: "no answer in time: check the address, and that the broker speaks {protocol}",
}

MAX_SILENCE_SECONDS = 30.0  # a command gives up on a broker that is away for longer; Spark itself would wait in silence

# All our consumer groups begin with this, so that one ACL covers them.
GROUP_PREFIX = "hybrid-"


class BrokerError(UserError):
    """Kafka cannot be reached, or refuses; the message says where, why and what to do."""


@dataclass(frozen=True)
class Connection:
    """A Kafka cluster. bootstrap_servers: `host:port[,host:port...]`. Its repr shows no secret."""

    bootstrap_servers: str
    security: Security = field(default_factory=Security)

    def __post_init__(self) -> None:
        for address in self.bootstrap_servers.split(","):
            host, _, port = address.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise SettingsError(f"bootstrap_servers: {address.strip()!r} is not host:port")

    @classmethod
    def from_settings(cls, settings: Any) -> "Connection":
        """From the `bootstrap_servers` and `kafka_*` fields of `common.settings.Settings`."""
        security = Security(
            protocol=settings.kafka_security_protocol,
            mechanism=settings.kafka_sasl_mechanism,
            username=settings.kafka_sasl_username,
            password=settings.kafka_sasl_password,
            ca=settings.kafka_ssl_ca_location,
            certificate=settings.kafka_ssl_certificate_location,
            key=settings.kafka_ssl_key_location,
            key_password=settings.kafka_ssl_key_password,
        )
        if not settings.bootstrap_servers:
            raise SettingsError("bootstrap_servers is not set")
        return cls(settings.bootstrap_servers, security)

    def client_options(self) -> dict[str, Any]:
        """For confluent-kafka's clients. Holds secrets in the clear: never log it."""
        return {"bootstrap.servers": self.bootstrap_servers, "logger": CLIENT_LOG, **self.security.client_options()}

    def spark_options(self) -> dict[str, str]:
        """For Spark's Kafka source and sink. Holds secrets in the clear: never log it."""
        return {"kafka.bootstrap.servers": self.bootstrap_servers, **self.security.spark_options()}

    def spark_source_options(self) -> dict[str, str]:
        """For Spark's Kafka source: without records that a producer rolled back (librdkafka's default, but not Java's)."""
        return {"kafka.isolation.level": "read_committed", **self.spark_options()}


def check_connection(connection: Connection, timeout: float = 5.0) -> int:
    """The number of brokers that the cluster has; raises BrokerError within about `timeout` seconds otherwise."""
    return len(read_cluster(connection, timeout).brokers)


def read_cluster(connection: Connection, timeout: float = 5.0) -> ClusterMetadata:
    """Id, brokers and topics of the cluster; raises BrokerError within about `timeout` seconds otherwise."""
    errors: list[KafkaError] = []
    admin = AdminClient({**connection.client_options(), "error_cb": errors.append})
    deadline = time.monotonic() + timeout
    while (remaining := deadline - time.monotonic()) > 0:
        try:
            return admin.list_topics(timeout=min(remaining, 0.5))
        except KafkaException as failure:
            errors.append(failure.args[0])
        admin.poll(0)
        if any(error.code() in (KafkaError._AUTHENTICATION, KafkaError._SSL, KafkaError._RESOLVE) for error in errors):
            break  # waiting longer does not cure these
    raise BrokerError(explain_failure(connection, errors))


def explain_failure(connection: Connection, errors: list[KafkaError]) -> str:
    """One sentence on why the cluster does not answer, from what the client library reported."""
    by_code = {error.code(): error for error in reversed(errors)}
    for code, reason in REASONS.items():
        if code in by_code:
            sentence = reason.format(protocol=connection.security.protocol)
            return f"no Kafka at {connection.bootstrap_servers}: {sentence} ({by_code[code].str()})"
    texts = "; ".join(dict.fromkeys(error.str() for error in errors)) or "no answer"
    return f"no Kafka at {connection.bootstrap_servers}: {texts}"
