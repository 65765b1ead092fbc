"""Client keys: who calls. Stored as hashes in SQL, held by each worker as a ring in memory."""

import hmac
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

PREFIX = "sk-gw-"
SHORTEST_SECRET = 16
"""Characters of a key that somebody chose; ours have 43 random ones."""
CACHE_SIZE = 4096
INDEXED = 16
"""Characters of a digest by which a key is found; the whole is then compared in constant time."""
_BEARER = re.compile(rb"\s*bearer\s+(\S+)\s*", re.IGNORECASE)


class KeyRefused(Exception):
    """The request carries no key that is valid; the words are OpenAI's where OpenAI has some."""


class MissingKey(KeyRefused):
    """There is no ``Authorization: Bearer`` header."""

    def __init__(self) -> None:
        super().__init__(
            "You didn't provide an API key. You need to provide it in an Authorization header using Bearer auth"
            " (i.e. Authorization: Bearer YOUR_KEY)."
        )


class WrongKey(KeyRefused):
    """The key is not known, or not any more."""

    def __init__(self, secret: str) -> None:
        super().__init__(f"Incorrect API key provided: {mask(secret)}.")


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a key may use up; None: no bound."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel_streams: int | None = None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A client key, without its secret."""

    key_id: str
    name: str
    """A label of the metrics."""
    tenant: str
    models: tuple[str, ...] = ()
    """Public names of the models it may use; none: all."""
    trusts_user_header: bool = False
    """Whether its X-User-Id header is believed."""
    exempt: bool = False
    """Whether its people are never struck (red team, service keys)."""
    allows_remote_images: bool = False
    """Whether its messages may carry URLs that an engine would fetch."""
    limits: Limits = Limits()
    expires_at: int | None = None
    """Unix time."""

    def may_use(self, model: str) -> bool:
        """Return whether *model*, a public name, is open to this key."""
        return not self.models or model in self.models


NOBODY = Caller(key_id="", name="", tenant="")
"""Whoever sent no valid key."""


def new_secret() -> str:
    """Return a new key: 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(secret: str) -> str:
    """Return the form in which a key is stored.

    One round of SHA-256 is enough for 256 random bits: slow hashes protect what can be guessed.
    """
    return sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def mask(secret: str) -> str:
    """Return enough of a key to recognise it, and too little to use it."""
    return f"{secret[:8]}…{secret[-4:]}" if len(secret) >= 2 * SHORTEST_SECRET else f"{secret[:3]}…"


class KeyRing:
    """The valid keys, as one worker holds them; made anew for each published version."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        callers = msgspec.convert(dict(document), dict[str, Caller])
        self._callers = {name[:INDEXED]: (name, caller) for name, caller in callers.items()}
        self._cache: dict[bytes, Caller] = {}

    def caller(self, authorization: bytes | None, now: float) -> Caller:
        """Return who sends this header at *now* (Unix seconds). Raises `KeyRefused`."""
        caller = self._cache.get(authorization) if authorization is not None else None
        if caller is None:
            caller = self._look_up(authorization)
        if caller.expires_at is not None and now >= caller.expires_at:
            raise KeyRefused("This API key has expired.")
        return caller

    def _look_up(self, authorization: bytes | None) -> Caller:
        found = _BEARER.fullmatch(authorization or b"")
        if authorization is None or found is None:
            raise MissingKey
        secret = found[1].decode("utf-8", "surrogateescape")
        name = digest(secret)
        stored, caller = self._callers.get(name[:INDEXED], ("", NOBODY))
        if not hmac.compare_digest(stored, name):
            raise WrongKey(secret)
        if len(self._cache) >= CACHE_SIZE:
            self._cache.clear()
        self._cache[authorization] = caller
        return caller


Publish = Callable[[dict[str, Any]], Awaitable[object]]


def ring_entry(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the ring needs of a stored key."""
    return {
        "key_id": row["id"],
        "name": row["name"],
        "tenant": row["tenant"],
        "models": row["models"],
        "trusts_user_header": row["trusts_user_header"],
        "exempt": row["exempt"],
        "allows_remote_images": row["allows_remote_images"],
        "limits": row["limits"],
        "expires_at": row["expires_at"],
    }


def now() -> int:
    """Return Unix time in whole seconds."""
    return int(time.time())
