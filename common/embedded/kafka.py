"""A one-node Kafka on loopback, for a machine that has none: a child process whose data lies in a folder of the run."""

import contextlib
import fcntl
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from common.embedded.jars import Progress, ensure_jars
from common.embedded.java import find_java
from common.embedded.supervise import Supervised, supervised

HOST = "127.0.0.1"
PORTS = range(20_000, 32_000)  # below the ports that Linux and macOS hand to outgoing connections
HEAP = "512m"
START_SECONDS = 60.0
LOCK_SECONDS = 25.0  # a broker whose owner was just killed takes up to the supervisor's grace to end
LOG_LINES = 12

SERVER_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "log.dirs": "data",  # relative to the working folder: no path has to survive the escapes of a properties file
    "inter.broker.listener.name": "PLAINTEXT",
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL",
    "auto.create.topics.enable": "false",
    # one node: nothing to replicate to, and few partitions of Kafka's own topics, each of which costs open files
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # Size bounds the disk, time does not: simulated events may carry timestamps of long ago.
    "log.retention.ms": "-1",
    "log.retention.bytes": str(1 << 30),  # for each partition
    "log.segment.bytes": str(64 << 20),
    "log.index.size.max.bytes": str(1 << 20),  # written out in full when a segment is opened
    "log.cleaner.dedupe.buffer.size": str(16 << 20),  # 128 MiB otherwise, a quarter of the heap
    "num.network.threads": "2",
    "num.io.threads": "4",
}


class EmbeddedKafkaError(Exception):
    """The broker did not start; the message says why, and where its log is."""


class EmbeddedKafka:
    """A broker whose data lies in `folder`. Started again there, it has its data, and its port if that is free.

    `port` asks for one port (an error when it is taken), else a free one is found. `properties` go over the broker's own.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        partitions: int = 1,
        properties: Mapping[str, str] | None = None,
        home: Path | None = None,
        progress: Progress | None = None,
    ) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "broker.log"
        self.port = port
        self._asked_port = port
        self._properties = {"num.partitions": str(partitions)} | dict(properties or {})
        self._home = home
        self._progress = progress
        self._child: Supervised | None = None

    @property
    def bootstrap_servers(self) -> str:
        if self.port is None:
            raise EmbeddedKafkaError("the embedded broker was not started: it has no port yet")
        return f"{HOST}:{self.port}"

    @property
    def running(self) -> bool:
        return self._child is not None and self._child.exit_status() is None

    def start(self) -> "EmbeddedKafka":
        """Returns once the broker answers. Raises EmbeddedKafkaError, JavaError or JarsError."""
        if self.running:
            return self
        jars = ensure_jars("broker", self._progress, self._home)
        java = [str(find_java(self._home).executable), f"-Xmx{HEAP}", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20",
                "-Djava.awt.headless=true", "-Dlog4j2.configurationFile=log4j2.xml", "-cp", os.pathsep.join(map(str, jars))]
        self._make_folder()
        with self._lock() as lock:
            self.port = self._choose_port()
            self._configure(java)
            self._child = supervised([*java, "kafka.Kafka", "server.properties"], self.log, self.folder,
                                     environment=_environment(), keep_open=[lock.fileno()])
        try:
            self._wait_until_it_answers()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the broker and waits for its end. May be called again, and before `start`."""
        if self._child:
            self._child.stop()
        self._child = None

    def __enter__(self) -> "EmbeddedKafka":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.log.exists():
                self.log.replace(self.log.with_name("broker.previous.log"))
            self.log.touch()
        except OSError as error:
            raise EmbeddedKafkaError(f"the embedded broker cannot write to {self.folder}: {error.strerror}") from None

    def _lock(self) -> IO[str]:
        """The lock on the folder. The supervisor inherits it, so it is held until Java is gone, whoever started it."""
        lock = (self.folder / "lock").open("w")
        deadline = time.monotonic() + LOCK_SECONDS
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except BlockingIOError:
                if time.monotonic() > deadline:
                    lock.close()
                    raise EmbeddedKafkaError(
                        f"another embedded broker is running in {self.folder}: stop that run, or use another data folder"
                    ) from None
                time.sleep(0.2)

    def _choose_port(self) -> int:
        if self._asked_port is not None:
            if not _is_free(self._asked_port):
                raise EmbeddedKafkaError(
                    f"port {self._asked_port} on {HOST} is taken by another program: stop that, or ask for another port or for none"
                )
            return self._asked_port
        remembered = self.folder / "port"
        port = int(remembered.read_text()) if remembered.exists() else 0
        if not port or not _is_free(port):
            port = _free_port()
            remembered.write_text(str(port))
        return port

    def _configure(self, java: list[str]) -> None:
        controller = _free_port(other_than=self.port)
        properties = SERVER_PROPERTIES | {
            "listeners": f"PLAINTEXT://{HOST}:{self.port},CONTROLLER://{HOST}:{controller}",
            "advertised.listeners": f"PLAINTEXT://{HOST}:{self.port}",
            "controller.quorum.voters": f"1@{HOST}:{controller}",
        } | self._properties
        _write_properties(self.folder / "server.properties", properties)
        shutil.copyfile(Path(__file__).with_name("log4j2.xml"), self.folder / "log4j2.xml")
        if not (self.folder / "data").exists():
            self._format(java, properties)

    def _format(self, java: list[str], properties: Mapping[str, str]) -> None:
        """Kafka's own preparation of a data folder; done aside and moved, so that one cut short leaves nothing half-done."""
        with tempfile.TemporaryDirectory(prefix="format-", dir=self.folder) as aside:
            written = Path(aside) / "server.properties"
            _write_properties(written, {**properties, "log.dirs": f"{Path(aside).name}/data"})
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
            command = [*java, "kafka.tools.StorageTool", "format", "--cluster-id", cluster, "--config", str(written)]
            answer = subprocess.run(command, cwd=self.folder, env=_environment(), stdin=subprocess.DEVNULL, capture_output=True,
                                    text=True, errors="replace", start_new_session=True)
            self.log.write_text(answer.stdout + answer.stderr)
            if answer.returncode:
                raise EmbeddedKafkaError(self._with_log("the embedded broker cannot prepare its data folder"))
            (Path(aside) / "data").rename(self.folder / "data")

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if not self.running:
                raise EmbeddedKafkaError(self._with_log("the embedded broker ended while it started"))
            if time.monotonic() > deadline:
                raise EmbeddedKafkaError(self._with_log(f"the embedded broker does not answer after {START_SECONDS:.0f} s"))
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, self.port), timeout=1):
            return "SASL" in self._properties.get("listeners", "") or _serves(self.bootstrap_servers)
        return False

    def _with_log(self, problem: str) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return f"{problem}. The end of {self.log}:\n  " + "\n  ".join(lines or ["(empty)"])


def _serves(bootstrap_servers: str) -> bool:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0, "error_cb": lambda error: None})
    try:
        return bool(admin.list_topics(timeout=5).brokers)
    except KafkaException:
        return False


def _environment() -> dict[str, str]:
    # Java reads folder names in the locale's encoding; in the C locale, a name beyond ASCII would be lost.
    return {**os.environ, "LC_ALL": "C.UTF-8"}


def _write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Java's properties format: backslashes doubled, ASCII only."""
    lines = (f"{name}={value}".replace("\\", "\\\\") for name, value in properties.items())
    path.write_bytes("\n".join(lines).encode("ascii", "namereplace") + b"\n")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _free_port(other_than: int | None = None) -> int:
    for port in random.sample(PORTS, 200):
        if port != other_than and _is_free(port):
            return port
    raise EmbeddedKafkaError(f"no free port on {HOST} between {PORTS.start} and {PORTS.stop}")
