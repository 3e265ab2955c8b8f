"""What benchmarks share: a vertical with its broker and folders, the machine they ran on, and a rate without the warm-up."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import psutil

from common.ingestion.connection import Connection
from common.settings import Settings
from common.vertical import Vertical
from common.workspace import Workspace

VERSIONS = ("pyspark", "confluent-kafka", "deltalake", "scikit-learn")


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


def hardware() -> dict[str, Any]:
    """Cores, memory, system, versions, and the load average that others put on the machine."""
    return {
        "cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1), "system": platform.platform(),
        "python": platform.python_version(), "load_average": [round(load, 2) for load in os.getloadavg()],
        "versions": {name: version(name) for name in VERSIONS},
    }
