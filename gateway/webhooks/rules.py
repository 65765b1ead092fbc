"""The settings of webhooks: who is told of what, and how it is signed."""

import base64
import binascii
from collections.abc import Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_core import PydanticCustomError

PREFIX = "whsec_"
"""Begins a secret whose rest is base64, as Standard Webhooks write it."""
SHORTEST_KEY = 24
"""Bytes of a signing key; the least that Standard Webhooks allow."""
LONGEST_URL = 2_000
MOST_HOOKS = 20


class Event(StrEnum):
    """What can be told."""

    SUSPENDED = "person.suspended"
    LIFTED = "person.lifted"
    UPHELD = "person.upheld"
    BANNED = "person.banned"
    UNBANNED = "person.unbanned"


def _wrong(text: str) -> PydanticCustomError:
    return PydanticCustomError("value", "{text}", {"text": text})


class Webhook(BaseModel):
    """One receiver."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, Field(max_length=LONGEST_URL)]
    """``http://…`` or ``https://…``; what stands in it may be a secret, so no list shows more than its host."""
    secret: SecretStr
    """Signs every message; ``whsec_`` and base64, or any text."""
    events: Annotated[tuple[Event, ...], Field(min_length=1)] = tuple(Event)
    """What it is told of."""

    @field_validator("url")
    @classmethod
    def _url_fits(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            _ = parts.port  # reading it is what checks it
        except ValueError as error:
            raise _wrong(str(error)) from None
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise _wrong("must begin with http:// or https:// and name a host")
        if not (url.isascii() and url.isprintable()) or " " in url:
            raise _wrong("must be printable ASCII without blanks")
        if parts.fragment:
            raise _wrong("must not have a fragment (#…)")
        return url

    @field_validator("secret")
    @classmethod
    def _secret_fits(cls, secret: SecretStr) -> SecretStr:
        try:
            key = signing_key(secret.get_secret_value())
        except ValueError:
            raise _wrong(f"what stands behind {PREFIX} is no base64") from None
        if len(key) < SHORTEST_KEY:
            raise _wrong(f"must have at least {SHORTEST_KEY} bytes")
        return secret

    @property
    def id(self) -> str:
        """Names the receiver in the outbox: it stays the same as long as its URL does."""
        return sha256(self.url.encode()).hexdigest()[:16]

    @property
    def host(self) -> str:
        """Scheme, host and port, for those who look."""
        parts = urlsplit(self.url)
        host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
        return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port is not None else "")


def signing_key(secret: str) -> bytes:
    """Return the bytes that sign. Raises ValueError where ``whsec_`` is not followed by base64."""
    if not secret.startswith(PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def twice(hooks: Sequence[Webhook]) -> int | None:
    """Return which hook has the URL of one before it."""
    urls = [hook.url for hook in hooks]
    return next((i for i, url in enumerate(urls) if url in urls[:i]), None)
