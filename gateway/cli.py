"""The command line: `gateway serve | check | backends … | chat …`, and a command for each kind of record."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from gateway import (
    cli_admins,
    cli_audit,
    cli_backends,
    cli_chat,
    cli_keys,
    cli_keywords,
    cli_people,
    cli_record,
    cli_staff,
    cli_strikes,
)
from gateway.audit.errors import AuditMissing, AuditUnavailable
from gateway.checks import look
from gateway.checks import problems as found_problems
from gateway.keyword_trials import TextsInvalid, read_texts
from gateway.logs import configure
from gateway.serve import EXIT_CONFIG, ServeFailed, serve
from gateway.settings import SettingsInvalid, load
from gateway.state.sql import DatabaseUnavailable

log = logging.getLogger(__name__)

EXIT_PIPE = 141
"""What a shell says of a program whose reader has left (128 + SIGPIPE)."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="gateway", description="The Safety Gateway.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="run the gateway").set_defaults(run=_serve)
    checker = commands.add_parser("check", help="check the settings without starting anything")
    checker.add_argument("--json", action="store_true", help="print JSON")
    checker.set_defaults(run=_check)
    cli_chat.add_parser(commands)
    cli_keys.add_parser(commands)
    cli_admins.add_parser(commands)
    cli_keywords.add_parser(commands)
    cli_people.add_parser(commands)
    cli_staff.add_parser(commands)
    cli_strikes.add_parser(commands)
    cli_audit.add_parser(commands)
    cli_backends.add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        status = cli_record.run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes there, without a complaint
        return EXIT_PIPE
    except (SettingsInvalid, ServeFailed, DatabaseUnavailable, AuditUnavailable, AuditMissing) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return EXIT_CONFIG
    return status


def _serve(arguments: argparse.Namespace) -> int:
    del arguments
    configure()
    settings = load()
    found = look(settings)
    if found.wrong:
        raise SettingsInvalid("\n".join(found.wrong))
    for problem in found.passing:  # the other models need not wait for it
        log.warning("%s; its replicas will not start before it is free", problem)
    return serve(settings)


def _check(arguments: argparse.Namespace) -> int:
    settings = load()
    problems = [*found_problems(settings), *_texts(settings.keywords.benign_file)]
    if arguments.json:
        print(json.dumps({"ok": not problems, "problems": problems}, ensure_ascii=False))
    else:
        print("\n".join(problems) or "The settings are fine.")
    return EXIT_CONFIG if problems else 0


def _texts(path: Path | None) -> list[str]:
    """Look at what trials are made on; a gateway serves without it, so this does not keep one from starting."""
    try:
        if path is not None:
            read_texts(path)
    except TextsInvalid as error:
        return [f"keywords.benign_file: {error}"]
    return []
