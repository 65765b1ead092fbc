"""Who hears of every record: the door between the follower of the log and the tables made from it."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.audit.entries import AnyRecord


class Heard(NamedTuple):
    """One record of the log: where it stands, and what it says."""

    writer: str
    """Name of the writer's directory."""
    seq: int
    record: AnyRecord


class Sink(Protocol):
    """Makes rows of records.

    Called in the order of each writer, inside the transaction that also moves the cursor: what is put into the
    database through *connection* is there exactly once, whatever is killed when.
    """

    async def take(self, connection: AsyncConnection, heard: Sequence[Heard]) -> None:
        """Take the next records of a writer."""
