"""How many connections there may be at once, and which one has to go for another."""

from collections import Counter, OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Protocol

from common.gateway.limits import NoPlace


class Abortable(Protocol):
    """A connection that can be cut off."""

    def abort(self) -> None: ...


class Connections:
    """At most `most` admitted connections, of which a request was allowed, a quarter of them of one client; at most as many
    others, half of them of one peer.

    A newcomer is always let in: the oldest connection that is not admitted goes for it. So whoever only connects, or sends
    half a request, keeps nobody out, and neither does one client whose requests do not end.
    """

    def __init__(self, most: int) -> None:
        self._most, self._most_of_peer, self._most_of_client = most, max(1, most // 2), max(1, most // 4)
        self._strangers: OrderedDict[Abortable, str] = OrderedDict()  # with their peers, the oldest first
        self._of_peer: dict[str, OrderedDict[Abortable, None]] = {}
        self._admitted: dict[Abortable, str] = {}                     # with their clients
        self._of_client: Counter[str] = Counter()
        self._idle: OrderedDict[Abortable, None] = OrderedDict()      # of the admitted; the longest idle first

    def add(self, connection: Abortable, host: str) -> None:
        """A connection that was just made, from the address `host`."""
        peer = peer_of(host)
        of_peer = self._of_peer.get(peer, ())
        if len(of_peer) >= self._most_of_peer:
            self._cut_off(next(iter(of_peer)))
        elif len(self._strangers) >= self._most:
            self._cut_off(next(iter(self._strangers)))
        self._strangers[connection] = peer
        self._of_peer.setdefault(peer, OrderedDict())[connection] = None

    def admit(self, connection: Abortable, client: str) -> None:
        """A request of it was allowed, to `client`. Raises NoPlace: each place has a connection with a request under way.

        One that is gone meanwhile is given no place, as nobody would take it from it again.
        """
        if self._admitted.get(connection) == client or not (connection in self._strangers or connection in self._admitted):
            return
        if self._of_client[client] >= self._most_of_client:
            self._cut_off_idle(client, 429, f"this client has requests under way in {self._most_of_client:,} connections, "
                                            "which is as many as it may: try again")
        if connection not in self._admitted and len(self._admitted) >= self._most:
            self._cut_off_idle(None, 503, "every connection that the gateway may hold has a request under way: try again")
        self.remove(connection)
        self._admitted[connection] = client
        self._of_client[client] += 1

    def is_idle(self, connection: Abortable) -> None:
        """It has no request under way."""
        if connection in self._admitted:
            self._idle[connection] = None

    def is_busy(self, connection: Abortable) -> None:
        """A request has begun."""
        self._idle.pop(connection, None)

    def remove(self, connection: Abortable) -> None:
        """It is gone; may be called again."""
        client = self._admitted.pop(connection, None)
        if client is not None:
            self._of_client[client] -= 1
            if not self._of_client[client]:
                del self._of_client[client]
        self._idle.pop(connection, None)
        peer = self._strangers.pop(connection, None)
        if peer is not None:
            del self._of_peer[peer][connection]
            if not self._of_peer[peer]:
                del self._of_peer[peer]

    def _cut_off_idle(self, client: str | None, status: int, problem: str) -> None:
        """The longest idle one, of this client or of all."""
        found = next((each for each in self._idle if client is None or self._admitted[each] == client), None)
        if found is None:
            raise NoPlace(status, problem)
        self._cut_off(found)

    def _cut_off(self, connection: Abortable) -> None:
        self.remove(connection)
        connection.abort()


def peer_of(host: str) -> str:
    """The address, of IPv6 its first half: one machine may have all the addresses of the second."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return str(int(address) >> 64) if isinstance(address, IPv6Address) and not address.ipv4_mapped else host
