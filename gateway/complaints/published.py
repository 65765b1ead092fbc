"""What has become of an appeal or a complaint, where the workers read it: in Redis.

SQL owns it. Who was told of a decision can be told again for thirty days.
"""

import asyncio
from dataclasses import dataclass
from typing import Literal

import msgspec
from redis.asyncio import Redis

from gateway.complaints.rules import DAY_SECONDS

Case = Literal["appeals", "complaints"]
OPEN = "open"
UPHELD, REJECTED = "upheld", "rejected"
"""What becomes of an appeal."""
ANSWERED = "answered"
"""What becomes of a complaint."""
OPEN_SECONDS = 183 * DAY_SECONDS
DECIDED_SECONDS = 30 * DAY_SECONDS
READ_SECONDS = 2.0


class Status(msgspec.Struct, frozen=True, omit_defaults=True):
    """What whoever made a case may know of it. Times are Unix seconds."""

    id: str
    tenant: str
    received_at: int
    due_at: int
    status: str = OPEN
    answer: str = ""
    decided_at: int = 0

    def document(self) -> dict[str, object]:
        """Return it as the client reads it."""
        told: dict[str, object] = {"id": self.id, "status": self.status}
        told |= {"received_at": self.received_at, "due_at": self.due_at}
        if self.status != OPEN:
            told |= {"answer": self.answer, "decided_at": self.decided_at}
        return told


@dataclass(frozen=True, slots=True)
class Board:
    """The published states of one kind of case."""

    redis: "Redis"
    case: Case

    def _name(self, case_id: str) -> str:
        return f"gw:{self.case}:{case_id}"

    async def publish(self, status: Status) -> None:
        """Have the workers know of it. An open case never takes the place of a decided one. Raises `RedisError`."""
        is_open = status.status == OPEN
        seconds = OPEN_SECONDS if is_open else DECIDED_SECONDS
        await self.redis.set(self._name(status.id), msgspec.json.encode(status), ex=seconds, nx=is_open)

    async def read(self, case_id: str, tenant: str) -> Status | None:
        """Return what is known of a case of *tenant*. Raises `RedisError` and TimeoutError."""
        async with asyncio.timeout(READ_SECONDS):
            found = await self.redis.get(self._name(case_id))
        status = None if found is None else msgspec.json.decode(found, type=Status)
        return status if status is not None and status.tenant == tenant else None
