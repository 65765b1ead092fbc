"""`gateway audit search | turn | events | export`: the index of the audit log from the shell, by REST's rules."""

import argparse
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args, get_origin

from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway import terminal
from gateway.admin.audit_fields import EventQuery, ExportQuery, IdsOf, PageQuery
from gateway.admin.audit_services import EXPORT, READ_TEXTS
from gateway.admin.recorder import By
from gateway.audit import documents
from gateway.audit.export import lines
from gateway.audit.search import Search, SearchTooLong, UnknownName, content_id_of
from gateway.cli_record import put
from gateway.cli_shell import carried_out, check_data, who
from gateway.people import register
from gateway.settings import Settings, load
from gateway.state import sql
from gateway.terminal import moment, plain

QUERIES: dict[str, type[BaseModel]] = {"search": PageQuery, "events": EventQuery, "export": ExportQuery}
ASKED = "asked_"
"""Before the name of an argument that is a field of a query: some are called as what argparse has already."""
Shape = TypeVar("Shape", bound=BaseModel)


class Archive(NamedTuple):
    """What an action works on."""

    settings: Settings
    search: Search
    ids_of: IdsOf


class NotFound(Exception):
    """No turn has the content id."""


def add_actions(actions: Any) -> None:
    """Add the actions to those of `gateway audit`."""
    search = actions.add_parser("search", help="search the turns, the newest first; reading texts goes on record")
    events = actions.add_parser("events", help="list what admins did, and what was done about people")
    export = actions.add_parser("export", help="write the turns that fit as a file; this goes on record")
    for action, shape in zip((search, events, export), QUERIES.values(), strict=True):
        _add_query(action, shape)
    export.add_argument("--output", type=Path, help="none: the standard output")
    turn = actions.add_parser("turn", help="show one turn of the index; its texts go on record")
    turn.add_argument("id", help="the content id, as in the header X-Content-Id")
    turn.add_argument("--texts", action="store_true", help="show the texts that are kept; this goes on record")


def _add_query(action: argparse.ArgumentParser, shape: type[BaseModel]) -> None:
    """Add a flag for each field of a query."""
    for name, field in shape.model_fields.items():
        flag, text = f"--{(field.alias or name).replace('_', '-')}", (field.description or "").replace("%", "%%")
        if field.annotation is bool:
            action.add_argument(flag, dest=ASKED + name, action="store_true", help=text)
        else:
            shown = "|".join(_words(field.annotation)) or (field.alias or name).upper()
            action.add_argument(flag, dest=ASKED + name, metavar=shown, help=text)


def _words(annotation: Any) -> list[str]:
    """Return the words that a field takes, where those are all it takes."""
    kinds = [one for one in (annotation, *get_args(annotation)) if get_origin(one) is Literal]
    return [str(word) for kind in kinds for word in get_args(kind)]


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; return the exit status."""
    refusals = (UnknownName, SearchTooLong, NotFound, OSError)  # TimeoutError is an OSError
    status, found = carried_out(lambda: _run(load(), arguments), refusals, _said)
    if found is not None:
        print(json.dumps(found, ensure_ascii=False) if arguments.json else told(arguments.action, found))
    return status


def _said(error: Exception) -> Iterable[str]:
    match error:
        case UnknownName():
            yield "key: it is neither the id nor the name of a key"
        case SearchTooLong() | TimeoutError():
            yield "the index did not answer in time: ask for a shorter time, or for more that narrows it down"
        case _:
            yield from str(error).splitlines()


async def _run(settings: Settings, arguments: argparse.Namespace) -> Any:
    check_data(settings)
    async with sql.opened(settings) as engine:
        return await ACTIONS[arguments.action](Archive(settings, Search(engine), _ids_of(engine)), arguments)


def _ids_of(engine: AsyncEngine) -> IdsOf:
    async def ids_of(person: str) -> Sequence[str]:
        async with engine.connect() as connection:
            return await register.ids_of(connection, person)

    return ids_of


def _asked(shape: type[Shape], arguments: argparse.Namespace) -> Shape:
    """Return what the command line asks for, by the rules of the REST API. Raises ValidationError."""
    given = vars(arguments)
    fields = {field.alias or name: given[ASKED + name] for name, field in shape.model_fields.items()}
    return shape.model_validate({name: value for name, value in fields.items() if value is not None})


def _record(archive: Archive, *actions: str, target: str = "", **details: Any) -> None:
    """Put on record what is about to be read. Raises `AuditUnavailable`: then it must not be."""
    put(archive.settings, *(By(who()).about_to(action, target, details) for action in actions))


async def _search(archive: Archive, arguments: argparse.Namespace) -> Any:
    query = _asked(PageQuery, arguments)
    wanted = await query.wanted(archive.search)
    if query.reads:
        _record(archive, READ_TEXTS, what="search", asked=query.asked())
    found = await archive.search.page(wanted, query.limit, query.after)
    producer = archive.settings.labels.producer
    turns = [documents.turn(row, texts=query.texts, producer=producer) for row in found.turns]
    return {"data": turns, "next": None if found.after is None else str(found.after)}


async def _turn(archive: Archive, arguments: argparse.Namespace) -> Any:
    name = content_id_of(arguments.id)
    if arguments.texts:
        _record(archive, READ_TEXTS, target=name, what="turn")
    row = await archive.search.turn(name)
    if row is None:
        text = f"id: no turn has the content id {plain(name)}; it is in the header X-Content-Id of an answer"
        raise NotFound(text)
    return documents.turn(row, texts=arguments.texts, producer=archive.settings.labels.producer)


async def _events(archive: Archive, arguments: argparse.Namespace) -> Any:
    query = _asked(EventQuery, arguments)
    rows = await archive.search.events(await query.wanted(archive.ids_of), query.limit + 1, query.after)
    found = list(map(documents.event, rows[: query.limit]))
    return {"data": found, "next": found[-1]["number"] if len(rows) > query.limit else None}


async def _export(archive: Archive, arguments: argparse.Namespace) -> Any:
    query = _asked(ExportQuery, arguments)
    output: Path | None = arguments.output
    wanted = await query.wanted(archive.search)
    _record(archive, *((READ_TEXTS, EXPORT) if query.reads else (EXPORT,)), what="export", asked=query.asked())
    parts = archive.search.every(wanted, query.limit)
    made = lines(parts, query.form, texts=query.texts, producer=archive.settings.labels.producer)
    size = await terminal.write(made, output)
    return None if output is None else {"file": str(output), "bytes": size}


ACTIONS: dict[str, Callable[[Archive, argparse.Namespace], Awaitable[Any]]] = {
    "search": _search,
    "turn": _turn,
    "events": _events,
    "export": _export,
}


def told(action: str, found: Mapping[str, Any]) -> str:
    """Return what was found as a person reads it."""
    if action == "export":
        return f"{found['bytes']} bytes in {found['file']}"
    if action == "turn":
        return turn(found)
    listed = [turn(one) if action == "search" else event(one) for one in found["data"]]
    more = [f"more: --after {found['next']}"] if found["next"] is not None else []
    return "\n".join([*listed, *more]) or "none"


def turn(one: Mapping[str, Any]) -> str:
    """Return a turn in a line, with a line more for each text."""
    verdict = one["verdict"]
    who = f"{one['tenant'] or ''}/{plain(one['user'] or '') or '(no name)'}"
    words = [moment(one["accepted_at"] / 1_000), one["id"], verdict["action"], verdict["risk"] or ""]
    words += [one["outcome"] or "unfinished", who, one["person"] or "", one["key"] or "", plain(one["model"] or "")]
    lines = ["  ".join(filter(None, words))]
    lines += [f"  {name}: {plain(one[name]['text'])}" for name in ("words", "answer") if (one[name] or {}).get("text")]
    return "\n".join(lines)


def event(one: Mapping[str, Any]) -> str:
    """Return what somebody did in a line: who, what, to whom, and how it ended, with what was said of it."""
    role = f"({one['role']})" if one["role"] else ""
    words = [moment(one["at"] / 1_000), str(one["number"]), one["kind"], plain(one["by"]), role, one["address"] or ""]
    words += [plain(one["action"]), plain(one["target"]), f"alias {one['alias']}" if one["alias"] else ""]
    words += [one["outcome"] or "", str(one["status"] or ""), plain(one["details"].get("reason") or "")]
    return "  ".join(filter(None, words))
