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
DEFAULT_TENANT = "default"
CACHE_SIZE = 4096
"""Keys that a worker finds without hashing."""
LONGEST_CACHED = 256
"""Bytes; longer keys are hashed each time, so that the cache is bounded in bytes too."""
INDEXED = 16
"""Characters of a digest by which a key is found; the whole is then compared in constant time."""
_BEARER = re.compile(rb"\s*bearer\s+(\S+)\s*", re.IGNORECASE)
_USUAL = (b"Bearer ", b"bearer ")
_UNPRINTABLE = re.compile(r"[^!-~]")


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
    """What a key, and each of its people, may use up; None: as `limits.key` and `limits.person` say."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    parallel_streams: int | None = None
    person_requests_per_minute: int | None = None
    person_tokens_per_minute: int | None = None
    person_parallel_streams: int | None = None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """A client key, without its secret."""

    key_id: str
    name: str
    """Unique within its tenant."""
    tenant: str
    models: tuple[str, ...] = ()
    """Public names of the models it may use; none: all."""
    trusts_user_header: bool = False
    """Whether its X-User-Id header is believed."""
    exempt: bool = False
    """Whether its people are never struck (red team, service keys)."""
    allows_remote_images: bool = False
    """Whether its messages may carry URLs that an engine would fetch."""
    content_label: str = "interface"
    """``interface``, ``suffix`` or ``none``: how generated text is labelled."""
    embeddings_guard: str = "block"
    """``block`` or ``observe``: whether a blocked word in an embeddings or rerank input refuses it, or is counted."""
    priority: str = "normal"
    """``high``, ``normal`` or ``low``: who goes first where requests wait for a replica."""
    limits: Limits = Limits()
    expires_at: int | None = None
    """Unix time."""

    @property
    def label(self) -> str:
        """Return the key's name as metrics and lists show it: with its tenant, where that is not the default one."""
        return self.name if self.tenant in {"", DEFAULT_TENANT} else f"{self.tenant}/{self.name}"

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
    """Return enough of a key to recognise it, and too little to use it; what no key may have is a question mark."""
    secret = _UNPRINTABLE.sub("?", secret)
    return f"{secret[:8]}…{secret[-4:]}" if len(secret) >= 2 * SHORTEST_SECRET else f"{secret[:3]}…"


class KeyRing:
    """The valid keys, as one worker holds them; made anew for each published version."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        callers = msgspec.convert(dict(document), dict[str, Caller])
        self._callers = {name[:INDEXED]: (name, caller) for name, caller in callers.items()}
        self._cache: dict[bytes, Caller] = {}

    def caller(self, authorization: bytes | None, now: float) -> Caller:
        """Return who sends this header at *now* (Unix seconds). Raises `KeyRefused`."""
        caller = None
        if authorization is not None and authorization[:7] in _USUAL:
            caller = self._cache.get(authorization[7:])
        if caller is None:
            caller = self._look_up(authorization)
        if caller.expires_at is not None and now >= caller.expires_at:
            raise KeyRefused("This API key has expired.")
        return caller

    def _look_up(self, authorization: bytes | None) -> Caller:
        """Find the key of any spelling of the header; it is remembered as one."""
        found = _BEARER.fullmatch(authorization or b"")
        if found is None:
            raise MissingKey
        if (cached := self._cache.get(found[1])) is not None:
            return cached
        secret = found[1].decode("utf-8", "surrogateescape")
        name = digest(secret)
        stored, caller = self._callers.get(name[:INDEXED], ("", NOBODY))
        if not hmac.compare_digest(stored, name):
            raise WrongKey(secret)
        if len(self._cache) >= CACHE_SIZE:
            self._cache.clear()
        if len(found[1]) <= LONGEST_CACHED:
            self._cache[found[1]] = caller
        return caller


Publish = Callable[[], Awaitable[object]]


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
        "content_label": row["content_label"],
        "embeddings_guard": row["embeddings_guard"],
        "priority": row["priority"],
        "limits": row["limits"],
        "expires_at": row["expires_at"],
    }


def now() -> int:
    """Return Unix time in whole seconds."""
    return int(time.time())
