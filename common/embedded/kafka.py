"""Runs a one-node Kafka on loopback, for a machine that has none: a child process whose data is in a folder of the run."""

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from common.embedded.class_data import sharing_options
from common.embedded.jars import ensure_jars
from common.embedded.java import Java, find_java
from common.embedded.ports import HOST, find_free_port, is_free
from common.embedded.properties import SERVER_PROPERTIES, listener_properties, write_properties
from common.embedded.supervise import GRACE_SECONDS, SupervisedProcess, start_supervised
from common.errors import UserError
from common.locks import LockHeld, lock_file, write_holder

JAVA_OPTIONS = [
    "-Xmx512m",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-Djava.awt.headless=true",
    "-Dlog4j2.configurationFile=log4j2.xml",
]
START_TIMEOUT_SECONDS = 120.0  # a start takes some 3 on an idle machine
LOCK_TIMEOUT_SECONDS = 25.0  # a broker whose owner was just killed takes up to the supervisor's grace to end
LOG_LINES = 12  # that an error shows
MAX_STARTS = 3  # each with new ports, if another program took one between our check and the broker's start
PORT_TAKEN_MESSAGE = "Address already in use"  # in the log; the system's words, in the locale that we set


class EmbeddedKafkaError(UserError):
    """The broker did not start; the message says why, and where its log is."""


class PortTaken(EmbeddedKafkaError):
    """Another program took a port after it was found free."""


@dataclass(frozen=True)
class ListenerSecurity:
    """How clients reach the broker. protocol: Kafka's security protocol; any but PLAINTEXT needs properties of the broker, too.

    client_options: a client's, with which the broker is asked whether it is up.
    """

    protocol: str = "PLAINTEXT"
    client_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class BrokerProcess:
    """How the broker's Java runs. java_options: None for those with which it starts from its archive of classes, if it has one.

    grace: seconds between asking it to end and killing it.
    """

    java_options: Sequence[str] | None = None
    grace: float = GRACE_SECONDS


class EmbeddedKafka:
    """A broker whose data is in `folder`. Started again there, it has the same data, and the same port if that is free.

    port: None for any free one; one that is given and not free is an error. partitions: of topics that are created without a
    number. properties: of the broker, in addition to SERVER_PROPERTIES.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        partitions: int = 1,
        properties: Mapping[str, str] | None = None,
        security: ListenerSecurity | None = None,
        process: BrokerProcess | None = None,
    ) -> None:
        security = security or ListenerSecurity()
        self.folder = folder.absolute()
        self.log = self.folder / "broker.log"
        self.port = port
        self._requested_port = port
        self._protocol = security.protocol
        self._properties = {"num.partitions": str(partitions)} | dict(properties or {})
        self._client_options = {"security.protocol": security.protocol} | dict(security.client_options)
        self._process = process or BrokerProcess()
        self._child: SupervisedProcess | None = None

    @property
    def bootstrap_servers(self) -> str:
        """host:port of the broker; raises EmbeddedKafkaError before the first start."""
        if self.port is None:
            raise EmbeddedKafkaError("the embedded broker was not started: it has no port yet")
        return f"{HOST}:{self.port}"

    @property
    def is_running(self) -> bool:
        """Whether the broker's process runs."""
        return self._child is not None and self._child.exit_status() is None

    def start(self) -> "EmbeddedKafka":
        """Returns once the broker answers, some 3 s. Raises EmbeddedKafkaError, JavaError or JarsError."""
        if self.is_running:
            return self
        java = self._java_command(find_java(), broker_class_path(ensure_jars("broker")))
        for _ in range(MAX_STARTS - 1):
            with suppress(PortTaken):
                return self._start_once(java)
            (self.folder / "port").unlink(missing_ok=True)  # there is no such file where a port was given
        return self._start_once(java)

    def _java_command(self, java: Java, class_path: str) -> list[str]:
        options = self._process.java_options
        if options is None:
            options = sharing_options("broker", java, class_path)
        return [str(java.executable), *JAVA_OPTIONS, *options, "-cp", class_path]

    def _start_once(self, java: list[str]) -> "EmbeddedKafka":
        """Chooses ports and starts the broker there; returns itself once that answers."""
        with self._lock_folder() as lock:
            try:
                self.port = self._choose_port()
                self._configure(java)
            except OSError as error:
                raise EmbeddedKafkaError(f"the embedded broker cannot write to {self.folder}: {error.strerror}") from None
            self._child = start_supervised(
                [*java, "kafka.Kafka", "server.properties"],
                self.log,
                self.folder,
                environment=_environment(),
                grace=self._process.grace,
                keep_open=[lock.fileno()],
            )
            write_holder(lock, self._child.pid)
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

    def kill(self) -> None:
        """Sends SIGKILL to the broker, as a test of what survives that; `start` brings it back with its data."""
        if self._child:
            self._child.kill()
        self._child = None

    def __enter__(self) -> "EmbeddedKafka":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _lock_folder(self) -> IO[str]:
        """Makes and locks the folder. The supervisor inherits the lock, so it is held until Java has ended, however it did."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)  # an earlier version left it open, and it holds what the topics do
            return lock_file(self.folder / "lock", LOCK_TIMEOUT_SECONDS)
        except LockHeld as holder:
            raise EmbeddedKafkaError(
                f"another embedded broker is running in {self.folder}, below {holder}: stop that run, or use another data folder"
            ) from None
        except OSError as error:
            raise EmbeddedKafkaError(f"the embedded broker cannot write to {self.folder}: {error.strerror}") from None

    def _choose_port(self) -> int:
        if self._requested_port is not None:
            if not is_free(self._requested_port):
                raise EmbeddedKafkaError(
                    f"port {self._requested_port} on {HOST} is taken by another program: stop that one, or ask for another port"
                )
            return self._requested_port
        port_file = self.folder / "port"
        last_port = port_file.read_text().strip() if port_file.exists() else ""
        port = int(last_port) if last_port.isdigit() and is_free(int(last_port)) else find_free_port()
        port_file.write_text(str(port))
        return port

    def _configure(self, java: list[str]) -> None:
        assert self.port is not None
        listeners = listener_properties(HOST, self._protocol, self.port, find_free_port(other_than=self.port))
        properties = SERVER_PROPERTIES | listeners | self._properties
        write_properties(self.folder / "server.properties", properties)
        shutil.copyfile(Path(__file__).with_name("log4j2.xml"), self.folder / "log4j2.xml")
        if self.log.exists():
            self.log.replace(self.log.with_name("broker.previous.log"))
        self.log.touch()
        if not (self.folder / "data").exists():
            self._format(java, properties)

    def _format(self, java: list[str], properties: Mapping[str, str]) -> None:
        """Has Kafka prepare its data folder in a temporary place and then moves it, so that none is ever half-done."""
        for leftover in self.folder.glob("format-*"):  # of a process that was killed
            shutil.rmtree(leftover)
        with tempfile.TemporaryDirectory(prefix="format-", dir=self.folder) as name:
            temporary = Path(name)
            write_properties(temporary / "server.properties", {**properties, "log.dirs": f"{temporary.name}/data"})
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
            command = [
                *java,
                "kafka.tools.StorageTool",
                "format",
                "--cluster-id",
                cluster,
                "--config",
                f"{temporary.name}/server.properties",
            ]
            answer = subprocess.run(
                command,
                cwd=self.folder,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            if answer.returncode:
                self.log.write_bytes(answer.stdout)
                raise EmbeddedKafkaError(self._with_log("the embedded broker cannot prepare its data folder"))
            (temporary / "data").rename(self.folder / "data")

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while is_free(self.port or 0) or _cluster_at(self.bootstrap_servers, self._client_options) != cluster_in(self.folder):
            if not self.is_running:
                error = PortTaken if PORT_TAKEN_MESSAGE in self.log.read_text(errors="replace") else EmbeddedKafkaError
                raise error(self._with_log("the embedded broker ended while it started"))
            if time.monotonic() > deadline:
                problem = f"the embedded broker does not answer after {START_TIMEOUT_SECONDS:.0f} s"
                raise EmbeddedKafkaError(self._with_log(problem))
            time.sleep(0.1)

    def _with_log(self, problem: str) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if not line.startswith("\tat ")]
        return f"{problem}. The end of {self.log}:\n  " + "\n  ".join(lines[-LOG_LINES:] or ["(empty)"])


def broker_class_path(jars: Sequence[Path]) -> str:
    """The class path of a broker's Java."""
    return os.pathsep.join(map(str, jars))


def cluster_in(folder: Path) -> str | None:
    """The cluster's id in a broker's folder; None if no broker ran there. Another run's broker at the same port has another."""
    metadata = folder / "data" / "meta.properties"
    lines = metadata.read_text().splitlines() if metadata.exists() else []
    return next((line.removeprefix("cluster.id=") for line in lines if line.startswith("cluster.id=")), None)


def _cluster_at(bootstrap_servers: str, client_options: Mapping[str, str]) -> str | None:
    """The id of the cluster that answers there; None if none does."""
    admin = AdminClient(
        {"bootstrap.servers": bootstrap_servers, "log_level": 0, "error_cb": lambda error: None, **client_options}
    )
    try:
        cluster = admin.list_topics(timeout=5)
    except KafkaException:
        return None
    return cluster.cluster_id if cluster.brokers else None


def _environment() -> dict[str, str]:
    # Java reads folder names in the locale's encoding; in the C locale, a name beyond ASCII would be lost.
    return {**os.environ, "LC_ALL": "C.UTF-8"}
