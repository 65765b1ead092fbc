"""The command line: `gateway serve | check | keys … | keywords …`."""

import argparse
import json
import sys
from collections.abc import Sequence

from gateway import cli_keys, cli_keywords
from gateway.checks import problems as found_problems
from gateway.logs import configure
from gateway.serve import EXIT_CONFIG, ServeFailed, serve
from gateway.settings import SettingsInvalid, load
from gateway.state.sql import DatabaseUnavailable


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="gateway", description="The Safety Gateway.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="run the gateway").set_defaults(run=_serve)
    checker = commands.add_parser("check", help="check the settings without starting anything")
    checker.add_argument("--json", action="store_true", help="print JSON")
    checker.set_defaults(run=_check)
    cli_keys.add_parser(commands)
    cli_keywords.add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (SettingsInvalid, ServeFailed, DatabaseUnavailable) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return EXIT_CONFIG


def _serve(arguments: argparse.Namespace) -> int:
    del arguments
    configure()
    settings = load()
    if problems := found_problems(settings):
        raise SettingsInvalid("\n".join(problems))
    return serve(settings)


def _check(arguments: argparse.Namespace) -> int:
    settings = load()
    problems = found_problems(settings)
    if arguments.json:
        print(json.dumps({"ok": not problems, "problems": problems}, ensure_ascii=False))
    else:
        print("\n".join(problems) or "The settings are fine.")
    return EXIT_CONFIG if problems else 0
