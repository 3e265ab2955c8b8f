"""Holds a vertical as it runs in one object: its code, its data folder, its settings and its Kafka."""

from dataclasses import dataclass
from typing import Any

from common.kafka.connection import BrokerError, Connection
from common.settings import Settings
from common.vertical import Vertical
from common.workspace import Workspace


@dataclass(frozen=True)
class Deployment:
    """One vertical over one data folder, with all that a job or query of it needs: made once at the edge, then passed down.

    settings: the core's. rules: the vertical's own settings (`vertical.settings`), with the thresholds as the environment has
    them; what was published since comes on top (`common.published.live_thresholds`). connection: None for what needs no Kafka.
    """

    vertical: Vertical
    workspace: Workspace
    settings: Settings
    rules: Any
    connection: Connection | None = None

    @property
    def kafka(self) -> Connection:
        """The connection; raises BrokerError where there is none."""
        if self.connection is None:
            raise BrokerError(f"{self.vertical.name} needs a broker here, and was given none: give --bootstrap-servers")
        return self.connection

    @property
    def tables(self) -> str:
        """The folder of the vertical's tables."""
        return self.workspace.tables
