"""Makes what a command runs with: settings, the vertical in its workspace, a broker, a Spark session and running streams."""

import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from py4j.protocol import Py4JJavaError
from pydantic import ValidationError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from common.deployment import Deployment
from common.embedded.jars import ensure_jars
from common.embedded.kafka import EmbeddedKafka, cluster_in
from common.embedded.ports import HOST, is_free
from common.kafka.connection import MAX_SILENCE_SECONDS, BrokerError, Connection, check_connection, read_cluster
from common.privacy.key_ids import check_key
from common.privacy.keys import use_data_folder
from common.settings import Settings, SettingsError, load
from common.spark.session import SessionMode, java_is_gone, start_session
from common.streaming.archiving import Archiving, run_archiving
from common.streaming.detection import Detection, run_detection
from common.streaming.queries import QueryEnded, known_reason, task_slots
from common.tables import check_folder
from common.terminal import console, error_console
from common.vertical import Vertical
from common.workspace import Workspace


def read_settings(data: Path | None = None, servers: str | None = None, **options: Any) -> Settings:
    """Settings from the environment, with the options that were given on top."""
    return load(Settings, data=data, bootstrap_servers=servers, **options)


def deployment_of(vertical: Vertical, settings: Settings, connection: Connection | None = None) -> Deployment:
    """The vertical in its workspace under `settings`, with its rules' settings from the environment. Raises SettingsError."""
    return Deployment(vertical, workspace_of(vertical, settings), settings, load(vertical.settings), connection)


def workspace_of(vertical: Vertical, settings: Settings) -> Workspace:
    """The vertical's folders, made where missing. Raises SettingsError where they cannot be written or have another key."""
    workspace = Workspace(settings.data, vertical.name)
    try:
        check_folder(workspace.folder)
        workspace.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _keep_private(workspace.folder)
        probe = workspace.folder / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as problem:
        raise SettingsError(
            f"data folder {workspace.folder} cannot be written: {problem.strerror}; give --data or set HYBRID_DATA"
        ) from None
    use_data_folder(settings.data)
    check_key(vertical, workspace.folder)
    return workspace


def _keep_private(folder: Path) -> None:
    """Takes a folder that an earlier version made open to everybody from all but its owner and its group."""
    status = folder.stat()
    if status.st_mode & 0o007 and status.st_uid == os.geteuid():
        folder.chmod(0o700)
        change = "was open to every user of this machine; now it is its owner's alone (for a group: chmod 750)"
        error_console.print(f"{folder} {change}", markup=False, soft_wrap=True)


def population_of(vertical: Vertical, **sizes: Any) -> Any:
    """The vertical's simulated population, of the sizes given on the command line. Raises SettingsError."""
    try:
        return vertical.population(**{name: value for name, value in sizes.items() if value is not None})
    except ValidationError as problem:
        raise SettingsError(f"population of {vertical.name}: {problem.errors()[0]['msg']}") from None


def separate_settings(settings: Settings, command: str) -> Settings:
    """Settings for a command that measures or disturbs: a new folder named after it and the time, and a broker of its own."""
    folder = (settings.data / f"{command}-{time.strftime('%Y%m%d-%H%M%S')}").absolute()
    return settings.model_copy(update={"data": folder, "bootstrap_servers": None})


@contextmanager
def own_broker(settings: Settings) -> Iterator[Connection]:
    """The given cluster, or an embedded broker in the data folder for as long as the block lasts."""
    if settings.bootstrap_servers:
        yield existing_broker(settings)
        return
    with console.status("starting an embedded Kafka broker"), ExitStack() as stack:
        broker = stack.enter_context(EmbeddedKafka(settings.data / "kafka", partitions=settings.partitions))
        broker_context = stack.pop_all()
    with broker_context:
        yield Connection(broker.bootstrap_servers)


def existing_broker(settings: Settings) -> Connection:
    """The given cluster, or the embedded broker that runs in the data folder; raises BrokerError when there is none."""
    if settings.bootstrap_servers:
        connection = Connection.from_settings(settings)
        check_connection(connection)
        return connection
    folder = settings.data / "kafka"
    port = folder / "port"
    hint = "start one with: hybrid broker, or give --bootstrap-servers"
    if not port.exists():
        raise BrokerError(f"no broker: none was given, and none ever ran in {settings.data}; {hint}")
    number = int(port.read_text())
    connection = Connection(f"{HOST}:{number}")
    if is_free(number):
        raise BrokerError(f"no broker: none was given, and the one in {settings.data} does not run; {hint}")
    if read_cluster(connection, MAX_SILENCE_SECONDS).cluster_id != cluster_in(folder):  # one that is busy answers late
        raise BrokerError(f"no broker: at port {number}, where the one in {settings.data} was, another run's answers; {hint}")
    return connection


@contextmanager
def streams(spark: SparkSession, deployment: Deployment) -> Iterator[tuple[Archiving, Detection]]:
    """Archive and judge the vertical's events until the block ends. Raises FolderInUse where another process does either."""
    with (
        deployment.workspace.lock("archive"),
        deployment.workspace.lock("detect"),
        run_archiving(spark, deployment) as archiving,
        run_detection(spark, deployment) as detection,
    ):
        yield archiving, detection


@contextmanager
def session(
    verticals: list[Vertical],
    settings: Settings,
    partitions: Mapping[str, int] | None = None,
    *,
    is_brief: bool = False,
    encrypts: bool = False,
) -> Iterator[SparkSession]:
    """A Spark session with the slots that the verticals' queries hold, stopped at the end.

    partitions: of the topics that they read, by name; none where no query of theirs runs in it.
    Raises QueryEnded if Java is gone, or a job failed for want of memory, disk or the like. is_brief, encrypts: as for
    `start_session`.
    """
    slots = task_slots(verticals, partitions or {}, settings)
    ensure_jars("spark", progress=_FetchNotice())
    with console.status("starting Spark"):
        interrupt_handler = signal.getsignal(signal.SIGINT)
        spark = start_session("hybrid", slots, settings.data / "spark", settings, SessionMode(is_brief, encrypts))
        # PySpark's own would call the JVM from within a signal, in the midst of whatever is said to it just then.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, interrupt_handler)
    try:
        yield spark
    except Exception as failure:
        # How that shows depends on what waited for Java: a call, a socket that rows come through, a query that is not there.
        if java_is_gone():
            raise QueryEnded(
                "Spark's Java process is gone: it was killed, or had too little memory (HYBRID_DRIVER_MEMORY); "
                "what it had not finished is done again when this is started again"
            ) from None
        if isinstance(failure, Py4JJavaError | PySparkException) and (reason := known_reason(failure)):
            raise QueryEnded(f"Spark gave up: {reason}") from failure
        raise
    finally:
        # A signal that came in the middle of a call to the JVM leaves that connection unusable; the JVM ends with us anyway.
        # What it then raises depends on where it was cut.
        with suppress(Exception):
            spark.stop()


def session_of(deployment: Deployment, **options: Any) -> AbstractContextManager[SparkSession]:
    """A session for batch work over one deployment: no query of it runs there. options: as for `session`."""
    return session([deployment.vertical], deployment.settings, **options)


class _FetchNotice:
    """Says once that jars are being fetched."""

    def __init__(self) -> None:
        self.has_announced = False

    def __call__(self, name: str, fetched: int, total: int) -> None:
        if not self.has_announced:
            console.print(f"fetching {total} jars")
            self.has_announced = True
