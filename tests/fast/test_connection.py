"""A connection's options for both clients; no secret is shown; an error says why there is no connection."""

import re
import socket
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from common.kafka.connection import BrokerError, Connection, check_connection, explain_failure
from common.kafka.security import SECRET_OPTIONS, Security
from common.settings import Settings, SettingsError

CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"


def login(password="pa55word", **other):
    return Security(protocol="SASL_SSL", mechanism="SCRAM-SHA-512", username="ann", password=SecretStr(password), **other)


@pytest.fixture
def pem(tmp_path):
    files = SimpleNamespace(**{name: tmp_path / f"{name}.pem" for name in ("ca", "certificate", "key", "both")})
    files.ca.write_text(CERTIFICATE)
    files.certificate.write_text(CERTIFICATE)
    files.key.write_text(KEY)
    files.both.write_text(KEY + CERTIFICATE)
    return files


def test_a_plain_connection_is_an_address_to_both_clients():
    connection = Connection("kafka-1:9092,kafka-2:9092")
    assert connection.client_options()["bootstrap.servers"] == "kafka-1:9092,kafka-2:9092"
    assert connection.client_options()["security.protocol"] == "PLAINTEXT"
    assert connection.spark_options() == {
        "kafka.bootstrap.servers": "kafka-1:9092,kafka-2:9092",
        "kafka.security.protocol": "PLAINTEXT",
    }


def test_a_login_over_tls_is_said_in_the_words_of_each_client(pem):
    connection = Connection("kafka:9093", login(ca=pem.ca))
    client, spark = connection.client_options(), connection.spark_options()
    assert client["sasl.mechanism"] == spark["kafka.sasl.mechanism"] == "SCRAM-SHA-512"
    assert (client["sasl.username"], client["sasl.password"]) == ("ann", "pa55word")
    assert client["ssl.ca.location"] == spark["kafka.ssl.truststore.location"] == str(pem.ca)
    assert spark["kafka.ssl.truststore.type"] == "PEM"
    assert spark["kafka.sasl.jaas.config"] == (
        'org.apache.kafka.common.security.scram.ScramLoginModule required username="ann" password="pa55word";'
    )


def test_a_client_certificate_in_one_file_travels_as_its_path_and_in_two_as_text(pem):
    one_file = Security(protocol="SSL", certificate=pem.both).spark_options()
    two_files = Security(protocol="SSL", certificate=pem.certificate, key=pem.key).spark_options()
    assert one_file["kafka.ssl.keystore.location"] == str(pem.both)
    assert (two_files["kafka.ssl.keystore.certificate.chain"], two_files["kafka.ssl.keystore.key"]) == (CERTIFICATE, KEY)
    assert Security(protocol="SSL", certificate=pem.both).client_options()["ssl.key.location"] == str(pem.both)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1))
def test_any_password_survives_the_quoting_of_jaas(password):
    jaas = login(password).spark_options()["kafka.sasl.jaas.config"]
    password_text = re.search(r' password="((?:[^"\\\n\r]|\\.)*)";\Z', jaas, re.DOTALL)
    escapes = {"n": "\n", "r": "\r"}
    assert re.sub(r"\\(.)", lambda escape: escapes.get(escape[1], escape[1]), password_text[1]) == password


def test_no_secret_shows_in_the_repr_and_every_secret_option_matches_the_redaction_pattern(pem):
    security = login(ca=pem.ca, certificate=pem.certificate, key=pem.key, key_password=SecretStr("k3y"))
    connection = Connection("kafka:9093", security)
    assert "pa55word" not in repr(connection) and "k3y" not in repr(connection)
    secret = {name for name, value in connection.spark_options().items() if any(s in value for s in ("pa55word", "k3y", KEY))}
    assert len(secret) == 3
    assert all(re.search(SECRET_OPTIONS, name) for name in secret)


def test_the_settings_fields_make_a_connection():
    settings = Settings(
        bootstrap_servers="kafka:9092",
        kafka_security_protocol="SASL_PLAINTEXT",
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username="ann",
        kafka_sasl_password=SecretStr("pa55word"),
    )
    assert Connection.from_settings(settings).client_options()["sasl.password"] == "pa55word"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"protocol": "TLS"}, "kafka_security_protocol is 'TLS'; it is one of PLAINTEXT, SSL"),
        ({"protocol": "SASL_SSL"}, "kafka_sasl_mechanism is None; it is one of PLAIN"),
        ({"protocol": "SASL_SSL", "mechanism": "PLAIN", "username": "ann"}, "kafka_sasl_password is not set"),
        ({"username": "ann"}, "kafka_sasl_username is set, but kafka_security_protocol PLAINTEXT has no login"),
        ({"ca": "ca.pem"}, "kafka_ssl_* is set, but kafka_security_protocol PLAINTEXT has no TLS"),
    ],
)
def test_security_that_cannot_work_is_refused_by_the_setting_s_name(options, message):
    with pytest.raises(SettingsError, match=re.escape(message)):
        Security(**options)


def test_tls_files_that_cannot_be_used_are_refused_by_name(pem, tmp_path):
    with pytest.raises(SettingsError, match=r"kafka_ssl_ca_location: .*absent.pem cannot be read: No such file"):
        Security(protocol="SSL", ca=tmp_path / "absent.pem")
    pem.key.write_text("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n")
    with pytest.raises(SettingsError, match=r"kafka_ssl_key_location: .*openssl pkcs8"):
        Security(protocol="SSL", certificate=pem.certificate, key=pem.key)


@pytest.mark.parametrize("address", ["kafka", "kafka:", ":9092", "kafka:70000", "kafka:9092,"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(SettingsError, match="is not host:port"):
        Connection(address)


def test_no_broker_at_the_address_is_told_within_seconds():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(BrokerError, match=rf"no Kafka at {address}: nothing answers there"):
        check_connection(Connection(address), timeout=1)


def test_a_broker_that_answers_passes_the_check(mock_kafka):
    assert check_connection(mock_kafka) == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (KafkaError._AUTHENTICATION, "refused the login"),
        (KafkaError._SSL, "kafka_ssl_ca_location"),
        (KafkaError._RESOLVE, "its name is unknown"),
    ],
)
def test_the_cause_is_told_even_when_its_consequences_were_reported_too(code, message):
    errors = [KafkaError(KafkaError._TRANSPORT), KafkaError(code), KafkaError(KafkaError._ALL_BROKERS_DOWN)]
    assert message in explain_failure(Connection("kafka:9092"), errors)
