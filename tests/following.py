"""A follower of the log in a few lines: reads what is there, and lets sinks make rows of it."""

from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit.entries import decode
from gateway.audit.heads import writers
from gateway.audit.segments import read
from gateway.audit.sinks import Heard, Sink


async def follow(engine: AsyncEngine, root: Path, *sinks: Sink) -> int:
    """Give every record under *root* to each sink, from the begin; return how many there were."""
    count = 0
    for directory in writers(root):
        heard = [Heard(directory.name, row.cursor.seq, decode(row.body)) for row in read(directory)]
        count += len(heard)
        async with engine.begin() as connection:
            for sink in sinks:
                await sink.take(connection, heard)
    return count
