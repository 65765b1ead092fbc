"""`gateway strikes …`: standings from the shell, on the machine that holds the data."""

import argparse
import asyncio
import json
import sys
from typing import Any

from redis.exceptions import RedisError

from gateway.audit.heads import writers
from gateway.audit.segments import segments
from gateway.audit.writer import closed, open_writer
from gateway.people.elsewhere import others_of
from gateway.people.journal import Journal
from gateway.people.ledger import Incomplete, Ledger
from gateway.people.rebuild import Rebuilder
from gateway.settings import Settings, SettingsInvalid, load
from gateway.state import sql
from gateway.state.redis import connect

SHELL = "-cli"
"""In the name of a writer that only says what was done from the shell."""
LEFT = (
    "people are speaking all the time, or were counted by a gateway whose log is not in the database yet; run it again "
    "to rebuild theirs"
)
UNKNOWN = (
    "have violations in a row or are suspended, and the log says nothing of them; they stay as they are. A part of it "
    "is missing (`gateway audit verify`), or was dropped with its age"
)


def add_parser(commands: Any) -> None:
    """Add the command and its actions to the command line."""
    parser = commands.add_parser("strikes", help="people's standings")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    rebuild = actions.add_parser("rebuild", help="make every standing what the audit log gives")
    rebuild.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def check_log(settings: Settings) -> None:
    """Refuse to make standings of nothing. Raises `SettingsInvalid` where no gateway has a log."""
    root = settings.data_dir / "audit"
    if not any(segments(directory) for directory in writers(root) if SHELL not in directory.name):
        raise SettingsInvalid(
            f"data_dir: there is no audit log of a gateway in {root.absolute()}, and standings come from nothing else. "
            "Nothing was changed. If it was moved or removed, put it back; if the gateway runs, run this in the same "
            "folder, or with the same GATEWAY_DATA_DIR or GATEWAY_CONFIG"
        )


def run(arguments: argparse.Namespace) -> int:
    """Run one action; return its exit status."""
    try:
        people, left, unknown = asyncio.run(_rebuild(load()))
    except (RedisError, OSError, Incomplete) as error:
        print(f"gateway: redis_url: the state server does not answer (does the gateway run?): {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({"people": people, "left": left, "unknown": unknown}))
    else:
        print(f"The standings of {people} people were rebuilt.")
    if left:
        print(f"gateway: {left} {LEFT}", file=sys.stderr)
    if unknown:
        print(f"gateway: {unknown} people {UNKNOWN}", file=sys.stderr)
    return 1 if unknown and not people else 0


async def _rebuild(settings: Settings) -> tuple[int, int, int]:
    """Return for how many people it was done, how many were left alone, and of how many the log knows nothing."""
    redis, root = connect(settings), settings.data_dir / "audit"
    ledger = Ledger(redis, settings.strikes.rule())
    writer = open_writer(root, "cli", power=settings.audit.durability == "power")
    try:
        if settings.database_url is None:
            return await _compared(Rebuilder(ledger, root, journal=Journal(writer)))
        async with sql.opened(settings) as engine:
            return await _compared(Rebuilder(ledger, root, others_of(engine, root), Journal(writer)))
    finally:
        await closed(writer)
        await redis.aclose()


async def _compared(rebuilder: Rebuilder) -> tuple[int, int, int]:
    return (*await rebuilder.compare(), await rebuilder.unknown())
