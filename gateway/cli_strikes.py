"""`gateway strikes …`: standings from the shell, on the machine that holds the data."""

import argparse
import asyncio
import json
import sys
from typing import Any

from redis.exceptions import RedisError

from gateway.people.elsewhere import others_of
from gateway.people.ledger import Incomplete, Ledger
from gateway.people.rebuild import Rebuilder
from gateway.settings import Settings, load
from gateway.state import sql
from gateway.state.redis import connect


def add_parser(commands: Any) -> None:
    """Add the command and its actions to the command line."""
    parser = commands.add_parser("strikes", help="people's standings")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    rebuild = actions.add_parser("rebuild", help="make every standing what the audit log gives")
    rebuild.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run one action; return its exit status."""
    try:
        people, left = asyncio.run(_rebuild(load()))
    except (RedisError, OSError, Incomplete) as error:
        print(f"gateway: redis_url: the state server does not answer (does the gateway run?): {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps({"people": people, "left": left}))
    else:
        print(f"The standings of {people} people were rebuilt.")
    if left:
        print(f"gateway: {left} people are speaking all the time; run it again to rebuild theirs", file=sys.stderr)
    return 0


async def _rebuild(settings: Settings) -> tuple[int, int]:
    redis, root = connect(settings), settings.data_dir / "audit"
    ledger = Ledger(redis, settings.strikes.rule())
    try:
        if settings.database_url is None:
            return await Rebuilder(ledger, root).compare()
        async with sql.opened(settings) as engine:
            return await Rebuilder(ledger, root, others_of(engine, root)).compare()
    finally:
        await redis.aclose()
