"""Runs the gateway as a server, until a signal or an error that it cannot survive."""

import asyncio
import gc
import logging
import resource
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
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

SHUTDOWN_SECONDS = 5  # that requests under way have to end
CERTIFICATE_CHECK_TICKS = 100  # of uvicorn, tenths of a second, between checks whether the certificate was renewed
FILE_LIMITS = (65_536, 10_240)  # asked for where the hard limit is refused; the last is the most that macOS gives by default
THREAD_SWITCH_SECONDS = 0.0005  # the longest that a thread with a large body or a page keeps the event loop waiting


class GatewayServer(uvicorn.Server):
    """The gateway at an address. on_up: called once it takes connections; problems: errors after which it cannot go on."""

    def __init__(
        self,
        verticals: Sequence[Vertical],
        settings: Settings,
        connection: Connection,
        access: Access,
        address: Address,
        *,
        on_up: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_up, self._address = on_up, address
        self._certificate_times = _read_certificate_times(address)
        self.problems: list[str] = []
        self.gateway = Gateway(
            verticals, settings, connection, access, is_closing=lambda: self.should_exit, on_fatal=self._end_with
        )
        super().__init__(uvicorn.Config(
            self.gateway, loop="common.gateway.protocol:HandshakeLoop", ws="none", lifespan="on",
            http=partial(BoundedProtocol, connections=Connections(settings.gateway_connections)),  # type: ignore[arg-type]
            # A line a request would cost as much as the request, and could hold what names a person.
            access_log=False, log_config=None, server_header=False, proxy_headers=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
            ssl_certfile=address.certificate, ssl_keyfile=address.key))  # fmt: skip

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_up()

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second. Loads a certificate that was renewed, for the connections from then on."""
        is_check_due = self.config.ssl and counter % CERTIFICATE_CHECK_TICKS == 0
        times = _read_certificate_times(self._address) if is_check_due else self._certificate_times
        if self.config.ssl and times != self._certificate_times:
            self._certificate_times = times
            try:
                self.config.ssl.load_cert_chain(self._address.certificate or "", self._address.key)
            except (OSError, ValueError) as problem:  # an SSLError is an OSError
                LOG.error("the certificate was changed and cannot be read, so the one before is served on: %s", problem)
        return await super().on_tick(counter)

    def _end_with(self, problem: str) -> None:
        self.problems.append(problem)
        self.should_exit = True


def run_gateway(
    verticals: Sequence[Vertical], settings: Settings, connection: Connection, address: Address, on_up: Callable[[], None]
) -> None:
    """Serves until a signal, and calls `on_up` once it takes connections.

    Raises BrokerError when the producer cannot go on, SettingsError for what cannot be served.
    """
    tokens = Tokens(TokenFile(settings.data))
    address.check(tokens)
    access = Access(tokens, settings.gateway_open and address.is_loopback)
    listener = address.listen()
    _raise_file_limit()
    log = logging.getLogger("uvicorn.error")
    log.setLevel(logging.ERROR)  # its warnings are about what strangers send
    log.addFilter(_remove_values)
    sys.setswitchinterval(THREAD_SWITCH_SECONDS)
    gc.freeze()  # what was imported: collecting it again and again makes reading a large body take ten times as long
    server = GatewayServer(verticals, settings, connection, access, address, on_up=on_up)
    server.run([listener])
    if server.problems:
        raise BrokerError(f"the producer cannot go on: {server.problems[0]}; start the gateway again")


def _read_certificate_times(address: Address) -> list[int]:
    """When the files of certificate and key were written, in ns; a file that is missing, or may not be looked at, is left out."""
    times = []
    for file in (address.certificate, address.key):
        with suppress(OSError):
            times += [Path(file).stat().st_mtime_ns] if file else []
    return times


def _raise_file_limit() -> None:
    """Allows as many open files as this process may have: each connection is one.

    Where the hard limit is infinite some systems refuse to set it; then a smaller one is asked for, and none below the present.
    """
    soft_limit, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (hard_limit, *FILE_LIMITS):
        if limit != hard_limit and (soft_limit == resource.RLIM_INFINITY or limit <= soft_limit):
            return
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard_limit))
            return


def _remove_values(record: logging.LogRecord) -> bool:
    """Leaves of a defect its kind and place: its message could hold a part of an event, and so name a person.

    Whether the record is logged: a request that did not end in time for the server's end is no defect.
    """
    if record.exc_info and record.exc_info[1]:
        if isinstance(record.exc_info[1], asyncio.CancelledError):
            return False
        defect, trace = record.exc_info[1], traceback.extract_tb(record.exc_info[2])
        record.msg, record.args, record.exc_info = "a request failed: %s in %s", (type(defect).__name__, trace[-1:]), None
    return True
