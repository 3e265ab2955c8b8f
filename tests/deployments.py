"""A vertical as it runs, for tests: what a test does not care about is as the environment has it."""

from typing import Any

from common.deployment import Deployment
from common.kafka.connection import Connection
from common.settings import Settings, load
from common.vertical import Vertical
from common.workspace import Workspace


def deployed(
    vertical: Vertical,
    workspace: Workspace,
    rules: Any = None,
    *,
    settings: Settings | None = None,
    connection: Connection | None = None,
) -> Deployment:
    own_settings = getattr(vertical, "settings", None)  # a stand-in for a vertical may have none
    rules = rules or (load(own_settings) if own_settings else None)
    return Deployment(vertical, workspace, settings or load(Settings), rules, connection)
