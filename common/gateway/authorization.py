"""Decides what a request may do: by its token, or without one where the gateway was started open to this machine."""

from collections.abc import Iterable, Mapping
from typing import Any

from common.gateway.limits import LimitReached
from common.gateway.loopback_only import reason_not_local
from common.gateway.protocol import ADMIT_EXTENSION
from common.gateway.tokens import VERBS, Token, Tokens

NO_TOKEN = "a token is needed: Authorization: Bearer TOKEN; one is made by: hybrid token add NAME --scope VERTICAL:VERB"
NO_TOKEN_EVER = (
    "nobody is served yet: make a token (hybrid token add NAME --scope VERTICAL:VERB) and send it as "
    "Authorization: Bearer TOKEN, or start the gateway with --open, which serves this machine without one"
)


class AccessRefused(Exception):
    """A request that may not go on. 401: no valid token; 403: no such scope; 429: the client's own limit; 503: the gateway's."""

    def __init__(self, status: int, problem: str) -> None:
        self.status = status
        super().__init__(problem)


class Access:
    """Admits requests. is_open: this machine is served without a token while there never was one; set it only on loopback."""

    def __init__(self, tokens: Tokens, is_open: bool) -> None:
        self._tokens, self._is_open = tokens, is_open

    def admit(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], vertical: str, verb: str) -> str:
        """The client's name, for limits; its connection is admitted. Raises AccessRefused."""
        token = self._find_token(scope, headers)
        if token and not token.has_scope(vertical, verb):
            raise AccessRefused(403, f"this token has no scope {vertical}:{verb}")
        return _admit_connection(scope, token)

    def identify_client(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> str:
        """The client's name, whatever it asks for; its connection is not admitted by this. Raises AccessRefused."""
        return _client_name(scope, self._find_token(scope, headers))

    def is_still_allowed(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], vertical: str, verb: str) -> bool:
        """Whether a request that `admit` let in would be let in again; its connection is left as it is."""
        try:
            token = self._find_token(scope, headers)
        except AccessRefused:
            return False
        return token is None or token.has_scope(vertical, verb)

    def visible_names(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes], verticals: Iterable[str]) -> list[str]:
        """Those of `verticals` for which the client has a scope; its connection is admitted. Raises AccessRefused."""
        token = self._find_token(scope, headers)
        _admit_connection(scope, token)
        return [name for name in verticals if token is None or any(token.has_scope(name, verb) for verb in VERBS)]

    def _find_token(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Token | None:
        """The token of a request; None: it needs none. Raises AccessRefused."""
        if self._is_open and not self._tokens.is_in_use:
            if problem := reason_not_local(scope):
                raise AccessRefused(403, f"an open gateway serves this machine only: {problem}")
            return None
        token = self._tokens.find(headers.get(b"authorization", b""))
        if token is None:
            raise AccessRefused(401, NO_TOKEN if self._tokens.is_in_use else NO_TOKEN_EVER)
        if token.has_ended():
            raise AccessRefused(401, f"this token was good until {token.until}: make another, hybrid token add")
        return token


def _admit_connection(scope: Mapping[str, Any], token: Token | None) -> str:
    """The client's name, once its connection is admitted (`connections.Connections`)."""
    client = _client_name(scope, token)
    admit = scope.get("extensions", {}).get(ADMIT_EXTENSION)
    if admit:
        try:
            admit(client)
        except LimitReached as problem:
            raise AccessRefused(problem.status, str(problem)) from None
    return client


def _client_name(scope: Mapping[str, Any], token: Token | None) -> str:
    return token.id if token else str((scope.get("client") or ("local",))[0])
