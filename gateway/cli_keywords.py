"""`gateway keywords …`: the keyword library from the shell, on the machine that holds the data.

Everything is done in the database. What is published there, a running gateway takes up within seconds.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from gateway.cli_keywords_lines import LINES
from gateway.cli_shell import EVERY, carried_out, check_data, who
from gateway.keyword_bulk import remove_source
from gateway.keyword_changes import Edit
from gateway.keyword_fields import Changes, EntryChanges, File, NewEntry, Note, Removal, Search, Why, faults_of
from gateway.keyword_files import Format, take_in, written
from gateway.keyword_services import KeywordServices
from gateway.keyword_store import EntryInvalid
from gateway.keyword_texts import read_texts
from gateway.keyword_trials import DRAFT, LIVE, REFUSALS, Version
from gateway.keyword_versions import UnknownVersion, differences, ensure_first
from gateway.settings import Settings, load
from gateway.state import sql
from gateway.terminal import Progress
from keywords import starter
from keywords.entry import Action, Boundary, Direction, Entry, Match
from keywords.risks import RISKS

SEARCHED = {
    "q": "part of the term",
    "risk": "A1a … A5b (`gateway keywords risks`)",
    "action": ", ".join(Action),
    "match": ", ".join(Match),
    "tag": "a whole tag",
    "source": "a whole source",
}
IMPORTED = ("risk", "source", "licence", "keep_actions", "update")
CHOICES = {"action": Action, "match": Match, "direction": Direction, "boundary": Boundary}
TIMES = ("reviewed_at", "expires_at")
FIELDS = ("severity", *CHOICES, "within", "mask", "exceptions", "tags", "source", "licence", "note", *TIMES)

Work = Callable[[KeywordServices, argparse.Namespace], Awaitable[Any]]


def add_parser(commands: Any) -> None:
    """Add the command and its actions to the command line."""
    parser = commands.add_parser("keywords", help="the keyword library: entries, versions, trials")
    actions = parser.add_subparsers(dest="what", required=True, metavar="ACTION")
    _add_draft(actions)
    _add_versions(actions)
    _add_trials(actions)
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def _add_draft(actions: Any) -> None:
    changes = actions.add_parser("changes", help="who changed what in the draft when, the newest first")
    changes.add_argument("entry", type=int, nargs="?", metavar="ID", help="an entry's id; none: all")
    changes.add_argument("--by", help="whose changes")
    changes.add_argument("--all", action="store_true", help="also each entry that a file or a calibration changed")
    changes.add_argument("--limit", type=int, default=50, help="how many, at most 1000 (50)")
    listing = actions.add_parser("list", help="list and search the draft")
    for name, text in SEARCHED.items():
        listing.add_argument(f"--{name}", help=text)
    add = actions.add_parser("add", help="enter a term")
    add.add_argument("term")
    add.add_argument("--risk", required=True, help="A1a … A5b")
    change = actions.add_parser("change", help="change an entry; what is not named stays")
    change.add_argument("id", type=int)
    change.add_argument("--term", default=argparse.SUPPRESS)
    change.add_argument("--risk", default=argparse.SUPPRESS)
    change.add_argument(
        "--force", default=argparse.SUPPRESS, metavar="WHY", help="let an imported entry act unmeasured"
    )
    for command in (add, change):
        _add_fields(command)
    remove = actions.add_parser("remove", help="take an entry, or all of a source, out of the draft")
    which = remove.add_mutually_exclusive_group(required=True)
    which.add_argument("id", type=int, nargs="?")
    which.add_argument("--source", metavar="NAME", help="all that are from there; only counted without --yes")
    remove.add_argument("--yes", action="store_true", help="remove all of the source; needs --why")
    remove.add_argument("--why", help="for the log")
    file = actions.add_parser("import", help="enter a word list (.txt, .csv, .xlsx, .jsonl); its entries only observe")
    file.add_argument("file", type=Path)
    file.add_argument("--risk", required=True, help="of rows that name none: A1a … A5b")
    file.add_argument("--source", default="", help="where it is from; none: the file's name")
    file.add_argument("--licence", default="")
    file.add_argument("--keep-actions", metavar="WHY", help="why the file's own actions count; else none does")
    file.add_argument("--update", action="store_true", help="entries that are there take what their row states")
    export = actions.add_parser("export", help="write the draft or a version as a file")
    export.add_argument("--format", choices=["csv", "jsonl"], default="csv")
    export.add_argument("--output", type=Path, help="none: the standard output")
    export.add_argument("--limit", type=_count, metavar="N", help="the first so many, by id; none: all")
    _add_version(export, DRAFT)


def _add_fields(command: argparse.ArgumentParser) -> None:
    for name in FIELDS:
        flag = {"exceptions": "exception", "tags": "tag"}.get(name, name).replace("_", "-")
        options: dict[str, Any] = {"default": argparse.SUPPRESS, "dest": name}
        if name in CHOICES:
            options["choices"] = [choice.value for choice in CHOICES[name]]
        elif name in {"severity", "within"}:
            options["type"] = int
        elif name in TIMES:
            options |= {"type": _moment, "metavar": "UNIX_TIME", "help": "seconds, or none"}
        elif name in {"exceptions", "tags"}:
            options |= {"action": "append", "help": "again for more"}
        command.add_argument(f"--{flag}", **options)


def _moment(text: str) -> int | None:
    if text == "none":
        return None
    if text.isascii() and text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"Unix time in seconds or none, not {text!r}")


def _add_version(command: argparse.ArgumentParser, default: Version) -> None:
    command.add_argument(
        "--version", type=_version, default=default, metavar="N", help=f"draft, live or a number ({default})"
    )


def _version(text: str) -> Version:
    if text in {DRAFT, LIVE}:
        return cast("Version", text)
    if text.isascii() and text.isdigit():
        return int(text)
    raise argparse.ArgumentTypeError(f"draft, live or a number, not {text!r}")


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text[:20]):
        return int(text[:20])
    raise argparse.ArgumentTypeError(f"a number of at least 1, not {text!r}")


def _add_versions(actions: Any) -> None:
    freeze = actions.add_parser("freeze", help="make a version of the draft")
    freeze.add_argument("note", help="what is new in it")
    actions.add_parser("versions", help="list the versions, and which one is live")
    actions.add_parser("releases", help="list what was published and rolled back, by whom and why")
    publish = actions.add_parser("publish", help="have a version live in all workers")
    publish.add_argument("n", type=int)
    publish.add_argument("--canary-minutes", type=int, default=0, metavar="M", help="count it only, for so long (0)")
    rollback = actions.add_parser("rollback", help="end a canary, or go back to the version before")
    for command in (publish, rollback):
        command.add_argument("--why", help="for the log; must be said")
    diff = actions.add_parser("diff", help="what the draft, or a version, has otherwise than another")
    diff.add_argument("--against", type=_version, default=LIVE, metavar="N", help="draft, live or a number (live)")
    _add_version(diff, DRAFT)


def _add_trials(actions: Any) -> None:
    test = actions.add_parser("test", help="what is found in one text")
    test.add_argument("text")
    impact = actions.add_parser("impact", help="what would be found in many texts")
    for command in (test, impact):
        command.add_argument("--direction", choices=["in", "out"], default="in")
    calibrate = actions.add_parser("calibrate", help="measure each entry on harmless texts and propose its action")
    calibrate.add_argument("--apply", action="store_true", help="take the proposals")
    calibrate.add_argument(
        "--include-decided", action="store_true", help="also where a person, or the starter words, chose the action"
    )
    calibrate.add_argument("--force", metavar="WHY", help="few texts count, too")
    calibrate.add_argument("--inducing", type=Path, metavar="FILE", help="texts that ask for harm")
    calibrate.add_argument("--cross-validate", type=Path, metavar="INDUCING", help="only say how well it would do")
    calibrate.add_argument(
        "--mine",
        metavar="RISK",
        help="also judge, under this risk, phrases that inducing texts have and harmless ones lack",
    )
    for command in (impact, calibrate):
        command.add_argument("file", type=Path, nargs="?", help='one {"text": …} a line; none: `keywords.benign_file`')
    actions.add_parser("risks", help="list the risks by their codes").set_defaults(run=_risks)
    coverage = actions.add_parser("coverage", help="the report of clause 8.1")
    for command, default in ((test, LIVE), (impact, DRAFT), (coverage, LIVE)):
        _add_version(command, cast("Version", default))


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; return the exit status."""
    status, found = carried_out(lambda: _run(load(), arguments), REFUSALS, _said)
    if found is not None:
        print(json.dumps(found, ensure_ascii=False) if arguments.json else LINES[arguments.what](found))
    return status


def _said(error: Exception) -> Iterator[str]:
    return (f"{field}: {reason}" if field else reason for field, reason in faults_of(error))


def _risks(arguments: argparse.Namespace) -> int:
    """Print the risks, which need no database."""
    found = [risk._asdict() for risk in RISKS.values()]
    print(json.dumps(found, ensure_ascii=False) if arguments.json else LINES["risks"](found))
    return 0


async def _run(settings: Settings, arguments: argparse.Namespace) -> Any:
    check_data(settings)
    async with sql.opened(settings) as engine:
        services = KeywordServices.over(engine, settings.keywords)
        await ensure_first(services.store, services.versions, starter.entries if settings.keywords.starter else tuple)
        return await WORK[arguments.what](services, arguments)


def _sent(shape: type[NewEntry | EntryChanges], arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the fields that the command line names, by the rules of the REST API. Raises ValidationError."""
    given = {name: value for name, value in vars(arguments).items() if name in shape.model_fields}
    return shape.model_validate(given).values()


async def _changes(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    which = Changes(entry=arguments.entry, by=arguments.by, all=arguments.all, limit=arguments.limit)
    return await services.changed(which, which.limit)


async def _list(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    search = Search.model_validate({name: getattr(arguments, name) for name in SEARCHED})
    return await services.store.page(EVERY, 0, search.filter())


async def _add(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    entry = Entry(**{"id": 0, **_sent(NewEntry, arguments), "added_by": who()})
    record = await services.store.create(entry)
    return {**record, **await services.trials.first_look(entry)}


async def _change(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    sent = _sent(EntryChanges, arguments)
    force = sent.pop("force", None)
    return await services.store.change(arguments.id, sent, force, by=who())


async def _remove(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    if arguments.source is None:
        await services.store.delete(arguments.id, by=who())
        return {"id": arguments.id, "deleted": True}
    which = Removal(source=arguments.source, why=arguments.why, dry_run=not arguments.yes)
    found = await remove_source(services.store, which.source, Edit(who(), which.why or ""), dry=which.dry_run)
    return {**found, "why": which.why}


async def _import(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    file: Path = arguments.file
    given = File.model_validate({"name": file.name, **{name: getattr(arguments, name) for name in IMPORTED}})
    try:
        with await asyncio.to_thread(file.open, "rb") as data:
            return await take_in(services.store, data, **given.model_dump(), by=who())
    except OSError as error:
        raise EntryInvalid("file", f"{file}: {error.strerror}") from None
    except EntryInvalid as error:  # REST's names for it
        raise EntryInvalid("file" if error.field in {"body", "name"} else error.field, str(error)) from None


async def _export(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    entries = (await services.trials.entries(arguments.version))[: arguments.limit]
    output: Path | None = arguments.output
    form = cast("Format", arguments.format)
    if output is None:
        for part in written(entries, form):
            sys.stdout.buffer.write(part)
        sys.stdout.flush()
        return None
    try:
        await asyncio.to_thread(output.write_bytes, b"".join(written(entries, form)))
    except OSError as error:
        raise EntryInvalid("output", f"{output}: {error.strerror}") from None
    return {"entries": len(entries), "file": str(output)}


async def _freeze(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    Note(note=arguments.note)
    return await services.versions.freeze(await services.store.entries(), arguments.note, who())


async def _versions(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    del arguments
    found = await services.versions.standing()
    return {"data": await services.versions.page(EVERY), "live": found.live, "canary": found.canary}


async def _releases(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    del arguments
    return await services.versions.releases(EVERY)


async def _publish(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    Why(why=arguments.why)
    return await services.versions.publish(arguments.n, arguments.why, who(), arguments.canary_minutes)


async def _rollback(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    Why(why=arguments.why)
    return await services.versions.rollback(arguments.why, who())


async def _diff(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    new = await services.trials.entries(arguments.version)
    try:
        old = await services.trials.entries(arguments.against)
    except UnknownVersion as error:
        raise EntryInvalid("against", str(error)) from None
    return [difference.document() for difference in differences(old, new)]


async def _test(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    return await services.trials.test(arguments.text, Direction(arguments.direction), arguments.version)


async def _impact(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    texts = await _texts(arguments.file)
    return await services.trials.impact(arguments.version, texts, Direction(arguments.direction))


async def _coverage(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    report = await services.trials.coverage(arguments.version)
    return report.as_json() if arguments.json else report.as_markdown()


async def _calibrate(services: KeywordServices, arguments: argparse.Namespace) -> Any:
    texts = await _texts(arguments.file)
    inducing = await _texts(arguments.cross_validate or arguments.inducing)
    if arguments.mine is not None and inducing is None:
        raise EntryInvalid("mine", "there is nothing to mine: name inducing texts by --inducing or --cross-validate")
    harmless = await services.trials.texts(texts)
    services.trials.looked = Progress(len(harmless) + len(inducing or ())).step
    if arguments.cross_validate is not None:
        return await services.trials.cross_validate(harmless, inducing or (), mines=arguments.mine is not None)
    return await services.trials.calibrate(
        harmless,
        inducing,
        apply=arguments.apply,
        mine=arguments.mine,
        include_decided=arguments.include_decided,
        edit=Edit(who(), arguments.force or ""),
    )


async def _texts(file: Path | None) -> Sequence[str] | None:
    return await asyncio.to_thread(read_texts, file) if file is not None else None


WORK: dict[str, Work] = {
    "changes": _changes,
    "list": _list,
    "add": _add,
    "change": _change,
    "remove": _remove,
    "import": _import,
    "export": _export,
    "freeze": _freeze,
    "versions": _versions,
    "publish": _publish,
    "releases": _releases,
    "rollback": _rollback,
    "diff": _diff,
    "test": _test,
    "impact": _impact,
    "coverage": _coverage,
    "calibrate": _calibrate,
}
