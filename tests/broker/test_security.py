"""A broker with TLS and a login: both clients get in by the one definition, and who cannot is told why."""

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import SecretStr

from common.embedded.kafka import EmbeddedKafka
from common.ingestion.connection import BrokerError, Connection, check
from common.ingestion.producers import Producer, Undelivered
from common.ingestion.reader import read_all
from common.ingestion.security import Security
from common.ingestion.topics import ensure_topics

pytestmark = pytest.mark.broker

PASSWORD = 'pa"ss\\w rd;'
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
QUOTED = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')


def make_certificate(folder, name):
    """A certificate that signs itself, for 127.0.0.1, with its key: paths of the certificate and of both in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin, end = datetime.now(UTC) - timedelta(1), datetime.now(UTC) + timedelta(1)
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number(), begin, end)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    ).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.pem").write_bytes(certificate)
    (folder / f"{name}-and-key.pem").write_bytes(private + certificate)
    return folder / f"{name}.pem", folder / f"{name}-and-key.pem"


def login(ca, password=PASSWORD):
    return Security(protocol="SASL_SSL", mechanism="PLAIN", username="ann", password=SecretStr(password), ca=ca)


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """The address of a broker with TLS and a login, and the certificate to trust."""
    folder = tmp_path_factory.mktemp("secured")
    certificate, both = make_certificate(folder, "broker")
    properties = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificate),
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config":
            f'{LOGIN} username="ann" password="{QUOTED}" user_ann="{QUOTED}";',
    }
    client = {name: value for name, value in login(certificate).client_options().items() if isinstance(value, str)}
    with EmbeddedKafka(folder / "kafka", protocol="SASL_SSL", properties=properties, client=client) as kafka:
        yield kafka.bootstrap_servers, certificate


def test_the_one_definition_lets_in_both_clients(secured, spark):
    address, certificate = secured
    connection = Connection(address, login(certificate))
    assert check(connection) == 1
    ensure_topics(connection, "t", partitions=1)
    with Producer(connection) as producer:
        producer.send("t.events", b"k", b"v")
    assert [record.value for record in read_all(connection, "t.events")] == [b"v"]
    rows = spark.read.format("kafka").options(**connection.spark_options()).option("subscribe", "t.events").load()
    assert [bytes(row.value) for row in rows.select("value").collect()] == [b"v"]


def test_a_wrong_password_is_told(secured):
    address, certificate = secured
    with pytest.raises(BrokerError, match="refused the login: check kafka_sasl_mechanism") as caught:
        check(Connection(address, login(certificate, "wr0ng")))
    assert "wr0ng" not in str(caught.value)


def test_a_certificate_of_a_foreign_authority_is_told(secured, tmp_path):
    foreign, _ = make_certificate(tmp_path, "foreign")
    with pytest.raises(BrokerError, match="TLS failed: check that kafka_ssl_ca_location"):
        check(Connection(secured[0], login(foreign)))


def test_plain_text_to_a_broker_with_tls_is_told(secured):
    with pytest.raises(BrokerError, match="speaks PLAINTEXT"):
        check(Connection(secured[0]), timeout=3)


def test_a_producer_with_a_wrong_password_delivers_nothing_and_says_so(secured):
    address, certificate = secured
    producer = Producer(Connection(address, login(certificate, "wr0ng")), delivery_timeout=2)
    with pytest.raises(Undelivered) as caught, producer:
        producer.send("t.events", b"k", b"v")
    assert (caught.value.delivered, caught.value.failed) == (0, 1)
