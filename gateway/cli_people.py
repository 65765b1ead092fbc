"""`gateway people …`: people from the shell, on the machine that holds the data.

The same database, state server and log as the REST API, by the same rules; a writer of its own in the log.
"""

import argparse
import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from redis.exceptions import RedisError

from gateway.admin.audit_fields import PastQuery
from gateway.audit.writer import closed, open_writer
from gateway.cli_shell import EVERY, NOT_TOLD, by_rules, carried_out, check_data, who
from gateway.keys import DEFAULT_TENANT
from gateway.people.alias_files import take_in
from gateway.people.aliases import Row, UnknownAlias
from gateway.people.errors import MeasureRefused, StandingsAway, UnknownPerson
from gateway.people.fields import Because, Named, NewAlias, Placement, Search, Suspension
from gateway.people.ledger import Ledger
from gateway.people.measures import Done
from gateway.people.roster import Condition
from gateway.people.services import PeopleServices
from gateway.settings import Settings, load
from gateway.state import board, sql
from gateway.state.redis import connect
from gateway.terminal import moment, plain

READING = {"show": "show a person", "events": "list what happened to a person: suspensions, lifts, bans, aliases"}
PLACED = {"suspend": "suspend a person", "ban": "ban a person", "exempt": "never strike a person"}
ENDED = {"lift": "end a suspension", "unban": "end a ban", "unexempt": "end an exemption"}
REFUSALS = (UnknownPerson, UnknownAlias, MeasureRefused, StandingsAway)


def add_parser(commands: Any) -> None:
    """Add the command and its actions to the command line."""
    parser = commands.add_parser("people", help="find people; suspend, lift, ban and exempt them; their aliases")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    search = actions.add_parser("search", help="list people by a part of their name, their tenant or their state")
    search.add_argument("q", nargs="?", help="part of the name")
    search.add_argument("--tenant")
    search.add_argument("--state", choices=get_args(Condition))
    search.add_argument("--limit", type=int, default=100)
    search.add_argument("--after", default="", metavar="ID", help="the last id of the page before")
    for name, text in {**READING, **PLACED, **ENDED}.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("id", nargs="?", help="the person's id, as `gateway people search` shows it, or …")
        action.add_argument("--user", help="… the name that clients use")
        action.add_argument("--tenant", default=DEFAULT_TENANT, help=f"whose clients ({DEFAULT_TENANT})")
        if name not in READING:
            action.add_argument("--reason", required=True, help="why, for those who read the log")
        if name in PLACED:
            action.add_argument("--hours", type=float)
            action.add_argument("--until", type=int, metavar="UNIX_TIME")
        if name == "suspend":
            action.add_argument("--until-lifted", action="store_true", help="without an end")
    actions.choices["events"].add_argument("--limit", type=int, default=100)
    actions.choices["events"].add_argument("--after", metavar="PLACE", help="the `next` of the page before")
    _add_aliases(actions)
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def _add_aliases(actions: Any) -> None:
    alias = actions.add_parser("alias", help="say that a user goes by another name, too")
    alias.add_argument("alias", help="the other name")
    alias.add_argument("user", help="the name of the person")
    alias.add_argument("--tenant", default=DEFAULT_TENANT, help=f"whose clients ({DEFAULT_TENANT})")
    unalias = actions.add_parser("unalias", help="take an alias away")
    unalias.add_argument("id", help="its id, as `gateway people aliases` shows it")
    taken = actions.add_parser("import-aliases", help="enter the aliases of a CSV file: tenant, alias, user")
    taken.add_argument("file", type=Path)
    for action in (alias, unalias, taken):
        action.add_argument("--reason", required=True, help="why, for those who read the log")
    actions.add_parser("aliases", help="list all aliases")


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; return the exit status."""
    status, found = carried_out(lambda: _run(load(), arguments), (*REFUSALS, OSError), _said)
    if status:
        return status
    print(json.dumps(found, ensure_ascii=False) if arguments.json else told(arguments.action, found))
    return 1 if arguments.action == "import-aliases" and found["refused"] else 0


def _said(error: Exception) -> Iterator[str]:
    yield f"{error.field}: {error}" if isinstance(error, MeasureRefused) else str(error)


async def _run(settings: Settings, arguments: argparse.Namespace) -> Any:
    check_data(settings)
    async with opened(settings) as services:
        return await ACTIONS.get(arguments.action, _measured)(services, arguments)


@contextlib.asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[PeopleServices]:
    """Open the database, the state server and a writer of the log for the block."""
    redis = connect(settings)
    published = board.Board(redis)
    writer = open_writer(settings.data_dir / "audit", "cli", power=settings.audit.durability == "power")

    async def publish() -> None:
        try:
            async with asyncio.timeout(board.PUBLISH_SECONDS):
                await published.publish(board.PEOPLE, await services.register.document())
        except (RedisError, OSError):  # TimeoutError is an OSError
            print(NOT_TOLD, file=sys.stderr)

    try:
        async with sql.opened(settings) as engine:
            ledger = Ledger(redis, settings.strikes.rule())
            services = PeopleServices.over(engine, ledger, writer, publish, counted=settings.strikes.enabled)
            yield services
    finally:
        await closed(writer)
        await redis.aclose()


async def _search(services: PeopleServices, arguments: argparse.Namespace) -> Any:
    search = by_rules(Search, arguments)
    return await services.roster.page(search.wanted(), search.limit, search.after)


async def _show(services: PeopleServices, arguments: argparse.Namespace) -> Any:
    return await services.roster.show(await services.measures.main(await _person(services, arguments)))


async def _events(services: PeopleServices, arguments: argparse.Namespace) -> Any:
    query = by_rules(PastQuery, arguments)
    person = await services.measures.main(await _person(services, arguments))
    found, after = await services.roster.past.page(person, query.limit, query.after)
    return {"person": person, "data": found, "next": None if after is None else str(after)}


async def _measured(services: PeopleServices, arguments: argparse.Namespace) -> Any:
    """Do what changes a standing, a ban or an exemption; return the person as they stand then."""
    shape = Suspension if arguments.action == "suspend" else Placement if arguments.action in PLACED else Because
    asked = by_rules(shape, arguments)
    given: tuple[Any, ...] = (asked.reason,)
    if isinstance(asked, Placement):
        given = (asked.end_ms() if isinstance(asked, Suspension) else asked.end(), asked.reason)
    person = await _person(services, arguments)
    done: Done = await getattr(services.measures, arguments.action)(person, *given, who())
    return {"measure": done.id, "applied": done.applied, "person": await services.roster.show(done.person, done)}


async def _alias(services: PeopleServices, arguments: argparse.Namespace) -> Any:
    asked = by_rules(NewAlias, arguments)
    row = Row(asked.tenant, asked.alias, asked.user)
    return (await services.aliases.add(row, asked.reason, who()))[0]


async def _unalias(services: PeopleServices, arguments: argparse.Namespace) -> Any:
    return await services.aliases.remove(arguments.id, by_rules(Because, arguments).reason, who())


async def _aliases(services: PeopleServices, arguments: argparse.Namespace) -> Any:
    del arguments
    return await services.aliases.page(EVERY)


async def _import(services: PeopleServices, arguments: argparse.Namespace) -> Any:
    reason = by_rules(Because, arguments).reason
    data = await asyncio.to_thread(arguments.file.read_bytes)
    return await take_in(services.aliases, data, reason, who())


async def _person(services: PeopleServices, arguments: argparse.Namespace) -> str:
    """Return the id that the command line names; of a name that nobody has gone by, where that may be placed.

    Raises ValidationError, `MeasureRefused` and `UnknownName`.
    """
    if (arguments.id is None) == (arguments.user is None):
        raise MeasureRefused("id", "say an id, or a name with --user", conflict=False)
    if arguments.id is not None:
        return str(arguments.id)
    named = by_rules(Named, arguments)
    known = services.measures.look_up if arguments.action in PLACED else services.measures.find
    return await known(named.tenant, named.user)


ACTIONS: dict[str, Callable[[PeopleServices, argparse.Namespace], Awaitable[Any]]] = {
    "search": _search,
    "show": _show,
    "events": _events,
    "alias": _alias,
    "unalias": _unalias,
    "aliases": _aliases,
    "import-aliases": _import,
}
"""What reads, and what is done about aliases; the others are measures."""


def told(action: str, found: Any) -> str:
    """Return what came of an action as a person reads it."""
    if action in LISTED:
        one_line, nothing = LISTED[action]
        return "\n".join(map(one_line, found)) or nothing
    if action == "events":
        more = [f"more: --after {found['next']}"] if found["next"] is not None else []
        return "\n".join([*map(_event_line, found["data"]), *more]) or "nothing"
    if action in {"alias", "unalias"}:
        return _alias_line(found)
    if action == "import-aliases":
        counts = f"{found['added']} added, {found['unchanged']} were there, {found['refused']} refused"
        return "\n".join([counts, *(f"line {one['line']}: {one['field']}: {one['reason']}" for one in found["errors"])])
    if action == "show":
        return _page(found)
    later = "" if found["applied"] else "\nIt is on record, and is applied as soon as the state server answers."
    return f"{_page(found['person'])}{later}"


def line(one: Mapping[str, Any]) -> str:
    """Return a person in one line."""
    words = [one["id"], f"{one['tenant']}/{plain(one['user'])}" if one["user"] else "(no name)"]
    if one["alias_of"] is not None:
        words.append(f"alias of {one['alias_of']}")
    if one["standing"] is None:
        words.append("standing unknown now")
    elif one["standing"]["suspended"]:
        words.append(f"suspended {_end(one['standing']['suspended_until'])} ({one['standing']['why']})")
    elif one["standing"]["row"]:
        words.append(f"{one['standing']['row']} in a row")
    for name, held in (("banned", one["ban"]), ("exempt", one["exemption"])):
        if held is not None:
            words.append(f"{name} {_end(held['until'])}: {plain(held['reason'])} ({held['made_by']})")
    return "  ".join(words)


def _page(one: Mapping[str, Any]) -> str:
    lines = [line(one)]
    lines += [f"  also {alias['tenant']}/{plain(alias['user'])}  {alias['id']}" for alias in one["aliases"]]
    standing = one["standing"]
    if standing is not None:
        lines.append(f"  in a row {standing['row']}, today {standing['today']}, suspensions {standing['level']}")
    lines += [f"  {_event_line(event)}" for event in one["events"]]
    return "\n".join(lines)


def _event_line(one: Mapping[str, Any]) -> str:
    """Return what happened to a person in one line."""
    ends = one["kind"] in PLACED
    words = [moment(one["at"]), one["kind"], _end(one["until"]) if ends else "", one["why"] or ""]
    words += ["" if one["level"] is None else f"level {one['level']}", "" if one["applied"] else "(not applied yet)"]
    words += [f"turn {one['content_id']}" if one["content_id"] else "", one["alias"] or ""]
    words += [f"by {plain(one['by'])}: {plain(one['reason'])}" if one["by"] else ""]
    return "  ".join(filter(None, words))


def _alias_line(one: Mapping[str, Any]) -> str:
    names = f"{one['tenant']}/{plain(one['alias_name'])} is {plain(one['person_name'])}"
    return f"{one['alias']}  {names}  {one['person']}"


LISTED: dict[str, tuple[Callable[[Mapping[str, Any]], str], str]] = {
    "search": (line, "nobody"),
    "aliases": (_alias_line, "no aliases"),
}
"""What comes as a list: the words of each, and of none."""


def _end(until: int | None) -> str:
    return "without an end" if until is None else f"until {moment(until)}"
