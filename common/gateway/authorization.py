"""Who may do what: by token, or without any where the gateway was started open to this machine."""

from collections.abc import Iterable, Mapping
from typing import Any

from common.gateway.limits import NoPlace
from common.gateway.loopback_only import why_not_local
from common.gateway.protocol import ADMIT
from common.gateway.tokens import VERBS, Token, Tokens

NO_TOKEN = "a token is needed: Authorization: Bearer TOKEN; one is made by: hybrid token add NAME --scope VERTICAL:VERB"
NONE_EVER = (
    "nobody is served yet: make a token (hybrid token add NAME --scope VERTICAL:VERB) and send it as "
    "Authorization: Bearer TOKEN, or start the gateway with --open, which serves this machine without one"
)


class Refused(Exception):
    """A request that may not go on: 401 (who are you?), 403 (not you), 429 (you have as many as you may), 503 (no place left)."""

    def __init__(self, status: int, problem: str) -> None:
        self.status = status
        super().__init__(problem)


class Access:
    """is_open: this machine is served without a token while there never was one. Only where no other can reach the gateway."""

    def __init__(self, tokens: Tokens, is_open: bool) -> None:
        self._tokens, self._is_open = tokens, is_open

    def allow(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], vertical: str, verb: str) -> str:
        """The name of whoever asks, for limits; raises Refused."""
        token = self._token(scope, headers)
        if token and not token.allows(vertical, verb):
            raise Refused(403, f"this token has no scope {vertical}:{verb}")
        return _admitted(scope, token)

    def client_of(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> str:
        """The name of whoever asks for anything at all, whose connection gets no place by it; raises Refused."""
        return _client(scope, self._token(scope, headers))

    def still_allows(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], vertical: str, verb: str) -> bool:
        """Whether `allow` would let a request in whose connection has a place, or is gone."""
        try:
            token = self._token(scope, headers)
        except Refused:
            return False
        return token is None or token.allows(vertical, verb)

    def seen_by(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], verticals: Iterable[str]) -> list[str]:
        """Those of `verticals` that whoever asks may do anything with; raises Refused."""
        token = self._token(scope, headers)
        _admitted(scope, token)
        return [name for name in verticals if token is None or any(token.allows(name, verb) for verb in VERBS)]

    def _token(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Token | None:
        """The token of a request; None: it needs none. Raises Refused."""
        if self._is_open and not self._tokens.are_needed:
            if problem := why_not_local(scope):
                raise Refused(403, f"an open gateway serves this machine only: {problem}")
            return None
        token = self._tokens.find(headers.get(b"authorization", b""))
        if token is None:
            raise Refused(401, NO_TOKEN if self._tokens.are_needed else NONE_EVER)
        if token.has_ended():
            raise Refused(401, f"this token was good until {token.until}: make another, hybrid token add")
        return token


def _admitted(scope: Mapping[str, Any], token: Token | None) -> str:
    """The client, whose connection has a place now."""
    client = _client(scope, token)
    admit = scope.get("extensions", {}).get(ADMIT)
    if admit:
        try:
            admit(client)
        except NoPlace as problem:
            raise Refused(problem.status, str(problem)) from None
    return client


def _client(scope: Mapping[str, Any], token: Token | None) -> str:
    return token.id if token else str((scope.get("client") or ("local",))[0])
