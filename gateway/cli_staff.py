"""`gateway appeals …` and `gateway complaints …`: what people write to staff, from the shell.

The same database, state server and log as the REST API, by the same rules.
"""

import argparse
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from gateway import terminal
from gateway.admin.recorder import By
from gateway.audit.entries import encode
from gateway.audit.log import Chain
from gateway.cli_people import REFUSALS, opened
from gateway.cli_shell import by_rules, carried_out, check_data, who
from gateway.complaints.decisions import Decisions
from gateway.complaints.export import Format, written
from gateway.complaints.fields import Answer, Decision, Reject, Uphold
from gateway.complaints.labels import finding
from gateway.complaints.published import OPEN, Case
from gateway.complaints.rules import Kind
from gateway.complaints.store import Cases, Decided, Filter, UnknownCase, shown
from gateway.keys import now
from gateway.problems import Problem
from gateway.settings import Settings, load
from gateway.terminal import moment, plain

STATES: dict[Case, tuple[str, ...]] = {"appeals": ("open", "upheld", "rejected"), "complaints": ("open", "answered")}
MOST = 1_000
SHORTENED = 200
"""Characters of a text that a list shows."""


@dataclass(frozen=True, slots=True)
class Staff:
    """What an action works on."""

    cases: Cases
    decisions: Decisions
    chain: Chain


def add_parser(commands: Any) -> None:
    """Add both commands and their actions to the command line."""
    appeals = commands.add_parser("appeals", help="appeals of people who were refused or suspended: list, decide")
    actions = _add_reading(appeals, "appeals")
    for name, text in (("uphold", "grant an appeal; standing and level are restored"), ("reject", "refuse an appeal")):
        decide = actions.add_parser(name, help=text)
        decide.add_argument("id")
        decide.add_argument("--reason", required=True, help="why; whoever appealed reads it")
    actions.choices["reject"].add_argument("--risk", help="what the words are: they become a harmful label")
    complaints = commands.add_parser("complaints", help="complaints about what was answered: list, answer, export")
    more = _add_reading(complaints, "complaints")
    more.choices["list"].add_argument("--kind", choices=[kind.value for kind in Kind])
    answer = more.add_parser("answer", help="answer a complaint, once")
    answer.add_argument("id")
    answer.add_argument("--answer", required=True, help="what whoever complained reads")
    answer.add_argument("--decision", required=True, choices=get_args(Decision))
    answer.add_argument("--risk", help="what a founded one is about: the content becomes a harmful label")
    export = more.add_parser("export", help="write complaints as a file; this goes on record too")
    export.add_argument("--format", choices=get_args(Format), default="csv")
    export.add_argument("--status", choices=STATES["complaints"])
    export.add_argument("--kind", choices=[kind.value for kind in Kind])
    export.add_argument("--output", type=Path, help="none: the standard output")
    for action in (*actions.choices.values(), *more.choices.values()):
        action.add_argument("--json", action="store_true", help="print JSON")
    for command in (appeals, complaints):
        command.set_defaults(run=run)


def _add_reading(command: Any, case: Case) -> Any:
    actions = command.add_subparsers(dest="action", required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="list them, the oldest due first")
    listed.add_argument("--status", choices=STATES[case])
    listed.add_argument("--overdue", action=argparse.BooleanOptionalAction, help="only those that are late, or not")
    listed.add_argument("--person", metavar="ID")
    listed.add_argument("--content-id", metavar="ID")
    listed.add_argument("--limit", type=_limit, default=100)
    listed.add_argument("--after", metavar="ID", help="the last id of the page before")
    actions.add_parser("show", help="show one, and where its turn is in the log").add_argument("id")
    return actions


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) <= MOST:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to {MOST}, not {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Carry out one action; return the exit status."""
    refusals = (UnknownCase, Decided, Problem, *REFUSALS, OSError)
    status, found = carried_out(lambda: _run(load(), arguments), refusals)
    if found is not None:
        print(json.dumps(found, ensure_ascii=False) if arguments.json else told(found))
    return status


async def _run(settings: Settings, arguments: argparse.Namespace) -> Any:
    check_data(settings)
    async with opened(settings) as services:
        engine = services.measures.engine
        decisions = Decisions(engine, services.measures.uphold, finding(engine))
        staff = Staff(Cases(engine, arguments.command), decisions, services.measures.journal.chain)
        return await ACTIONS[arguments.action](staff, arguments)


async def _list(staff: Staff, arguments: argparse.Namespace) -> Any:
    wanted = Filter(
        status=arguments.status,
        overdue=arguments.overdue,
        kind=getattr(arguments, "kind", None),
        person=arguments.person,
        content_id=arguments.content_id,
    )
    return await staff.cases.page(arguments.limit, arguments.after, wanted, now())


async def _show(staff: Staff, arguments: argparse.Namespace) -> Any:
    row = await staff.cases.row(arguments.id)
    turn = await staff.decisions.find_turn(row["content_id"]) if row["content_id"] else None
    return {**shown(row, now()), "records": list(turn.records) if turn is not None else []}


async def _uphold(staff: Staff, arguments: argparse.Namespace) -> Any:
    asked = by_rules(Uphold, arguments)
    return shown(await staff.decisions.uphold(arguments.id, asked.reason, who()), now())


async def _reject(staff: Staff, arguments: argparse.Namespace) -> Any:
    asked = by_rules(Reject, arguments)
    return shown(await staff.decisions.reject(arguments.id, asked.reason, who(), asked.risk), now())


async def _answer(staff: Staff, arguments: argparse.Namespace) -> Any:
    asked = by_rules(Answer, arguments)
    founded = asked.decision == "founded"
    row = await staff.decisions.answer(arguments.id, asked.answer, who(), founded=founded, risk=asked.risk)
    return shown(row, now())


async def _export(staff: Staff, arguments: argparse.Namespace) -> Any:
    """Write complaints as a file; on record before."""
    output: Path | None = arguments.output
    form = cast("Format", "jsonl" if arguments.json and output is None else arguments.format)
    asked = {"format": form, "status": arguments.status or "", "kind": arguments.kind or ""}
    await staff.chain.durable(staff.chain.append(encode(By(who()).about_to("complaints.export", "", asked))))
    parts = staff.cases.every(Filter(status=arguments.status, kind=arguments.kind), now())
    size = await terminal.write(written(parts, form), output)
    return None if output is None else {"file": str(output), "bytes": size}


ACTIONS: dict[str, Callable[[Staff, argparse.Namespace], Awaitable[Any]]] = {
    "list": _list,
    "show": _show,
    "uphold": _uphold,
    "reject": _reject,
    "answer": _answer,
    "export": _export,
}


def told(found: Any) -> str:
    """Return what came of an action as a person reads it."""
    if isinstance(found, list):
        return "\n".join(line(one, SHORTENED) for one in found) or "none"
    return f"{found['bytes']} bytes in {found['file']}" if "file" in found else line(found)


def line(one: Mapping[str, Any], most: int | None = None) -> str:
    """Return a case in some lines: who, until when, about what, *most* characters of the text, and the decision."""
    state = f"{one['status']}, overdue" if one["overdue"] else one["status"]
    user = plain(one["user"]) or "(no name)"
    words = [one["id"], state, f"due {moment(one['due_at'])}", f"{one['tenant']}/{user}", one["person"]]
    words += [one.get("kind") or "", f"content {plain(one['content_id'])}" if one["content_id"] else ""]
    words += [f"in {record['writer']} {record['seq']}" for record in one.get("records", ())]
    lines = ["  ".join(filter(None, words))]
    text = plain(one["text"])
    lines += [f"  {text[:most]}{'…' if most is not None and len(text) > most else ''}"] if text else []
    lines += [f"  contact: {plain(one['contact'])}"] if one.get("contact") else []
    if one["status"] != OPEN:
        said = plain(one.get("reason") or one.get("answer") or "")
        what = " ".join(filter(None, (one.get("decision") or one["status"], one["risk"])))
        lines.append(f"  {what} by {plain(one['decided_by'])} {moment(one['decided_at'])}: {said}")
    return "\n".join(lines)
