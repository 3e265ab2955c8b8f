"""Who may do what: by token, and without any token only this machine."""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

from common.gateway.tokens import Tokens

FORWARDED = {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"}  # a proxy's: it may serve anybody
LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Refused(Exception):
    """A request that may not go on; `status` is 401 (who are you?) or 403 (not you)."""

    def __init__(self, status: int, problem: str) -> None:
        self.status = status
        super().__init__(problem)


class Access:
    """on_loopback: the gateway can be reached from this machine only, and so needs no token while there never was one."""

    def __init__(self, tokens: Tokens, on_loopback: bool) -> None:
        self._tokens, self._on_loopback = tokens, on_loopback

    def allow(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], vertical: str, verb: str) -> str:
        """The name of whoever asks, for limits; raises Refused."""
        if not self._tokens.are_needed and self._on_loopback:
            return _local(scope, headers)
        token = self._tokens.find(headers.get(b"authorization", b""))
        if token is None:
            raise Refused(401, "a token is needed: Authorization: Bearer TOKEN; one is made by: hybrid token add")
        if not token.allows(vertical, verb):
            raise Refused(403, f"this token has no scope {vertical}:{verb}")
        return token.id


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def _local(scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> str:
    # A page in a browser of this machine may point a name of its own at 127.0.0.1; the name it uses gives it away.
    name = headers.get(b"host", b"").decode("latin-1").lower()
    if (name if name.endswith("]") else name.rpartition(":")[0] or name) not in LOOPBACK_NAMES:
        raise Refused(403, "without tokens only this machine is served, by the name localhost or 127.0.0.1")
    if passed_on := FORWARDED.intersection(headers):
        name = min(passed_on).decode()
        raise Refused(403, f"without tokens only this machine is served, and this request was passed on for another ({name})")
    return str((scope.get("client") or ("local",))[0])
