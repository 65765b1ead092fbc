"""The command line: `gateway serve | check | keys …`."""

import argparse
import json
import sys
from collections.abc import Sequence

from backends.deployment import check as check_deployments
from gateway import cli_keys, embedded
from gateway.logs import configure
from gateway.serve import EXIT_CONFIG, ServeFailed, serve
from gateway.settings import Settings, SettingsInvalid, load


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    parser = argparse.ArgumentParser(prog="gateway", description="The Safety Gateway.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("serve", help="run the gateway").set_defaults(run=_serve)
    checker = commands.add_parser("check", help="check the settings without starting anything")
    checker.add_argument("--json", action="store_true", help="print JSON")
    checker.set_defaults(run=_check)
    cli_keys.add_parser(commands)
    arguments = parser.parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except (SettingsInvalid, ServeFailed) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return EXIT_CONFIG


def _problems(settings: Settings) -> list[str]:
    deployments = settings.deployments if settings.deployments is not None else embedded.deployments()
    return [str(problem) for problem in check_deployments(deployments)]


def _serve(arguments: argparse.Namespace) -> int:
    del arguments
    configure()
    settings = load()
    if problems := _problems(settings):
        raise SettingsInvalid("\n".join(problems))
    return serve(settings)


def _check(arguments: argparse.Namespace) -> int:
    settings = load()
    problems = _problems(settings)
    if arguments.json:
        print(json.dumps({"ok": not problems, "problems": problems}, ensure_ascii=False))
    else:
        print("\n".join(problems) or "The settings are fine.")
    return EXIT_CONFIG if problems else 0
