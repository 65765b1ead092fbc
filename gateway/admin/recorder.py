"""What admins do, on record: before it is done, and how it ended."""

import logging
import math
import time
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from starlette.requests import Request

from gateway.audit.entries import Admin, encode
from gateway.audit.errors import AuditUnavailable
from gateway.audit.log import Chain

log = logging.getLogger(__name__)

DENIED_PER_SECOND = 5
"""Records of requests that were denied; more are only counted, so that a flood of them does not fill the disk."""


@dataclass(frozen=True, slots=True)
class By:
    """Who does something, in which role, and from where."""

    admin: str
    role: str = ""
    address: str = ""

    def about_to(self, action: str, target: str, details: dict[str, Any]) -> Admin:
        """Return the record of what is about to be read, which says nothing of how that ended."""
        at = time.time_ns() // 1_000_000
        found = Admin(at=at, admin=self.admin, action=action, target=target, details=details)
        return msgspec.structs.replace(found, role=self.role, address=self.address)


def asking(request: Request) -> By:
    """Return who asks, as the gate has let them in."""
    state = request.state
    return By(state.admin, state.role, state.address)


class Records(Protocol):
    """Where the records of admins go."""

    async def put(self, record: Admin) -> None:
        """Return when *record* is as safe as the settings ask for. Raises `AuditUnavailable`."""


class Chained:
    """Puts them into a chain of the audit log."""

    def __init__(self, chain: Chain) -> None:
        self.chain = chain

    async def put(self, record: Admin) -> None:
        await self.chain.durable(self.chain.append(encode(record)))


class Unrecorded:
    """Puts them nowhere: for an API that no control process serves."""

    async def put(self, record: Admin) -> None:
        del record


@dataclass(slots=True)
class Action:
    """One request as it goes on record. *details* stand in its first record alone."""

    id: str
    action: str
    target: str = ""
    address: str = ""
    admin: str = ""
    role: str = ""

    def record(self, outcome: str = "", status: int = 0, details: dict[str, Any] | None = None) -> Admin:
        """Return a record of it, written now."""
        return Admin(
            at=time.time_ns() // 1_000_000,
            id=self.id,
            admin=self.admin,
            role=self.role,
            action=self.action,
            target=self.target,
            address=self.address,
            details=details or {},
            outcome=outcome,
            status=status,
        )


class Denials:
    """Requests that were denied, no more than `DENIED_PER_SECOND` of them."""

    def __init__(self) -> None:
        self._second = -1
        self._left = DENIED_PER_SECOND
        self._unrecorded = 0

    def take(self, now: float) -> int | None:
        """Return how many went unrecorded before the one at *now* (seconds), or None: this one does, too."""
        second = math.floor(now)
        if second != self._second:
            self._second, self._left = second, DENIED_PER_SECOND
        if self._left == 0:
            self._unrecorded += 1
            return None
        self._left -= 1
        unrecorded, self._unrecorded = self._unrecorded, 0
        return unrecorded


async def put_denied(records: Records, denials: Denials, action: Action, status: int, code: str) -> None:
    """Record that a request was denied; it is so whether or not that can be written."""
    unrecorded = denials.take(time.monotonic())
    if unrecorded is None:
        return
    details: dict[str, Any] = {"code": code}
    if unrecorded:
        details["unrecorded"] = unrecorded
    try:
        await records.put(action.record("denied", status, details))
    except AuditUnavailable as error:
        log.warning("a denied admin request is not on record: %s: %s", msgspec.json.encode(details).decode(), error)
