"""`gateway serve | check`: run the gateway; look at its settings without starting anything."""

import argparse
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

from gateway.checks import look
from gateway.checks import problems as found_problems
from gateway.keyword_texts import TextsInvalid, read_texts
from gateway.logs import configure
from gateway.serve import ServeFailed, serve
from gateway.settings import SettingsInvalid, load

log = logging.getLogger(__name__)


def add_parser(commands: Any) -> None:
    """Add the commands to the command line."""
    commands.add_parser("serve", help="run the gateway").set_defaults(run=_serve)
    checker = commands.add_parser("check", help="check the settings without starting anything")
    checker.add_argument("--json", action="store_true", help="print JSON")
    checker.set_defaults(run=_check)


def _serve(arguments: argparse.Namespace) -> int:
    del arguments
    configure()
    settings = load()
    found = look(settings)
    if found.wrong:
        raise SettingsInvalid("\n".join(found.wrong))
    for problem in found.passing:  # the other models need not wait for it
        log.warning("%s; its replicas will not start before it is free", problem)
    try:
        return serve(settings)
    except ServeFailed as error:
        print(f"gateway: {error}", file=sys.stderr)
        return os.EX_CONFIG


def _check(arguments: argparse.Namespace) -> int:
    settings = load()
    problems = [*found_problems(settings), *_texts(settings.keywords.benign_file)]
    if arguments.json:
        print(json.dumps({"ok": not problems, "problems": problems}, ensure_ascii=False))
    else:
        print("\n".join(problems) or "The settings are fine.")
    return os.EX_CONFIG if problems else 0


def _texts(path: Path | None) -> list[str]:
    """Look at what trials are made on; a gateway serves without it, so this does not keep one from starting."""
    try:
        if path is not None:
            read_texts(path)
    except TextsInvalid as error:
        return [f"keywords.benign_file: {error}"]
    return []
