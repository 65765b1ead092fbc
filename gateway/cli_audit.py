"""`gateway audit …`: the audit log from the shell, on the machine that holds the data."""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway import cli_turns
from gateway.audit.entries import Admin, encode
from gateway.audit.errors import AuditMissing
from gateway.audit.heads import HEADS, lines, sign, signer, writers
from gateway.audit.retention import start
from gateway.audit.segments import read, settled
from gateway.audit.verify import Report, verify
from gateway.audit.writer import open_writer
from gateway.cli_shell import who
from gateway.settings import Settings, load


def add_parser(commands: Any) -> None:
    """Add the command and its actions to the command line."""
    parser = commands.add_parser("audit", help="verify and read the audit log")
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("verify", help="check every record; status 1: the log is not as it was written")
    check.add_argument(
        "--heads",
        type=Path,
        action="append",
        default=[],
        metavar="PATH",
        help="signed heads that were kept elsewhere: a directory, or a file of lines",
    )
    actions.add_parser("heads", help="show how far each writer's records are safe on the disk")
    show = actions.add_parser("show", help="show the records of a turn; this goes on record too")
    show.add_argument("id", help="the content id, as in the header X-Content-Id")
    cli_turns.add_actions(actions)
    for action in actions.choices.values():
        action.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run one action; return its exit status."""
    work: dict[str, Callable[[Settings, argparse.Namespace], int]] = {"verify": _verify, "heads": _heads, "show": _show}
    settings = load()
    if not (settings.data_dir / "audit").is_dir():  # of nothing, all would be well
        raise AuditMissing(
            f"data_dir: there is no audit log in {settings.data_dir.absolute()}. "
            "Run this in the gateway's folder, or with the same GATEWAY_DATA_DIR or GATEWAY_CONFIG"
        )
    if not os.access(settings.data_dir / "audit", os.R_OK | os.X_OK):  # to whom may not look, everything is gone
        raise AuditMissing("data_dir: the audit log may not be read; run this as the gateway's own user")
    if arguments.action in cli_turns.ACTIONS:
        return cli_turns.run(arguments)
    return work[arguments.action](settings, arguments)


def _verify(settings: Settings, arguments: argparse.Namespace) -> int:
    for path in arguments.heads:  # what is compared with nothing agrees with it
        if next(lines(path), None) is None:
            raise AuditMissing(f"--heads {path}: there are no signed heads")
    report = check(settings, arguments.heads)
    print(json.dumps(report.document(), ensure_ascii=False) if arguments.json else _told(report))
    return 0 if report.ok else 1


def check(settings: Settings, copies: list[Path]) -> Report:
    """Verify the log of *settings*, against their own copy of the heads and *copies* as well."""
    root = settings.data_dir / "audit"
    own = [settings.audit.heads_copy] if settings.audit.heads_copy is not None else []
    signing = signer(root, settings.audit.secret)
    return verify(root, signing, (root / HEADS, *own, *copies))


def _told(report: Report) -> str:
    told = []
    for name, one in report.writers.items():
        told.append(f"{name}: {one.records} records ({one.first}-{one.last}), signed up to {one.signed}")
        notes = {
            "torn by a kill": one.torn,
            "turns without an end": one.unfinished,
            "ends without a begin": one.unbegun,
            "bytes behind the last record": one.tail_bytes,
            f"records from {one.late_first} on that were signed late": one.late,
        }
        told += [f"  {count} {what}" for what, count in notes.items() if count]
    for fault in report.faults:
        place = f" ({fault.file}, byte {fault.offset}, id {fault.id or '-'})" if fault.file else ""
        told.append(f"FAULT {fault.kind}: {fault.writer} {fault.text}; first bad record: {fault.seq or '-'}{place}")
    told.append(f"{report.head_lines} lines of signed heads. " + ("All is well." if report.ok else "NOT AS WRITTEN."))
    return "\n".join(told)


def _heads(settings: Settings, arguments: argparse.Namespace) -> int:
    found = {path.name: settled(path) for path in writers(settings.data_dir / "audit")}
    heads = {name: {"seq": head.seq, "hash": head.hash.hex()} for name, head in found.items() if head is not None}
    if arguments.json:
        print(json.dumps(heads))
    else:
        print("\n".join(f"{name} {head['seq']} {head['hash']}" for name, head in heads.items()) or "There are none.")
    return 0


def _show(settings: Settings, arguments: argparse.Namespace) -> int:
    """Look through the whole log; what is shown is on record before it is."""
    root = settings.data_dir / "audit"
    writer = open_writer(root, "cli")
    try:
        record = Admin(at=time.time_ns() // 1_000_000, admin=who(), action="audit.show", target=arguments.id)
        writer.append(encode(record))
    finally:
        writer.close()
    sign(root, settings.audit.secret)
    signing = signer(root, settings.audit.secret)
    wanted = arguments.id.removeprefix("chatcmpl-").removeprefix("cmpl-")  # as a refusal's body has it
    needle = f'"id":{json.dumps(wanted)}'.encode()
    found = [
        {"writer": path.name, "seq": row.cursor.seq, **json.loads(row.body)}
        for path in writers(root)
        for row in read(path, start(path, signing))
        if needle in row.body and json.loads(row.body).get("id") == wanted
    ]
    print(json.dumps(found, ensure_ascii=False, indent=None if arguments.json else 2))
    if not found:
        print(
            f"gateway: id: no turn has the content id {wanted}; it is in the header X-Content-Id of an answer",
            file=sys.stderr,
        )
    return 0 if found else 1
