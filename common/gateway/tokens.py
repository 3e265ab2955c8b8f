"""Makes, checks and revokes bearer tokens. A token is shown once; its hash is kept in a file that only its owner can read.

A token is `<id>.<256 random bits>`. As these are random, one SHA-256 suffices as its hash: no guess can come near.
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

from common.locks import file_lock
from common.settings import SettingsError

ALL_VERTICALS = "all"  # in a scope
MAX_NAME_CHARACTERS = 100
VERBS = ("read", "write")
RELOAD_SECONDS = 1.0  # between checks whether the file of tokens has changed
LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Token:
    """An entry of the file of tokens, whose names are those of these fields. scopes: `<vertical>:<verb>` or `all:<verb>`.

    digest: SHA-256 of the token's text, hexadecimal; made: when, ISO 8601; until: the ISO 8601 moment from which the token is
    refused, None for one that has no end.
    """

    id: str
    name: str
    scopes: tuple[str, ...]
    digest: str
    made: str
    until: str | None = None

    def has_scope(self, vertical: str, verb: str) -> bool:
        """Whether it allows the verb, `read` or `write`, for this vertical."""
        return f"{vertical}:{verb}" in self.scopes or f"{ALL_VERTICALS}:{verb}" in self.scopes

    def has_ended(self) -> bool:
        """Whether `until` is over."""
        return self.until is not None and datetime.now(UTC) >= datetime.fromisoformat(self.until)


class TokenFile:
    """The tokens of a data folder, in `<data>/gateway/tokens.json`."""

    def __init__(self, data: Path) -> None:
        self.path = data.absolute() / "gateway" / "tokens.json"
        self._lock = self.path.with_suffix(".lock")

    @property
    def is_in_use(self) -> bool:
        """Whether a token was ever made in this folder: the lock's file stays when that of the tokens goes. Raises OSError."""
        return any(_exists(path) for path in (self.path, self._lock))

    def read(self) -> list[Token]:
        """All tokens; none where there is no file. Raises SettingsError for a file that is no list of tokens."""
        try:
            entries = json.loads(self.path.read_bytes())
            tokens = [Token(**{**entry, "scopes": tuple(entry["scopes"])}) for entry in entries]
            for token in tokens:
                token.has_ended()  # raises for an end that is no time
            return tokens
        except FileNotFoundError:
            return []
        except (ValueError, TypeError, KeyError):
            raise SettingsError(f"{self.path} is not readable as tokens: remove it, and make them anew") from None

    def add(self, name: str, scopes: list[str], verticals: list[str], until: datetime | None = None) -> str:
        """Makes a token and returns its text, which is stored nowhere. verticals: names that a scope may have; until: zoned.

        Raises SettingsError for a name that is used already or cannot be shown, and for a scope that does not exist.
        """
        _check_name(name)
        for scope in scopes:
            _check_scope(scope, verticals)
        end = until.astimezone(UTC).isoformat() if until else None
        token_id, created_at = secrets.token_hex(6), datetime.now(UTC).isoformat(timespec="seconds")
        text = f"{token_id}.{secrets.token_urlsafe(32)}"
        with self._edit() as tokens:
            if any(token.name == name for token in tokens):
                raise SettingsError(f"there is a token named {name!r} already: revoke it first, or give another name")
            tokens.append(Token(token_id, name, tuple(dict.fromkeys(scopes)), _digest(text), created_at, end))
        return text

    def revoke(self, name: str) -> None:
        """Removes the token of that name; raises SettingsError where there is none."""
        if not self.is_in_use:  # and the lock of `_edit` would make it so
            raise _unknown_token(name, [])
        with self._edit() as tokens:
            other_tokens = [token for token in tokens if token.name != name]
            if len(other_tokens) == len(tokens):
                raise _unknown_token(name, tokens)
            tokens[:] = other_tokens

    @contextmanager
    def _edit(self) -> Iterator[list[Token]]:
        """The tokens, to be changed in place; the file is replaced at the end, and no other process writes it meanwhile."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(self._lock):
            tokens = self.read()
            yield tokens
            new_path = self.path.with_suffix(f".{os.getpid()}")
            with open(os.open(new_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:  # noqa: PTH123
                json.dump([asdict(token) for token in tokens], file, indent=1)
            new_path.replace(self.path)


class Tokens:
    """The tokens as they are now: the file is checked once a second, so that a revoked token is refused without a restart."""

    def __init__(self, file: TokenFile) -> None:
        self._file = file
        self._file_version: tuple[int, ...] | None = None  # that was read last
        self._checked_at = float("-inf")
        self._by_id: dict[str, Token] = {}
        self._is_in_use = False
        self._problem = ""  # why they could not be read at the last check

    @property
    def is_in_use(self) -> bool:
        """Whether there is a token, or ever was one: to revoke the last one must not let everybody in."""
        self._reload()
        return self._is_in_use

    def __bool__(self) -> bool:
        """Whether there is a token now."""
        self._reload()
        return bool(self._by_id)

    def find(self, authorization: bytes) -> Token | None:
        """The token in an `Authorization: Bearer ...` header; None if it is none of ours."""
        self._reload()
        scheme, _, text = authorization.decode("latin-1").strip().partition(" ")
        token = self._by_id.get(text.strip().partition(".")[0])
        digest = token.digest if token else "0" * 64
        is_valid = hmac.compare_digest(digest, _digest(text.strip()))
        return token if is_valid and scheme.lower() == "bearer" else None

    def _reload(self) -> None:
        now = time.monotonic()
        if now - self._checked_at < RELOAD_SECONDS:
            return
        self._checked_at = now
        try:
            self._is_in_use |= self._file.is_in_use  # stays so where the files vanish, as with a disk that is unmounted
            status = self._file.path.stat()
            version: tuple[int, ...] = (status.st_mtime_ns, status.st_size, status.st_ino)
        except FileNotFoundError:
            version = ()
        except OSError as problem:
            self._refuse_all(problem)
            return
        if version != self._file_version:
            self._file_version = version
            try:
                self._by_id = {token.id: token for token in self._file.read()}
            except (SettingsError, OSError) as problem:
                self._refuse_all(problem)
                return
        self._problem = ""

    def _refuse_all(self, problem: Exception) -> None:
        """Lets nobody in while the tokens cannot be read, and logs that once."""
        self._is_in_use, self._by_id, self._file_version = True, {}, None
        if str(problem) != self._problem:
            LOG.error("no token is taken: %s", problem)
        self._problem = str(problem)


def parse_end(text: str) -> datetime:
    """The moment at which a token ends: for a date the end of that day. A text without a zone is in UTC.

    Raises SettingsError for what is no date or time, and for a moment that is over.
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


def _exists(path: Path) -> bool:
    """Whether there is such a file; raises OSError where that cannot be known, while Path.exists says False to some of these."""
    try:
        path.stat()
    except FileNotFoundError:
        return False
    return True


def _unknown_token(name: str, tokens: list[Token]) -> SettingsError:
    return SettingsError(f"no token named {name!r}; there are: {', '.join(token.name for token in tokens) or 'none'}")


def _check_name(name: str) -> None:
    if not name or name != name.strip() or not name.isprintable() or len(name) > MAX_NAME_CHARACTERS:
        raise SettingsError(
            f"token's name {name!r}: give 1 to {MAX_NAME_CHARACTERS} printable characters, with no space at either end"
        )


def _check_scope(scope: str, verticals: list[str]) -> None:
    vertical, _, verb = scope.partition(":")
    choices = (*verticals, ALL_VERTICALS)
    if vertical not in choices or verb not in VERBS:
        raise SettingsError(
            f"scope {scope!r}: give VERTICAL:VERB, the verb {' or '.join(VERBS)}, the vertical one of {', '.join(choices)}"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
