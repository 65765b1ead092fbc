"""What is changed from the shell, on record: before it is done, and how it ended."""

import argparse
import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from gateway.admin.details import fields
from gateway.admin.recorder import Action
from gateway.audit.entries import Admin, encode
from gateway.audit.errors import AuditUnavailable
from gateway.audit.heads import sign
from gateway.audit.record import new_id
from gateway.audit.writer import open_writer
from gateway.cli_shell import action_of, check_data, who
from gateway.cli_strikes import check_log
from gateway.settings import Settings, load

log = logging.getLogger(__name__)

NEEDED: dict[tuple[str, str], Callable[[Settings], None] | None] = {
    ("keys", "create"): None,
    ("strikes", "rebuild"): check_log,
}
"""What looks for what must be there before a command, where that is not the database; None: nothing must."""
UNSAID = {"run", "command", "action", "what", "json"}
"""Arguments that are no fields."""
TARGETS = ("id", "n", "name", "term", "source", "user")
"""Arguments that say what it is done to; the first that is given counts."""


def run(arguments: argparse.Namespace) -> int:
    """Carry out a command that changes something; return its exit status.

    It is on record before: where it cannot be, `AuditUnavailable` is raised and nothing done.
    """
    command, action = arguments.command, action_of(arguments)
    work: Callable[[argparse.Namespace], int] = arguments.run
    settings = load()
    check = NEEDED.get((command, action), check_data)
    if check is not None:
        check(settings)
    with _recorded(settings, f"{command} {action}", arguments) as ended:
        status = int(work(arguments))
        ended(status == 0)
        return status


@contextlib.contextmanager
def _recorded(settings: Settings, name: str, arguments: argparse.Namespace) -> Iterator[Callable[[bool], None]]:
    """Record *name* before the block and how it ended after it; what the block says not, it failed."""
    given = vars(arguments)
    target = next((str(given[name]) for name in TARGETS if given.get(name) is not None), "")
    action = Action(new_id(), name, target[:200], admin=who())
    outcome = "failed"

    def ended(well: bool) -> None:
        nonlocal outcome
        outcome = "ok" if well else "failed"

    put(settings, action.record(details=_details(given)))
    try:
        yield ended
    finally:
        try:
            put(settings, action.record(outcome))
        except AuditUnavailable as error:  # it is done
            log.error("how `%s` ended is not on record: %s", name, error)  # noqa: TRY400


def put(settings: Settings, *records: Admin) -> None:
    """Write records; the chain is free again for what the command itself records. Raises `AuditUnavailable`."""
    writer = open_writer(settings.data_dir / "audit", "cli")
    try:
        writer.append(*map(encode, records))
    finally:
        writer.close()
    try:
        sign(settings.data_dir / "audit", settings.audit.secret)
    except OSError as error:  # it is on record; the control process signs it when it is there again
        log.error("the heads of the audit log cannot be signed: %s", error)  # noqa: TRY400


def _details(given: dict[str, Any]) -> dict[str, Any]:
    return fields({name: _plain(value) for name, value in given.items() if name not in UNSAID})


def _plain(value: Any) -> Any:
    """Return what JSON can say; a file by name, size and digest."""
    if not isinstance(value, Path):
        return msgspec.to_builtins(value)
    try:
        with value.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"name": value.name, "bytes": file.tell(), "sha256": digest}
    except OSError:
        return {"name": value.name}
