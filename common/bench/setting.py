"""What benchmarks share: a vertical with its broker and folders, the machine they ran on, and a rate without the warm-up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.ingestion.connection import Connection
from common.settings import Settings
from common.vertical import Vertical
from common.workspace import Workspace


@dataclass(frozen=True)
class Bench:
    vertical: Vertical
    workspace: Workspace
    connection: Connection
    settings: Settings
    rules: Any


def steady_rate(events: int, arrivals: Sequence[float]) -> float | None:
    """Events per second between a fifth and all of the alerts, by the seconds at which these came; None for a few alerts."""
    if len(arrivals) <= 10 or arrivals[-1] == (fifth := arrivals[len(arrivals) // 5]):
        return None
    return events * 0.8 / (arrivals[-1] - fifth)
