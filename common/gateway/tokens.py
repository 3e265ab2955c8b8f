"""Bearer tokens: made once and shown once, kept as hashes in a file that only its owner reads.

A token is `<id>.<256 random bits>`. As it is random, one SHA-256 is hash enough: there is nothing to guess from.
"""

import hashlib
import hmac
import json
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common.locks import locked
from common.settings import SettingsError

ALL = "all"
LONGEST_NAME = 100
VERBS = ("read", "write")
LOOK_AGAIN_SECONDS = 1.0
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Token:
    """What is kept of a token. scopes: `<vertical>:<verb>` or `all:<verb>`; digest: SHA-256 of its text, hexadecimal.

    until: the ISO 8601 moment from which it is refused; None: it has no end.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    digest: str
    made: str
    until: str | None = None

    def allows(self, vertical: str, verb: str) -> bool:
        return f"{vertical}:{verb}" in self.scopes or f"{ALL}:{verb}" in self.scopes

    def has_ended(self) -> bool:
        return self.until is not None and datetime.now(UTC) >= datetime.fromisoformat(self.until)


class TokenFile:
    """The tokens of a data folder, in `<data>/gateway/tokens.json`."""

    def __init__(self, data: Path) -> None:
        self.path = data.absolute() / "gateway" / "tokens.json"
        self._lock = self.path.with_suffix(".lock")

    @property
    def was_made(self) -> bool:
        """Whether there ever was a token: the lock stays when the tokens go. Raises OSError."""
        return any(_is_there(each) for each in (self.path, self._lock))

    def read(self) -> list[Token]:
        """All tokens; none when there is no file. Raises SettingsError for a file that is no list of tokens."""
        try:
            tokens = [Token(**{**each, "scopes": tuple(each["scopes"])}) for each in json.loads(self.path.read_bytes())]
            for each in tokens:
                each.has_ended()  # raises for an end that is no time
            return tokens
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError):
            raise SettingsError(f"{self.path} is not readable as tokens: remove it, and make them anew") from None

    def add(self, name: str, scopes: list[str], known: list[str], until: datetime | None = None) -> str:
        """Make a token; returns its text, which is kept nowhere. `known`: the verticals there are; until: with its zone."""
        _check_name(name)
        for scope in scopes:
            _check_scope(scope, known)
        end = until.astimezone(UTC).isoformat() if until else None
        token_id, made = secrets.token_hex(6), datetime.now(UTC).isoformat(timespec="seconds")
        text = f"{token_id}.{secrets.token_urlsafe(32)}"
        with self._changing() as tokens:
            if any(each.name == name for each in tokens):
                raise SettingsError(f"there is a token named {name!r} already: revoke it first, or give another name")
            tokens.append(Token(token_id, name, tuple(dict.fromkeys(scopes)), _digest(text), made, end))
        return text

    def revoke(self, name: str) -> None:
        """Forget the token of that name; raises SettingsError when there is none."""
        if not self.was_made:  # and is not made to look so
            raise _no_token(name, [])
        with self._changing() as tokens:
            kept = [each for each in tokens if each.name != name]
            if len(kept) == len(tokens):
                raise _no_token(name, tokens)
            tokens[:] = kept

    @contextmanager
    def _changing(self) -> Iterator[list[Token]]:
        """The tokens, to be changed in place; written whole, with no one else writing meanwhile."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self._lock):
            tokens = self.read()
            yield tokens
            made = self.path.with_suffix(f".{os.getpid()}")
            with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
                json.dump([asdict(each) for each in tokens], file, indent=1)
            made.replace(self.path)


class Tokens:
    """The tokens as they are now: looked at again once a second, so that a revoked one is refused without a restart."""

    def __init__(self, file: TokenFile) -> None:
        self._file = file
        self._seen: tuple[int, ...] | None = None
        self._looked = float("-inf")
        self._by_id: dict[str, Token] = {}
        self._were_there = False
        self._problem = ""  # why they could not be read at the last look

    @property
    def are_needed(self) -> bool:
        """Whether there is a token, or ever was one: who revokes the last does not mean to let everybody in."""
        self._look()
        return self._were_there

    def __bool__(self) -> bool:
        self._look()
        return bool(self._by_id)

    def find(self, authorization: bytes) -> Token | None:
        """The token that an `Authorization: Bearer ...` header gives; None if it is none of ours."""
        self._look()
        scheme, _, text = authorization.decode("latin-1").strip().partition(" ")
        token = self._by_id.get(text.strip().partition(".")[0])
        known = token.digest if token else "0" * 64
        is_it = hmac.compare_digest(known, _digest(text.strip()))
        return token if is_it and scheme.lower() == "bearer" else None

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_AGAIN_SECONDS:
            return
        self._looked = now
        try:
            self._were_there |= self._file.was_made  # stays so if all goes, as with a disk that is not mounted any more
            status = self._file.path.stat()
            seen: tuple[int, ...] = (status.st_mtime_ns, status.st_size, status.st_ino)
        except FileNotFoundError:
            seen = ()
        except OSError as problem:
            self._close(problem)
            return
        if seen != self._seen:
            self._seen = seen
            try:
                self._by_id = {each.id: each for each in self._file.read()}
            except (SettingsError, OSError) as problem:
                self._close(problem)
                return
        self._problem = ""

    def _close(self, problem: Exception) -> None:
        """Who cannot read the tokens lets nobody in, and says so once."""
        self._were_there, self._by_id, self._seen = True, {}, None
        if str(problem) != self._problem:
            LOG.error("no token is taken: %s", problem)
        self._problem = str(problem)


def end_of(text: str) -> datetime:
    """The moment at which a token ends that is good until `text`: of a date the end of that day, without a zone UTC's.

    Raises SettingsError for what is no date or time, and for one that is over.
    """
    try:
        end = datetime.fromisoformat(text)
        if len(text) <= len("2026-12-31"):
            end += timedelta(days=1)
        end = (end if end.tzinfo else end.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise SettingsError(f"--until {text!r}: give a date such as 2026-12-31, or a time such as 2026-12-31T18:00Z") from None
    if end <= datetime.now(UTC):
        raise SettingsError(f"--until {text!r} is over: such a token would never be taken")
    return end


def _is_there(path: Path) -> bool:
    """Raises OSError where it cannot be told, unlike Path.exists for some of them."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _no_token(name: str, tokens: list[Token]) -> SettingsError:
    return SettingsError(f"no token named {name!r}; there are: {', '.join(each.name for each in tokens) or 'none'}")


def _check_name(name: str) -> None:
    if not name or name != name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise SettingsError(f"token's name {name!r}: give 1 to {LONGEST_NAME} printable characters, with no space at either end")


def _check_scope(scope: str, known: list[str]) -> None:
    vertical, _, verb = scope.partition(":")
    if vertical not in (*known, ALL) or verb not in VERBS:
        raise SettingsError(
            f"scope {scope!r}: give VERTICAL:VERB, the verb {' or '.join(VERBS)}, the vertical one of {', '.join((*known, ALL))}"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
