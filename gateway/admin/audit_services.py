"""What the routes of the audit log work on."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.admin.recorder import By
from gateway.audit.entries import encode
from gateway.audit.search import Search
from gateway.audit.verification import Verification
from gateway.audit.writer import Writer

READ_TEXTS = "read_texts"
"""Action that is on record before anybody reads what people wrote."""
EXPORT = "audit.export"


@dataclass(frozen=True, slots=True)
class AuditServices:
    """The index, the log of what admins do, and the check of the whole log."""

    search: Search
    writer: Writer
    """Of the control process."""
    verification: Verification
    ids_of: Callable[[str], Awaitable[Sequence[str]]]
    """All ids under which a person's turns are on record."""
    producer: str | None = None
    """`labels.producer`: exported answers carry its implicit label."""

    async def record(self, by: By, *actions: str, target: str = "", **details: Any) -> None:
        """Put on record what an admin is about to do. Raises `AuditUnavailable`: then it must not be done."""
        made = [by.about_to(action, target, details) for action in actions]
        if made:
            await self.writer.durable(self.writer.append(*map(encode, made)))
