"""What the commands of the shell do alike: where they work, and how they say what came of it."""

import argparse
import asyncio
import getpass
import os
import sys
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gateway.settings import Settings, SettingsInvalid
from gateway.settings_words import dotted

Shape = TypeVar("Shape", bound=BaseModel)
EVERY = 1_000_000
"""More than there are of what is listed without pages."""
EXIT_USAGE = 2  # as argparse
NOT_TOLD = (
    "The change is stored; the workers could not be told. In a gateway that runs it counts as soon as its state server "
    "answers, else from the next start on."
)


CHANGES = {
    "keys": frozenset({"create", "change", "rotate", "disable", "enable"}),
    "admins": frozenset({"create", "change", "rotate", "disable", "enable"}),
    "keywords": frozenset({"add", "change", "remove", "import", "freeze", "publish", "rollback", "calibrate"}),
    "people": frozenset(
        {"suspend", "lift", "ban", "unban", "exempt", "unexempt", "alias", "unalias", "import-aliases"}
    ),
    "appeals": frozenset({"uphold", "reject"}),
    "complaints": frozenset({"answer"}),
    "strikes": frozenset({"rebuild"}),
}
"""Commands and their actions that change something; the others of them only read."""


def action_of(arguments: argparse.Namespace) -> str:
    """Return the action of a command, "" where it has none."""
    return str(getattr(arguments, "action", getattr(arguments, "what", "")))


def changes(arguments: argparse.Namespace) -> bool:
    """Return whether a command changes something: it goes on record (`gateway.cli_record`)."""
    return action_of(arguments) in CHANGES.get(arguments.command, ())


def who() -> str:
    """Return who is at the shell, as records and `added_by` have it."""
    try:
        return f"shell:{getpass.getuser()}"
    except (KeyError, OSError):  # a container's user need not have a name
        return f"shell:{os.getuid()}"


def check_data(settings: Settings) -> None:
    """Refuse to look for anything where no gateway ever was: the wrong folder would get a new, empty database."""
    if settings.database_url is None and not (settings.data_dir / "gateway.sqlite3").exists():
        raise SettingsInvalid(
            f"data_dir: no gateway was ever started with {settings.data_dir.absolute()}. "
            "Start it once (`gateway serve`); if it runs already, run this in the same folder, or with the same "
            "GATEWAY_DATA_DIR or GATEWAY_CONFIG"
        )


def _itself(error: Exception) -> Iterable[str]:
    return (str(error),)


def carried_out(
    work: Callable[[], Coroutine[Any, Any, Any]],
    refusals: tuple[type[Exception], ...],
    said: Callable[[Exception], Iterable[str]] = _itself,
) -> tuple[int, Any]:
    """Do *work*; return the exit status and what it returned.

    *refusals* are what it raises where it cannot be done; *said* returns their lines. What is asked for against the
    rules of the REST API (ValidationError) is named by its field.
    """
    try:
        return 0, asyncio.run(work())
    except refusals as error:
        status, lines = 1, said(error)
    except ValidationError as error:
        status, lines = EXIT_USAGE, [f"{dotted(item['loc'])}: {item['msg']}" for item in error.errors()]
    for line in lines:
        print(f"gateway: {line}", file=sys.stderr)
    return status, None


def by_rules(shape: type[Shape], arguments: argparse.Namespace) -> Shape:
    """Return what the command line says, by the rules of the REST API. Raises ValidationError."""
    said = vars(arguments)
    return shape.model_validate({name: said[name] for name in shape.model_fields if said.get(name) is not None})


def listing(found: Any, line: Callable[[dict[str, Any]], str], nothing: str) -> str:
    """Return one record, or a list of them, as a person reads it."""
    records = found if isinstance(found, list) else [found]
    return "\n".join(map(line, records)) or nothing
