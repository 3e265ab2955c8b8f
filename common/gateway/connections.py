"""Bounds the connections that are open at once, and chooses which of them is cut off for a new one."""

from collections import Counter, OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from common.gateway.limits import LimitReached


class Abortable(Protocol):
    """A connection that can be cut off."""

    def abort(self) -> None: ...


class Connections:
    """At most `max_connections` that are admitted, a quarter of them of one client, and as many more that are not, half of
    them of one peer. A connection is admitted once a request that came by it was allowed.

    A new connection is always accepted: the oldest one that is not admitted is cut off for it. So a peer that only connects,
    or sends half a request, keeps nobody out, and neither does one client whose requests do not end.
    """

    def __init__(self, max_connections: int) -> None:
        self._max = max_connections
        self._max_of_peer, self._max_of_client = max(1, max_connections // 2), max(1, max_connections // 4)
        self._unadmitted: OrderedDict[Abortable, str] = OrderedDict()  # with their peers, the oldest first
        self._by_peer: dict[str, OrderedDict[Abortable, None]] = {}  # of the unadmitted
        self._admitted: dict[Abortable, str] = {}  # with their clients
        self._count_by_client: Counter[str] = Counter()  # of the admitted
        self._idle: OrderedDict[Abortable, None] = OrderedDict()  # of the admitted; the longest idle first

    def add(self, connection: Abortable, host: str) -> None:
        """Counts a connection that was just made, from the address `host`."""
        peer = peer_name(host)
        connections = self._by_peer.get(peer, ())
        if len(connections) >= self._max_of_peer:
            self._cut_off(next(iter(connections)))
        elif len(self._unadmitted) >= self._max:
            self._cut_off(next(iter(self._unadmitted)))
        self._unadmitted[connection] = peer
        self._by_peer.setdefault(peer, OrderedDict())[connection] = None

    def admit(self, connection: Abortable, client: str) -> None:
        """Admits the connection, as a request that came by it was allowed to `client`.

        Raises LimitReached when as many are admitted as may be, and each of them has a request under way. A connection that
        has ended meanwhile is not admitted: nothing would ever remove it again.
        """
        if self._admitted.get(connection) == client or not (connection in self._unadmitted or connection in self._admitted):
            return
        if self._count_by_client[client] >= self._max_of_client:
            self._cut_off_idle(
                client,
                429,
                f"this client has requests under way in {self._max_of_client:,} connections, "
                "which is as many as it may: try again",
            )
        if connection not in self._admitted and len(self._admitted) >= self._max:
            self._cut_off_idle(None, 503, "every connection that the gateway may hold has a request under way: try again")
        self.remove(connection)
        self._admitted[connection] = client
        self._count_by_client[client] += 1

    def mark_idle(self, connection: Abortable) -> None:
        """Notes that the connection has no request under way, so that it may be cut off for another."""
        if connection in self._admitted:
            self._idle[connection] = None

    def mark_busy(self, connection: Abortable) -> None:
        """Notes that a request has begun."""
        self._idle.pop(connection, None)

    def remove(self, connection: Abortable) -> None:
        """Forgets a connection that has ended; may be called again."""
        client = self._admitted.pop(connection, None)
        if client is not None:
            self._count_by_client[client] -= 1
            if not self._count_by_client[client]:
                del self._count_by_client[client]
        self._idle.pop(connection, None)
        peer = self._unadmitted.pop(connection, None)
        if peer is not None:
            del self._by_peer[peer][connection]
            if not self._by_peer[peer]:
                del self._by_peer[peer]

    def _cut_off_idle(self, client: str | None, status: int, problem: str) -> None:
        """Cuts off the longest idle one, of this client or, where that is None, of all; raises LimitReached if none is idle."""
        connection = next((idle for idle in self._idle if client is None or self._admitted[idle] == client), None)
        if connection is None:
            raise LimitReached(status, problem)
        self._cut_off(connection)

    def _cut_off(self, connection: Abortable) -> None:
        self.remove(connection)
        connection.abort()


def peer_name(host: str) -> str:
    """The address; of an IPv6 address its first half, as one machine may have all the addresses of the second."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return str(int(address) >> 64) if isinstance(address, IPv6Address) and not address.ipv4_mapped else host
