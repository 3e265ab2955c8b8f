"""A one-node Kafka on loopback, for a machine that has none: a child process whose data lies in a folder of the run."""

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from common.embedded.class_data import sharing_options
from common.embedded.jars import Progress, ensure_jars
from common.embedded.java import Java, find_java
from common.embedded.ports import HOST, free_port, is_free
from common.embedded.properties import SERVER_PROPERTIES, listeners, write_properties
from common.embedded.supervise import GRACE_SECONDS, Supervised, supervised
from common.errors import UserError
from common.locks import Held, lock, note_holder

JAVA_OPTIONS = ["-Xmx512m", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-Djava.awt.headless=true",
                "-Dlog4j2.configurationFile=log4j2.xml"]
START_SECONDS = 120.0  # some 3 on an idle machine
LOCK_SECONDS = 25.0  # a broker whose owner was just killed takes up to the supervisor's grace to end
LOG_LINES = 12
STARTS = 3  # each with new ports, when another program took one between our look and the broker's
PORT_TAKEN = "Address already in use"  # in the log; the system's words, in the locale that we set


class EmbeddedKafkaError(UserError):
    """The broker did not start; the message says why, and where its log is."""


class PortTaken(EmbeddedKafkaError):
    """A port that was free is not."""


class EmbeddedKafka:
    """A broker whose data lies in `folder`. Started again there, it has its data, and its port if that is free.

    `port` asks for one port (an error when it is taken), else a free one is found. `partitions` is for topics that do not
    say. A `protocol` other than PLAINTEXT needs the broker's `properties` and, to see that it answers, a `client`'s.
    `java_options`: in the place of those by which Java starts from the classes that were kept for it.
    """

    def __init__(
        self,
        folder: Path,
        port: int | None = None,
        *,
        partitions: int = 1,
        protocol: str = "PLAINTEXT",
        properties: Mapping[str, str] | None = None,
        client: Mapping[str, str] | None = None,
        home: Path | None = None,
        progress: Progress | None = None,
        java_options: Sequence[str] | None = None,
        grace: float = GRACE_SECONDS,
    ) -> None:
        self.folder = folder.absolute()
        self.log = self.folder / "broker.log"
        self.port = port
        self._asked_port = port
        self._protocol = protocol
        self._properties = {"num.partitions": str(partitions)} | dict(properties or {})
        self._client = {"security.protocol": protocol} | dict(client or {})
        self._home = home
        self._progress = progress
        self._java_options = java_options
        self._grace = grace
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
        """Returns once the broker answers, some 3 s. Raises EmbeddedKafkaError, JavaError or JarsError."""
        if self.running:
            return self
        jars = ensure_jars("broker", self._progress, self._home)
        java = self._java_command(find_java(self._home), broker_class_path(jars))
        for _ in range(STARTS - 1):
            with suppress(PortTaken):
                return self._started(java)
            (self.folder / "port").unlink(missing_ok=True)  # not there when the port was asked for
        return self._started(java)

    def _java_command(self, java: Java, class_path: str) -> list[str]:
        options = self._java_options
        if options is None:
            options = sharing_options("broker", java, class_path, self._home)
        return [str(java.executable), *JAVA_OPTIONS, *options, "-cp", class_path]

    def _started(self, java: list[str]) -> "EmbeddedKafka":
        """Itself, once the broker answers at ports chosen now."""
        with self._locked_folder() as held:
            try:
                self.port = self._choose_port()
                self._configure(java)
            except OSError as error:
                raise EmbeddedKafkaError(f"the embedded broker cannot write to {self.folder}: {error.strerror}") from None
            self._child = supervised([*java, "kafka.Kafka", "server.properties"], self.log, self.folder,
                                     environment=_environment(), grace=self._grace, keep_open=[held.fileno()])
            note_holder(held, self._child.pid)
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
        """SIGKILL to the broker, to see what comes of it; `start` brings it back with its data."""
        if self._child:
            self._child.kill()
        self._child = None

    def __enter__(self) -> "EmbeddedKafka":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _locked_folder(self) -> IO[str]:
        """The folder, made and locked. The supervisor inherits the lock, so it is held until Java is gone, whoever ended it."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.folder.chmod(0o700)  # an earlier version left it open, and it holds what the topics do
            return lock(self.folder / "lock", LOCK_SECONDS)
        except Held as holder:
            raise EmbeddedKafkaError(
                f"another embedded broker is running in {self.folder}, below {holder}: stop that run, or use another data folder"
            ) from None
        except OSError as error:
            raise EmbeddedKafkaError(f"the embedded broker cannot write to {self.folder}: {error.strerror}") from None

    def _choose_port(self) -> int:
        if self._asked_port is not None:
            if not is_free(self._asked_port):
                raise EmbeddedKafkaError(
                    f"port {self._asked_port} on {HOST} is taken by another program: stop that one, or ask for another port"
                )
            return self._asked_port
        remembered = self.folder / "port"
        earlier = remembered.read_text().strip() if remembered.exists() else ""
        port = int(earlier) if earlier.isdigit() and is_free(int(earlier)) else free_port()
        remembered.write_text(str(port))
        return port

    def _configure(self, java: list[str]) -> None:
        assert self.port is not None
        where = listeners(HOST, self._protocol, self.port, free_port(other_than=self.port))
        properties = SERVER_PROPERTIES | where | self._properties
        write_properties(self.folder / "server.properties", properties)
        shutil.copyfile(Path(__file__).with_name("log4j2.xml"), self.folder / "log4j2.xml")
        if self.log.exists():
            self.log.replace(self.log.with_name("broker.previous.log"))
        self.log.touch()
        if not (self.folder / "data").exists():
            self._format(java, properties)

    def _format(self, java: list[str], properties: Mapping[str, str]) -> None:
        """Kafka's own preparation of a data folder; done aside and moved, so that one cut short leaves nothing half-done."""
        for left_over in self.folder.glob("format-*"):  # of a process that was killed
            shutil.rmtree(left_over)
        with tempfile.TemporaryDirectory(prefix="format-", dir=self.folder) as name:
            aside = Path(name)
            write_properties(aside / "server.properties", {**properties, "log.dirs": f"{aside.name}/data"})
            cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
            command = [*java, "kafka.tools.StorageTool", "format", "--cluster-id", cluster,
                       "--config", f"{aside.name}/server.properties"]
            answer = subprocess.run(command, cwd=self.folder, env=_environment(), stdin=subprocess.DEVNULL,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            if answer.returncode:
                self.log.write_bytes(answer.stdout)
                raise EmbeddedKafkaError(self._with_log("the embedded broker cannot prepare its data folder"))
            (aside / "data").rename(self.folder / "data")

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while is_free(self.port or 0) or _cluster_at(self.bootstrap_servers, self._client) != cluster_in(self.folder):
            if not self.running:
                taken = PORT_TAKEN in self.log.read_text(errors="replace")
                raise (PortTaken if taken else EmbeddedKafkaError)(self._with_log("the embedded broker ended while it started"))
            if time.monotonic() > deadline:
                raise EmbeddedKafkaError(self._with_log(f"the embedded broker does not answer after {START_SECONDS:.0f} s"))
            time.sleep(0.1)

    def _with_log(self, problem: str) -> str:
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if not line.startswith("\tat ")]
        return f"{problem}. The end of {self.log}:\n  " + "\n  ".join(lines[-LOG_LINES:] or ["(empty)"])


def broker_class_path(jars: Sequence[Path]) -> str:
    """Of a broker's Java."""
    return os.pathsep.join(map(str, jars))


def cluster_in(folder: Path) -> str | None:
    """The id in a broker's folder, if one ran there: at a port that was taken meanwhile, another run's broker may answer."""
    about = folder / "data" / "meta.properties"
    lines = about.read_text().splitlines() if about.exists() else []
    return next((line.removeprefix("cluster.id=") for line in lines if line.startswith("cluster.id=")), None)


def _cluster_at(bootstrap_servers: str, client: Mapping[str, str]) -> str | None:
    """The id of the cluster that answers there, if one does."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0, "error_cb": lambda error: None, **client})
    try:
        found = admin.list_topics(timeout=5)
    except KafkaException:
        return None
    return found.cluster_id if found.brokers else None


def _environment() -> dict[str, str]:
    # Java reads folder names in the locale's encoding; in the C locale, a name beyond ASCII would be lost.
    return {**os.environ, "LC_ALL": "C.UTF-8"}
