"""`gateway keys …`: client keys from the shell, on the machine that holds the data."""

import argparse
import asyncio
import json
import sys
from typing import Any

from redis.exceptions import RedisError

from gateway.key_store import KeyStore, NameTaken, UnknownKey
from gateway.settings import Settings, load
from gateway.state import board, sql
from gateway.state.redis import connect

EVERY = 1_000_000
FLAGS = ("trusts_user_header", "exempt", "allows_remote_images")


def add_parser(commands: Any) -> None:
    """Add the command and its actions to the command line."""
    parser = commands.add_parser("keys", help="make, list, change, rotate and disable client keys")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key; its secret is printed once")
    create.add_argument("name")
    change = actions.add_parser("change", help="change a key")
    change.add_argument("id")
    change.add_argument("--name")
    for command in (create, change):
        command.add_argument("--tenant")
        command.add_argument("--model", action="append", dest="models", help="a model it may use (again for more)")
        command.add_argument("--expires-at", type=int, help="Unix time")
        for flag in FLAGS:
            command.add_argument(f"--{flag.replace('_', '-')}", action=argparse.BooleanOptionalAction, default=None)
    actions.add_parser("list", help="list all keys")
    rotate = actions.add_parser("rotate", help="give a key a new secret")
    rotate.add_argument("id")
    rotate.add_argument("--grace-seconds", type=int, default=0, help="how long the old secret works on")
    for name in ("show", "disable", "enable"):
        actions.add_parser(name, help=f"{name} a key").add_argument("id")
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; return the exit status."""
    try:
        found = asyncio.run(_run(load(), arguments))
    except (UnknownKey, NameTaken) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(found, ensure_ascii=False))
    else:
        print("\n".join(_line(record) for record in (found if isinstance(found, list) else [found])))
    return 0


async def _run(settings: Settings, arguments: argparse.Namespace) -> Any:
    redis = connect(settings)
    published = board.Board(redis)

    async def publish(document: dict[str, Any]) -> None:
        try:
            await published.publish(board.KEYS, document)
        except (RedisError, OSError):
            print("The gateway does not run; the change counts from its next start.", file=sys.stderr)

    try:
        async with sql.opened(settings) as engine:
            return await _act(KeyStore(engine, publish), arguments)
    finally:
        await redis.aclose()


async def _act(store: KeyStore, arguments: argparse.Namespace) -> Any:
    if arguments.action == "create":
        record, secret = await store.create({"name": arguments.name, **_fields(arguments)})
        return {**record, "secret": secret}
    if arguments.action == "rotate":
        record, secret = await store.rotate(arguments.id, arguments.grace_seconds)
        return {**record, "secret": secret}
    if arguments.action == "change":
        names = {"name": arguments.name} if arguments.name is not None else {}
        return await store.change(arguments.id, {**names, **_fields(arguments)})
    if arguments.action == "list":
        return await store.list(EVERY)
    simple = {"show": store.get, "disable": store.disable, "enable": store.enable}
    return await simple[arguments.action](arguments.id)


def _fields(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("tenant", "models", "expires_at", *FLAGS)
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def _line(record: dict[str, Any]) -> str:
    state = "disabled" if record["disabled_at"] is not None else "enabled"
    models = ", ".join(record["models"]) or "all models"
    line = f"{record['id']}  {record['tenant']}/{record['name']}  {record['prefix']}  {state}  {models}"
    return f"{line}\n  secret: {record['secret']}" if "secret" in record else line
