"""`gateway strikes …`: standings from the shell, on the machine that holds the data."""

import argparse
import asyncio
import json
import sys
from typing import Any

from redis.exceptions import RedisError

from gateway.people.ledger import Ledger
from gateway.people.rebuild import Rebuilder
from gateway.settings import Settings, load
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
        people = asyncio.run(_rebuild(load()))
    except (RedisError, OSError) as error:
        print(f"gateway: redis_url: the state server does not answer (does the gateway run?): {error}", file=sys.stderr)
        return 1
    print(json.dumps({"people": people}) if arguments.json else f"The standings of {people} people were rebuilt.")
    return 0


async def _rebuild(settings: Settings) -> int:
    redis = connect(settings)
    try:
        rebuilder = Rebuilder(Ledger(redis, settings.strikes.rule()), settings.data_dir / "audit")
        await asyncio.to_thread(rebuilder.events.look)
        return await rebuilder.all()
    finally:
        await redis.aclose()
