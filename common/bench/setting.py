"""What a benchmark measures with: a vertical, its learnt baselines and model, a broker, and the machine it ran on."""

import os
import platform
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


def hardware() -> dict[str, Any]:
    """Cores, memory, system, versions, and the load average that others put on the machine."""
    return {
        "cores": os.cpu_count(), "memory_gib": round(psutil.virtual_memory().total / 2**30, 1), "system": platform.platform(),
        "python": platform.python_version(), "load_average": [round(load, 2) for load in os.getloadavg()],
        "versions": {name: version(name) for name in VERSIONS},
    }
