"""The gateway as a server, and how it ends."""

import logging
import traceback
from collections.abc import Sequence

import uvicorn

from common.gateway.access import Access, is_loopback
from common.gateway.address import Address
from common.gateway.app import Gateway
from common.gateway.tokens import TokenFile, Tokens
from common.ingestion.connection import BrokerError, Connection
from common.settings import Settings, SettingsError
from common.vertical import Vertical

GRACE_SECONDS = 5


def run_gateway(verticals: Sequence[Vertical], settings: Settings, connection: Connection, address: Address) -> None:
    """Serves until a signal; raises BrokerError when the producer cannot go on, SettingsError for what cannot be served."""
    tokens = Tokens(TokenFile(settings.data))
    address.check(tokens)
    problems: list[str] = []

    def fatal(problem: str) -> None:
        problems.append(problem)
        server.should_exit = True

    access = Access(tokens, is_loopback(address.host))
    gateway = Gateway(verticals, settings, connection, access, closing=lambda: server.should_exit, fatal=fatal)
    server = uvicorn.Server(uvicorn.Config(
        gateway, host=address.host, port=address.port, loop="uvloop", http="httptools", ws="none", lifespan="on",
        # A line a request would cost as much as the request, and could hold what names a person.
        access_log=False, log_config=None, server_header=False, proxy_headers=False,
        limit_concurrency=settings.gateway_connections, timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_certfile=address.certificate, ssl_keyfile=address.key))  # fmt: skip
    log = logging.getLogger("uvicorn.error")
    log.setLevel(logging.WARNING)
    log.addFilter(_without_values)
    server.run()
    if problems:
        raise BrokerError(f"the producer cannot go on: {problems[0]}; start the gateway again")
    if not server.started:
        raise SettingsError(f"cannot listen at {address.url}")


def _without_values(record: logging.LogRecord) -> bool:
    """Of a defect the log has its kind and place: its message could hold a part of an event, and so name a person."""
    if record.exc_info and record.exc_info[1]:
        defect, trace = record.exc_info[1], traceback.extract_tb(record.exc_info[2])
        record.msg, record.args, record.exc_info = "a request failed: %s in %s", (type(defect).__name__, trace[-1:]), None
    return True
