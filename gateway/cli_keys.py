"""`gateway keys …`: client keys from the shell, on the machine that holds the data."""

import argparse
import asyncio
import json
import sys
from typing import Any, get_args

from pydantic import BaseModel
from redis.exceptions import RedisError

from gateway.cli_shell import EVERY, NOT_TOLD, carried_out, check_data, listing
from gateway.key_fields import ContentLabel, EmbeddingsGuard, KeyChanges, NewKey, Priority, Rotation
from gateway.key_store import AgreementMissing, KeyStore, NameTaken, UnknownKey
from gateway.keys import now
from gateway.settings import Settings, load
from gateway.state import board, sql
from gateway.state.redis import connect
from gateway.terminal import moment

FLAGS = {
    "trusts_user_header": "believe its X-User-Id header",
    "exempt": "never strike its people",
    "allows_remote_images": "let its messages carry URLs that an engine fetches",
}
LIMITS = {
    "requests_per_minute": "requests it may send a minute",
    "tokens_per_minute": "tokens it may use a minute",
    "parallel_streams": "streams it may have at once",
    "person_requests_per_minute": "requests each of its people may send a minute",
    "person_tokens_per_minute": "tokens each of its people may use a minute",
    "person_parallel_streams": "streams each of its people may have at once",
}
WHICH = "its id or its name (TENANT/NAME where tenants share it), as `gateway keys list` shows them"
SIMPLE = {"show": "show a key", "disable": "refuse a key from now on", "enable": "accept a disabled key again"}


def add_parser(commands: Any) -> None:
    """Add the command and its actions to the command line."""
    parser = commands.add_parser("keys", help="make, list, change, rotate and disable client keys")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    create = actions.add_parser("create", help="make a key; its secret is printed once")
    create.add_argument("name", help="its name, unique within its tenant")
    change = actions.add_parser("change", help="change a key; what is not named stays")
    change.add_argument("id", help=WHICH)
    change.add_argument("--name", default=argparse.SUPPRESS, help="another name")
    for command in (create, change):
        _add_fields(command)
    actions.add_parser("list", help="list all keys")
    rotate = actions.add_parser("rotate", help="give a key a new secret, which is printed once")
    rotate.add_argument("id", help=WHICH)
    rotate.add_argument(
        "--grace-seconds", type=int, default=0, metavar="SECONDS", help="how long the old secret works on (0)"
    )
    for name, text in SIMPLE.items():
        actions.add_parser(name, help=text).add_argument("id", help=WHICH)
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def _add_fields(command: argparse.ArgumentParser) -> None:
    """Add the fields of a key; one that is not named on the command line is not in the arguments at all."""
    absent = argparse.SUPPRESS
    command.add_argument("--tenant", default=absent, help="whose key it is; people are told apart by it")
    models = command.add_mutually_exclusive_group()
    models.add_argument(
        "--model", action="append", dest="models", default=absent, help="a model it may use (again for more)"
    )
    models.add_argument(
        "--all-models", action="store_const", const=[], dest="models", default=absent, help="it may use every model"
    )
    expiry = command.add_mutually_exclusive_group()
    expiry.add_argument("--expires-at", type=int, default=absent, metavar="UNIX_TIME", help="refuse it from then on")
    expiry.add_argument(
        "--no-expiry", action="store_const", const=None, dest="expires_at", default=absent, help="it does not expire"
    )
    for name, text in FLAGS.items():
        command.add_argument(_flag(name), action=argparse.BooleanOptionalAction, default=absent, help=text)
    command.add_argument(
        "--content-label", choices=get_args(ContentLabel), default=absent, help="how generated text is labelled"
    )
    command.add_argument("--label-agreement", default=absent, metavar="ID", help="the agreement to do without labels")
    command.add_argument(
        "--embeddings-guard",
        choices=get_args(EmbeddingsGuard),
        default=absent,
        help="whether a blocked word in embeddings and rerank inputs refuses them or is counted",
    )
    command.add_argument(
        "--priority", choices=get_args(Priority), default=absent, help="who goes first where requests wait"
    )
    for name, text in LIMITS.items():
        command.add_argument(
            _flag(name), type=_bound, default=absent, metavar="N", help=f"{text}; none: as the settings say"
        )


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _bound(text: str) -> int | None:
    if text == "none":
        return None
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a whole number or none, not {text!r}") from None


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; return the exit status."""
    status, found = carried_out(lambda: _run(load(), arguments), (UnknownKey, NameTaken, AgreementMissing))
    if status == 0:
        told = listing(found, lambda record: line(record, now()), "no keys")
        print(json.dumps(found, ensure_ascii=False) if arguments.json else told)
    return status


async def _run(settings: Settings, arguments: argparse.Namespace) -> Any:
    if arguments.action != "create":
        check_data(settings)
    redis = connect(settings)
    published = board.Board(redis)

    async def publish() -> None:
        try:
            async with asyncio.timeout(board.PUBLISH_SECONDS):
                await published.publish(board.KEYS, await store.document())
        except (RedisError, OSError):  # TimeoutError is an OSError
            print(NOT_TOLD, file=sys.stderr)

    asked = _asked(arguments)
    try:
        async with sql.opened(settings) as engine:
            store = KeyStore(engine, publish)
            return await _act(store, arguments, asked)
    finally:
        await redis.aclose()


def _asked(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields that the command line names, by the rules of the REST API. Raises ValidationError."""
    shapes: dict[str, type[BaseModel]] = {"create": NewKey, "change": KeyChanges, "rotate": Rotation}
    shape = shapes.get(arguments.action)
    if shape is None:
        return {}
    given = vars(arguments)
    fields = {name: given[name] for name in shape.model_fields if name in given}
    limits = {name: given[name] for name in LIMITS if name in given}
    if limits:
        fields["limits"] = limits
    return shape.model_validate(fields).model_dump(exclude_unset=True)


async def _act(store: KeyStore, arguments: argparse.Namespace, asked: dict[str, Any]) -> Any:
    if arguments.action == "create":
        record, secret = await store.create({**asked, "limits": _set(asked.get("limits", {}))})
        return {**record, "secret": secret}
    if arguments.action == "list":
        return await store.list(EVERY)
    key_id = await store.id_of(arguments.id)
    if arguments.action == "rotate":
        record, secret = await store.rotate(key_id, asked["grace_seconds"])
        return {**record, "secret": secret}
    if arguments.action == "change":
        if "limits" in asked:  # those that are not named stay
            asked["limits"] = _set({**(await store.get(key_id))["limits"], **asked["limits"]})
        return await store.change(key_id, asked)
    simple = {"show": store.get, "disable": store.disable, "enable": store.enable}
    return await simple[arguments.action](key_id)


def _set(limits: dict[str, int | None]) -> dict[str, int]:
    return {name: bound for name, bound in limits.items() if bound is not None}


def line(record: dict[str, Any], at: int) -> str:
    """Return one key as a person reads it, *at* a Unix time."""
    expires, old = record["expires_at"], record["old_until"]
    state = "enabled" if expires is None or expires > at else "expired"
    words = [
        record["id"],
        f"{record['tenant']}/{record['name']}",
        record["prefix"],
        state if record["disabled_at"] is None else "disabled",
        ", ".join(record["models"]) or "all models",
    ]
    if expires is not None:
        words.append(f"{'expires' if expires > at else 'expired'} {moment(expires)}")
    if old is not None and old > at and record["disabled_at"] is None:
        words.append(f"its old secret works until {moment(old)}")
    text = "  ".join(words)
    return f"{text}\n  secret: {record['secret']}" if "secret" in record else text
