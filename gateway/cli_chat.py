"""`gateway chat MODEL`: a conversation in the terminal, through the gateway or with a file on this machine."""

import argparse
import contextlib
import io
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from backends.engines.llama_cpp import conversation_command
from gateway.banner import ANY
from gateway.chat import ChatFailed, Conversation, client
from gateway.settings import load

EXIT_FAILED = 1
EXIT_USAGE = 2  # as argparse
EXIT_INTERRUPTED = 130  # as a shell says of a program that Ctrl-C ended (128 + SIGINT)
PROMPT = "> "
HELP = "/reset forgets what was said, /system TEXT sets the system prompt, Ctrl-C cuts an answer, Ctrl-D ends"
KEYS = ("GATEWAY_CLIENT_KEY", "OPENAI_API_KEY")
"""Variables that may hold the key, the first that is set counts."""


def add_parser(commands: Any) -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("chat", help="talk to a model in the terminal", description=HELP)
    parser.add_argument("model", nargs="?", help="its name, an alias or its path")
    parser.add_argument("--url", help="the gateway's (http://127.0.0.1:PORT, with the port of the settings)")
    parser.add_argument("--key", help=f"a client key; better in {' or '.join(KEYS)}, where ps does not show it")
    parser.add_argument("--system", metavar="TEXT", help="the system prompt")
    parser.add_argument("--max-tokens", type=int, metavar="N", help="of one answer")
    parser.add_argument("--temperature", type=float, metavar="T")
    parser.add_argument("--local", type=Path, metavar="FILE.gguf", help="by llama-cli, without gateway and guard")
    parser.add_argument("--llama-cli", default="llama-cli", metavar="PROGRAM", help="the program of --local")
    parser.add_argument("--n-gpu-layers", type=int, metavar="N", help="of --local")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Hold the conversation; return the exit status."""
    if (arguments.model is None) == (arguments.local is None):
        print("gateway: name a model, or --local FILE.gguf", file=sys.stderr)
        return EXIT_USAGE
    if arguments.local is not None:
        return _become_llama_cli(arguments)
    url = arguments.url or _own_url()
    key = arguments.key or next((os.environ[name] for name in KEYS if os.environ.get(name)), None)
    given = {"max_tokens": arguments.max_tokens, "temperature": arguments.temperature}
    fields = {name: value for name, value in given.items() if value is not None}
    with client(url, key) as connection:
        conversation = Conversation(connection, arguments.model, arguments.system, fields)
        return converse(conversation, interactive=sys.stdin.isatty())


def converse(conversation: Conversation, *, interactive: bool) -> int:
    """Talk until the input ends; return the exit status.

    From a pipe each line is one turn, and the first that fails ends it with 1; at a terminal the person may try again.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # a broken byte is no reason to end
    if interactive:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401, PLC0415 - arrow keys and a history for input()
        print(f"{conversation.model}: {HELP}", file=sys.stderr)
    while True:
        try:
            line = input(PROMPT if interactive else "")
        except EOFError:
            if interactive:
                print(file=sys.stderr)
            return 0
        except KeyboardInterrupt:
            if not interactive:
                return EXIT_INTERRUPTED
            print("\nCtrl-D ends", file=sys.stderr)
            continue
        if not line.strip() or _obeyed(conversation, line):
            continue
        if not _answered(conversation, line) and not interactive:
            return EXIT_FAILED


def _obeyed(conversation: Conversation, line: str) -> bool:
    """Carry out a command; return False where *line* is none, as one that begins with a blank is not."""
    if not line.startswith("/"):
        return False
    name, _, rest = line.partition(" ")
    if name == "/reset":
        conversation.reset()
        print("forgotten", file=sys.stderr)
    elif name == "/system":
        conversation.system = rest.strip() or None
        print("set" if rest.strip() else "there is none now", file=sys.stderr)
    else:
        unknown = "" if name == "/help" else f"there is no {name}; "
        print(f"{unknown}{HELP}; to say a line with / put a blank before it", file=sys.stderr)
    return True


def _answered(conversation: Conversation, line: str) -> bool:
    """Show the answer to *line* and how fast it came; return whether there was one."""
    try:
        measured = conversation.say(line, _show)
    except ChatFailed as failure:
        print(f"\ngateway: {failure}", file=sys.stderr)
        return False
    print(flush=True)
    print(f"[{measured}]", file=sys.stderr)
    return True


def _show(piece: str) -> None:
    print(piece, end="", flush=True)


def _own_url() -> str:
    settings = load()
    host = "127.0.0.1" if settings.host in ANY else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.port}"


def _become_llama_cli(arguments: argparse.Namespace, become: Callable[[str, list[str]], NoReturn] = os.execvp) -> int:
    """Put llama-cli in this process's place; return only where that cannot be."""
    command = conversation_command(arguments.llama_cli, str(arguments.local), arguments.n_gpu_layers)
    if not arguments.local.is_file():
        print(f"gateway: --local: there is no file {arguments.local}", file=sys.stderr)
    elif shutil.which(command.argv[0]) is None:
        print(f"gateway: --llama-cli: there is no program {command.argv[0]}", file=sys.stderr)
    else:
        sys.stdout.flush()
        become(command.argv[0], list(command.argv))
    return EXIT_FAILED
