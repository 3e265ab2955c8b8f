"""Holds and writes the embedded broker's settings, which suit one node on a laptop."""

from collections.abc import Mapping
from pathlib import Path

SERVER_PROPERTIES = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "log.dirs": "data",  # relative to the working folder: a path could hold what the format of lists and properties cannot
    "controller.listener.names": "CONTROLLER",
    "listener.security.protocol.map": ",".join(
        ["CONTROLLER:PLAINTEXT"] + [f"{protocol}:{protocol}" for protocol in ("PLAINTEXT", "SASL_PLAINTEXT", "SSL", "SASL_SSL")]
    ),
    "auto.create.topics.enable": "false",
    # one node: nothing to replicate to, and few partitions of Kafka's own topics, each of which costs open files
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    # A broker that was killed may join again once its old session has expired: 5 s from start to answer with 3000, 12 with the
    # default of 9000. With 3000, the session of a broker on two cores expired while 16 queries started, though it ran.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
    # Size bounds the disk, time does not: simulated events may carry timestamps of long ago.
    "log.retention.ms": "-1",
    "log.retention.bytes": str(1 << 30),  # for each partition
    # A machine's clock may be set back by more than an hour while records that bear the old time are on their way.
    "log.message.timestamp.after.max.ms": str((1 << 63) - 1),
    "log.segment.bytes": str(64 << 20),
    "log.index.size.max.bytes": str(1 << 20),
    "log.cleaner.dedupe.buffer.size": str(16 << 20),  # 128 MiB otherwise, a quarter of the heap
    "num.network.threads": "2",
    "num.io.threads": "4",
}


def listener_properties(host: str, protocol: str, port: int, controller_port: int) -> dict[str, str]:
    """The settings of where the node listens: for clients with `protocol`, for itself in plain text, both on `host` only."""
    return {
        "listeners": f"{protocol}://{host}:{port},CONTROLLER://{host}:{controller_port}",
        "advertised.listeners": f"{protocol}://{host}:{port}",
        "inter.broker.listener.name": protocol,
        "controller.quorum.voters": f"1@{host}:{controller_port}",
    }


def write_properties(path: Path, properties: Mapping[str, str]) -> None:
    """Writes Java's format: Latin-1, other characters as \\uXXXX. Only the owner can read the file, as it may hold a password."""
    escaped = {name: value.replace("\\", "\\\\").replace("\n", "\\n") for name, value in properties.items()}
    path.touch(mode=0o600)
    path.write_bytes("".join(f"{name}={value}\n" for name, value in escaped.items()).encode("latin-1", "backslashreplace"))
