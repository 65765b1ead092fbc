"""`gateway admins …`: who may use the admin API, from the shell, on the machine that holds the data."""

import argparse
import json
from typing import Any

from pydantic import BaseModel

from gateway.admin.roles import Role
from gateway.admin_fields import AdminChanges, NewAdmin
from gateway.admin_store import AdminKeys, AdminNameTaken, LastAdmin, UnknownAdmin
from gateway.cli_shell import EVERY, carried_out, check_data, listing, who
from gateway.keys import now
from gateway.settings import Settings, load
from gateway.state import sql
from gateway.terminal import moment

WHICH = "the admin's id or name, as `gateway admins list` shows them"
SIMPLE = {
    "show": "show an admin",
    "rotate": "give an admin a new secret, which is printed once; the old one ends at once",
    "disable": "let an admin in no more",
    "enable": "let a disabled admin in again",
}


def add_parser(commands: Any) -> None:
    """Add the command and its actions to the command line."""
    parser = commands.add_parser("admins", help="make, list, change, rotate and disable admins")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make an admin; the secret is printed once")
    create.add_argument("name", help="a name that no other admin has")
    change = actions.add_parser("change", help="change an admin; what is not named stays")
    change.add_argument("id", help=WHICH)
    change.add_argument("--name", default=argparse.SUPPRESS, help="another name")
    roles = [role.value for role in Role]
    create.add_argument("--role", choices=roles, required=True, help="what the admin may do")
    change.add_argument("--role", choices=roles, default=argparse.SUPPRESS, help="what the admin may do")
    for command in (create, change):
        expiry = command.add_mutually_exclusive_group()
        expiry.add_argument(
            "--expires-at", type=int, default=argparse.SUPPRESS, metavar="UNIX_TIME", help="let in no more from then on"
        )
        expiry.add_argument(
            "--no-expiry", action="store_const", const=None, dest="expires_at", default=argparse.SUPPRESS
        )
    actions.add_parser("list", help="list all admins")
    for name, text in SIMPLE.items():
        actions.add_parser(name, help=text).add_argument("id", help=WHICH)
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; return the exit status."""
    status, found = carried_out(lambda: _run(load(), arguments), (UnknownAdmin, AdminNameTaken, LastAdmin))
    if status == 0:
        told = listing(found, lambda record: line(record, now()), "no admins")
        print(json.dumps(found, ensure_ascii=False) if arguments.json else told)
    return status


def _asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields that the command line names, by the rules of the REST API. Raises ValidationError."""
    shapes: dict[str, type[BaseModel]] = {"create": NewAdmin, "change": AdminChanges}
    shape = shapes.get(arguments.action)
    if shape is None:
        return {}
    given = {name: value for name, value in vars(arguments).items() if name in shape.model_fields}
    return shape.model_validate(given).model_dump(exclude_unset=True)


async def _run(settings: Settings, arguments: argparse.Namespace) -> Any:
    asked = _asked(arguments)
    check_data(settings)
    async with sql.opened(settings) as engine:
        return await _act(AdminKeys(engine), arguments, asked)


async def _act(admins: AdminKeys, arguments: argparse.Namespace, asked: dict[str, Any]) -> Any:
    if arguments.action == "create":
        record, secret = await admins.create(asked, who())
        return {**record, "secret": secret}
    if arguments.action == "list":
        return await admins.list(EVERY)
    admin_id = await admins.id_of(arguments.id)
    if arguments.action == "rotate":
        record, secret = await admins.rotate(admin_id)
        return {**record, "secret": secret}
    if arguments.action == "change":
        return await admins.change(admin_id, asked)
    simple = {"show": admins.get, "disable": admins.disable, "enable": admins.enable}
    return await simple[arguments.action](admin_id)


def line(record: dict[str, Any], at: int) -> str:
    """Return one admin as a person reads it, *at* a Unix time."""
    expires = record["expires_at"]
    state = "enabled" if expires is None or expires > at else "expired"
    words = [
        record["id"],
        record["name"],
        record["role"],
        record["prefix"],
        state if record["disabled_at"] is None else "disabled",
    ]
    if expires is not None:
        words.append(f"{'expires' if expires > at else 'expired'} {moment(expires)}")
    if record["last_used"] is not None:
        words.append(f"last came {moment(record['last_used'])}")
    text = "  ".join(words)
    return f"{text}\n  secret: {record['secret']}" if "secret" in record else text
