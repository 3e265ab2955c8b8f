"""The gateway as a server, and how it ends."""

import gc
import logging
import resource
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import uvicorn

from common.gateway.address import Address
from common.gateway.app import Gateway
from common.gateway.authorization import Access
from common.gateway.connections import Connections
from common.gateway.protocol import BoundedProtocol
from common.gateway.tokens import TokenFile, Tokens
from common.kafka.connection import BrokerError, Connection
from common.settings import Settings
from common.vertical import Vertical

LOG = logging.getLogger(__name__)

GRACE_SECONDS = 5
CERTIFICATE_TICKS = 100  # of uvicorn, tenths of a second, between looks at the certificate
SWITCH_SECONDS = 0.0005  # a thread that reads a large body or a page leaves the event loop waiting no longer


class GatewayServer(uvicorn.Server):
    """The gateway at an address. is_up: called once it takes connections; fatal: what no later record would survive."""

    def __init__(self, verticals: Sequence[Vertical], settings: Settings, connection: Connection, access: Access,
                 address: Address, *, is_up: Callable[[], None] = lambda: None) -> None:
        self._is_up, self._address = is_up, address
        self._certificate_of = _changed_at(address)
        self.problems: list[str] = []
        self.gateway = Gateway(verticals, settings, connection, access, closing=lambda: self.should_exit, fatal=self._fatal)
        super().__init__(uvicorn.Config(
            self.gateway, loop="common.gateway.protocol:Loop", ws="none", lifespan="on",
            http=partial(BoundedProtocol, among=Connections(settings.gateway_connections)),  # type: ignore[arg-type]
            # A line a request would cost as much as the request, and could hold what names a person.
            access_log=False, log_config=None, server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
            ssl_certfile=address.certificate, ssl_keyfile=address.key))  # fmt: skip

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._is_up()

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second. A certificate that was renewed is that of the connections from then on."""
        now = _changed_at(self._address) if self.config.ssl and counter % CERTIFICATE_TICKS == 0 else self._certificate_of
        if self.config.ssl and now != self._certificate_of:
            self._certificate_of = now
            try:
                self.config.ssl.load_cert_chain(self._address.certificate or "", self._address.key)
            except (OSError, ValueError) as problem:  # an SSLError is an OSError
                LOG.error("the certificate was changed and cannot be read, so the one before is served on: %s", problem)
        return await super().on_tick(counter)

    def _fatal(self, problem: str) -> None:
        self.problems.append(problem)
        self.should_exit = True


def run_gateway(verticals: Sequence[Vertical], settings: Settings, connection: Connection, address: Address,
                is_up: Callable[[], None]) -> None:
    """Serves until a signal, and calls `is_up` once it does.

    Raises BrokerError when the producer cannot go on, SettingsError for what cannot be served.
    """
    tokens = Tokens(TokenFile(settings.data))
    address.check(tokens)
    access = Access(tokens, settings.gateway_open and address.is_loopback)
    listening = address.listen()
    _allow_files()
    log = logging.getLogger("uvicorn.error")
    log.setLevel(logging.ERROR)  # its warnings are of what strangers send
    log.addFilter(_without_values)
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()  # what was imported: looking through it again and again, while a large body is read, takes ten times as long
    server = GatewayServer(verticals, settings, connection, access, address, is_up=is_up)
    server.run([listening])
    if server.problems:
        raise BrokerError(f"the producer cannot go on: {server.problems[0]}; start the gateway again")


def _changed_at(address: Address) -> list[int]:
    """When the files of certificate and key were written; those that are not there are left out."""
    files = [Path(file) for file in (address.certificate, address.key) if file]
    return [file.stat().st_mtime_ns for file in files if file.exists()]


def _allow_files() -> None:
    """As many open files as this process may have: each connection is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _without_values(record: logging.LogRecord) -> bool:
    """Of a defect the log has its kind and place: its message could hold a part of an event, and so name a person."""
    if record.exc_info and record.exc_info[1]:
        defect, trace = record.exc_info[1], traceback.extract_tb(record.exc_info[2])
        record.msg, record.args, record.exc_info = "a request failed: %s in %s", (type(defect).__name__, trace[-1:]), None
    return True
