"""What a benchmark of a vertical measures with: its learnt baselines and model, and a broker."""

from dataclasses import dataclass
from typing import Any

from common.kafka.connection import Connection
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
