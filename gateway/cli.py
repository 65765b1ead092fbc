"""The command line: `gateway serve | check | backends … | chat …`, and a command for each kind of record.

Only what a command needs is loaded: the database's library alone takes longer than most commands do.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from gateway.audit.errors import AuditMissing, AuditUnavailable
from gateway.cli_shell import changes
from gateway.settings import SettingsInvalid
from gateway.state.errors import DatabaseUnavailable

EXIT_PIPE = 141
"""What a shell says of a program whose reader has left (128 + SIGPIPE)."""
MODULES = {
    "gateway.cli_serve": ("serve", "check"),
    "gateway.cli_chat": ("chat",),
    "gateway.cli_keys": ("keys",),
    "gateway.cli_admins": ("admins",),
    "gateway.cli_keywords": ("keywords",),
    "gateway.cli_people": ("people",),
    "gateway.cli_staff": ("appeals", "complaints"),
    "gateway.cli_strikes": ("strikes",),
    "gateway.cli_audit": ("audit",),
    "gateway.cli_backends": ("backends", "reload"),
}
"""Where the commands are, in the order of the help."""
RECORDED = "gateway.cli_record"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    words = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(prog="gateway", description="The Safety Gateway.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    meant = [module for module, names in MODULES.items() if words and words[0] in names]
    for module in meant or MODULES:
        import_module(module).add_parser(commands)
    arguments = parser.parse_args(words)
    try:
        status: int = (import_module(RECORDED) if changes(arguments) else arguments).run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left goes there, without a complaint
        return EXIT_PIPE
    except (SettingsInvalid, DatabaseUnavailable, AuditUnavailable, AuditMissing) as error:
        print(f"gateway: {error}", file=sys.stderr)
        return os.EX_CONFIG
    return status
