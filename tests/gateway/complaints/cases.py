"""Records of cases, as workers write them."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.entries import Appeal, Complaint
from gateway.audit.sinks import Heard
from gateway.complaints.labels import Turn
from gateway.complaints.sink import CaseSink

CONTENT = "0123456789abcdef01234567"


async def find_nothing(content_id: str) -> Turn | None:
    """Find no turn: there is no index of the log."""
    del content_id
    return None


def appeal(number: int, **changes: Any) -> Appeal:
    """Return an appeal that came at second *number* and is due 100 seconds later."""
    fields: dict[str, Any] = {
        "at": number * 1_000,
        "id": f"apl_{number}",
        "key": "k1",
        "tenant": "acme",
        "person": "p1",
        "user": "u1",
        "text": "不是我",
        "due": (number + 100) * 1_000,
        "content_id": CONTENT,
    }
    return Appeal(**{**fields, **changes})


def complaint(number: int, **changes: Any) -> Complaint:
    """Return a complaint that came at second *number* and is due 100 seconds later."""
    fields: dict[str, Any] = {
        "at": number * 1_000,
        "id": f"cmp_{number}",
        "key": "k1",
        "tenant": "acme",
        "content_id": CONTENT,
        "kind": "illegal",
        "due": (number + 100) * 1_000,
        "text": "不对",
    }
    return Complaint(**{**fields, **changes})


async def enter(engine: AsyncEngine, *records: Appeal | Complaint) -> None:
    """Let the sink take records."""
    async with engine.begin() as connection:
        await CaseSink().take(connection, [Heard("n-w0", i, record) for i, record in enumerate(records, 1)])
