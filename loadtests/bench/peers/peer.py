"""The engines that are compared, with their titles and versions."""

import re
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from common.errors import UserError

FOLDER = Path(__file__).parent
OURS = "ours"


@dataclass(frozen=True)
class Peer:
    """An engine with its own script for the job.

    package: whose version is shown, and whose environment `<name>.requirements.txt` pins; ours and the loop run in the project's.
    processes: how many a user would start on one machine, by the engine's own documentation.
    """

    name: str
    title: str
    package: str
    processes: int = 1

    @property
    def is_ours(self) -> bool:
        return self.name.endswith(OURS)

    @property
    def script(self) -> Path:
        return FOLDER / f"{self.name}_job.py"

    @property
    def requirements(self) -> Path | None:
        """Pinned and hashed; None for an engine that runs in the project's own environment."""
        path = FOLDER / f"{self.name}.requirements.txt"
        return path if path.exists() else None

    @property
    def version(self) -> str:
        return pinned_version(self.requirements.read_text(), self.package) if self.requirements else version(self.package)


PEERS = (
    Peer(OURS, "hybrid", "pyspark"),
    Peer("flink", "Flink SQL", "apache-flink"),
    Peer("bytewax", "Bytewax", "bytewax", processes=2),
    Peer("quix", "Quix Streams", "quixstreams", processes=2),
    Peer("loop", "plain loop", "confluent-kafka"),
)


def pinned_version(requirements: str, package: str) -> str:
    """The version that a requirements file pins for `package`."""
    pin = re.search(rf"^{re.escape(package)}==([^\s;]+)", requirements, re.MULTILINE)
    if not pin:
        raise ValueError(f"{package} is not pinned in the requirements")
    return pin[1]


class UnknownPeer(UserError, ValueError):
    """No engine has that name; the message lists the engines."""


def parse_peers(names: str) -> list[Peer]:
    """The peers of a comma-separated list; ours is always among them, as ratios are to ours. Raises UnknownPeer."""
    requested_names = {name.strip() for name in names.split(",")} - {""} | {OURS}
    known_names = {peer.name for peer in PEERS}
    if unknown := sorted(requested_names - known_names):
        raise UnknownPeer(f"unknown engine {', '.join(unknown)}: known are {', '.join(peer.name for peer in PEERS)}")
    return [peer for peer in PEERS if peer.name in requested_names]
