"""From the log to the queue of staff: rows of appeals and complaints."""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.audit.entries import Appeal, Complaint
from gateway.audit.sinks import Heard
from gateway.complaints.published import OPEN
from gateway.complaints.tables import appeals, complaints
from gateway.state.inserting import insert_new, storable


class CaseSink:
    """A `gateway.audit.sinks.Sink`; a record that comes again, as when the index is made anew, changes nothing."""

    async def take(self, connection: AsyncConnection, heard: Sequence[Heard]) -> None:
        """Enter the appeals and complaints among the next records of a writer."""
        records = [one.record for one in heard]
        await insert_new(connection, appeals, [_appeal(one) for one in records if isinstance(one, Appeal)])
        await insert_new(connection, complaints, [_complaint(one) for one in records if isinstance(one, Complaint)])


def _appeal(record: Appeal) -> dict[str, Any]:
    return {**_case(record), "claimed_until": 0}


def _complaint(record: Complaint) -> dict[str, Any]:
    return {**_case(record), "kind": record.kind, "contact": storable(record.contact)}


def _case(record: Appeal | Complaint) -> dict[str, Any]:
    return {
        "id": record.id,
        "tenant": record.tenant,
        "key": record.key,
        "person": record.person,
        "user": storable(record.user),
        "address": record.address,
        "text": storable(record.text),
        "content_id": storable(record.content_id),
        "found": msgspec.to_builtins(record.found),
        "received_at": record.at // 1_000,
        "due_at": record.due // 1_000,
        "status": OPEN,
        "published": False,
    }
