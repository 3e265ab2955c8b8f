"""A broker with TLS and a login: both clients get in by the one definition, and who cannot is told why."""

import asyncio
from contextlib import contextmanager

import pytest
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from py4j.protocol import Py4JJavaError
from pydantic import SecretStr

from common.embedded.kafka import EmbeddedKafka, ListenerSecurity
from common.gateway.alert_stream import AlertStream, server_sent_events
from common.installed import find_vertical
from common.kafka.acls import grant_role, role_rights
from common.kafka.connection import BrokerError, Connection, check_connection
from common.kafka.producers import DeliveryFailed, Producer
from common.kafka.reader import read_all
from common.kafka.security import Security
from common.kafka.topics import ensure_topics, topic_names

pytestmark = pytest.mark.broker

PASSWORD = 'pa"ss\\w rd;'
LOGIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
QUOTED = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')


def login(ca, password=PASSWORD, username="ann", mechanism="PLAIN"):
    return Security(protocol="SASL_SSL", mechanism=mechanism, username=username, password=SecretStr(password), ca=ca)


@contextmanager
def broker_with(folder, certificate, both, properties, client_options=()):
    """A broker with TLS by that certificate, and a login for ann; waits for it as ann."""
    properties = {
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(certificate),
        "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-512",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.sasl_ssl.plain.sasl.jaas.config": f'{LOGIN} username="ann" password="{QUOTED}" user_ann="{QUOTED}";',
        "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
    } | properties
    client = {name: value for name, value in login(certificate).client_options().items() if isinstance(value, str)}
    client |= dict(client_options)
    with EmbeddedKafka(folder / "kafka", properties=properties, security=ListenerSecurity("SASL_SSL", client)) as kafka:
        yield kafka.bootstrap_servers


@pytest.fixture(scope="module")
def secured(tmp_path_factory, make_certificate):
    """The address of a broker with TLS, logins and access control, and the certificate to trust."""
    folder = tmp_path_factory.mktemp("secured")
    certificate, both = make_certificate(folder, "broker")
    # Its own controller speaks to it without a login, on a listener of its own.
    controlled = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ann;User:ANONYMOUS",
    }
    with broker_with(folder, certificate, both, controlled) as address:
        yield address, certificate


@pytest.fixture(scope="module")
def detector(secured):
    """A connection with the login (SCRAM) of a detector of finance_fraud, whose topics hold a record each."""
    address, certificate = secured
    owner, vertical = Connection(address, login(certificate)), find_vertical("finance_fraud")
    ensure_topics(owner, vertical)
    with Producer(owner) as producer:
        for topic in topic_names(vertical):
            producer.send(topic, b"k", b"v")
    credentials = UserScramCredentialUpsertion("dora", ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode())
    admin = AdminClient(owner.client_options())
    for answer in admin.alter_user_scram_credentials([credentials]).values():
        answer.result()
    assert grant_role(owner, vertical, "detector", "dora") == [
        "dora may read finance_fraud.events",
        "dora may read and write finance_fraud.alerts",
    ]
    return Connection(address, login(certificate, username="dora", mechanism="SCRAM-SHA-512"))


def test_the_one_definition_lets_in_both_clients(secured, spark):
    address, certificate = secured
    connection = Connection(address, login(certificate))
    assert check_connection(connection) == 1
    ensure_topics(connection, "t", partitions=1)
    with Producer(connection) as producer:
        producer.send("t.events", b"k", b"v")
    assert [record.value for record in read_all(connection, "t.events")] == [b"v"]
    rows = spark.read.format("kafka").options(**connection.spark_options()).option("subscribe", "t.events").load()
    assert [bytes(row.value) for row in rows.select("value").collect()] == [b"v"]


def test_a_wrong_password_is_told(secured):
    address, certificate = secured
    with pytest.raises(BrokerError, match="refused the login: check kafka_sasl_mechanism") as caught:
        check_connection(Connection(address, login(certificate, "wr0ng")))
    assert "wr0ng" not in str(caught.value)


def test_a_certificate_of_a_foreign_authority_is_told(secured, make_certificate, tmp_path):
    foreign, _ = make_certificate(tmp_path, "foreign")
    with pytest.raises(BrokerError, match="TLS failed: check that kafka_ssl_ca_location"):
        check_connection(Connection(secured[0], login(foreign)))


def test_plain_text_to_a_broker_with_tls_is_told(secured):
    with pytest.raises(BrokerError, match="speaks PLAINTEXT"):
        check_connection(Connection(secured[0]), timeout=3)


def test_a_producer_with_a_wrong_password_delivers_nothing_and_says_so(secured):
    address, certificate = secured
    producer = Producer(Connection(address, login(certificate, "wr0ng")), delivery_timeout=2)
    with pytest.raises(DeliveryFailed) as caught, producer:
        producer.send("t.events", b"k", b"v")
    assert (caught.value.delivered_count, caught.value.failed_count) == (0, 1)


def test_an_expired_certificate_is_told(make_certificate, tmp_path):
    expired, both = make_certificate(tmp_path, "expired", days=-1)
    unseen = {"enable.ssl.certificate.verification": "false"}  # or nothing would ever see this broker answer
    with (
        broker_with(tmp_path, expired, both, {}, unseen) as address,
        pytest.raises(BrokerError, match="and that neither has expired"),
    ):
        check_connection(Connection(address, login(expired)))


def test_a_detector_reads_events_and_writes_alerts(detector, spark):
    vertical = find_vertical("finance_fraud")
    needed = role_rights(vertical, "detector")
    assert set(ensure_topics(detector, vertical, only=needed)) == set(needed)
    with Producer(detector) as producer:
        producer.send("finance_fraud.alerts", b"k", b"an alert")
    assert {record.value for record in read_all(detector, "finance_fraud.alerts")} == {b"v", b"an alert"}
    rows = spark.read.format("kafka").options(**detector.spark_options()).option("subscribe", "finance_fraud.events").load()
    assert [bytes(row.value) for row in rows.select("value").collect()] == [b"v"]


def test_a_detector_cannot_read_labels(detector, spark):
    with pytest.raises(BrokerError, match=r"finance_fraud\.labels"):
        read_all(detector, "finance_fraud.labels")
    rows = spark.read.format("kafka").options(**detector.spark_options()).option("subscribe", "finance_fraud.labels").load()
    with pytest.raises(Py4JJavaError, match="authorization failed"):
        rows.collect()


@pytest.mark.parametrize("topic", ["finance_fraud.labels", "finance_fraud.events", "finance_fraud.dead-letter"])
def test_a_detector_writes_nothing_but_alerts(detector, topic):
    with pytest.raises(DeliveryFailed), Producer(detector, delivery_timeout=3) as producer:
        producer.send(topic, b"k", b"v")


def test_who_may_not_create_topics_or_grant_is_told(detector):
    with pytest.raises(BrokerError, match="may not create topics"):
        ensure_topics(detector, find_vertical("finance_fraud"))
    with pytest.raises(BrokerError, match="archive=dora"):
        grant_role(detector, find_vertical("finance_fraud"), "archive", "dora")


def test_a_listener_is_told_when_the_right_to_read_is_withdrawn(secured, detector):
    address, certificate = secured
    admin, topic = AdminClient(Connection(address, login(certificate)).client_options()), topic_names("finance_fraud").alerts
    granted = AclBindingFilter(
        ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:dora", None, AclOperation.READ, AclPermissionType.ALLOW
    )

    async def hear():
        async with AlertStream(detector, topic).listen() as listener:
            for answer in admin.delete_acls([granted]).values():
                assert answer.result(30)
            return [event async for event in server_sent_events(listener, lambda: False)]

    try:
        events = asyncio.run(asyncio.wait_for(hear(), 60))
    finally:
        grant_role(Connection(address, login(certificate)), find_vertical("finance_fraud"), "detector", "dora")
    assert events[-1].startswith(b"event: failed\n") and b"authorization" in events[-1].lower()
