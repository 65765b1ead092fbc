"""What `gateway serve` prints for the person who starts it."""

import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from backends.errors import StartFailed
from gateway.logs import CLEAR_LINE
from gateway.settings import Settings

ANY = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
HIDDEN = "<your client key>"
LAST_LINES = 10
"""Of an engine's log, shown where it does not start."""


def reachable_host(host: str) -> str:
    """Return an address under which another machine finds this one, for a host that means all interfaces."""
    if host not in ANY:
        return host
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1 (RFC 5737): chooses an interface, sends nothing
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"


def first_keys(made: Mapping[str, str]) -> str:
    """Return the lines that show newly made keys, the only time they are seen. *made*: kind → secret."""
    if not made:
        return ""
    lines = [f"  {kind + ' key':<11} {secret}" for kind, secret in made.items()]
    return "\n".join(["", "Keys were made. They are shown once, and stored only as hashes:", *lines, ""])


def how_to_use(settings: Settings, models: Mapping[str, str], client_key: str | None) -> str:
    """Return a curl line and Dify's form. *models*: those that are ready, name → ``chat`` or ``embeddings``."""
    admin = f"Admin API: http://{settings.admin_host}:{settings.admin_port}/docs"
    here = f"http://{'127.0.0.1' if settings.host in ANY else settings.host}:{settings.port}"
    if not models:
        logs = settings.data_dir / "engines"
        look = f"No model is ready. {here}/readyz says how each is; why, is in the log above and in {logs}/."
        return "\n".join(
            ["", look if settings.deployments != () else "No model is set: `deployments` is empty.", admin]
        )
    key = client_key or HIDDEN
    base = f"http://{reachable_host(settings.host)}:{settings.port}/v1"
    path, body = _question(models)
    lines = [
        "",
        "Ask it:",
        f"  curl {here}{path} -H 'Authorization: Bearer {key}' \\",
        f"    -H 'Content-Type: application/json' -d '{body}'",
        "",
        "In Dify: Settings → Model Provider → vLLM → Add Model",
    ]
    for name, use in models.items():
        lines += [
            f"  Model Type        {'Text Embedding' if use == 'embeddings' else 'LLM'}",
            f"  Model Name        {name}",
            f"  API endpoint URL  {base}",
            f"  API Key           {key}",
            "",
        ]
    return "\n".join([*lines, admin])


def _question(models: Mapping[str, str]) -> tuple[str, str]:
    """Return path and body of a first question: to a model that chats, where there is one."""
    for name, use in models.items():
        if use == "chat":
            return (
                "/v1/chat/completions",
                f'{{"model": "{name}", "messages": [{{"role": "user", "content": "Hello!"}}]}}',
            )
    return "/v1/embeddings", f'{{"model": "{next(iter(models))}", "input": "Hello!"}}'


def failure(error: StartFailed, log: Path | None) -> str:
    """Return why a replica did not start: the reason, the engine's last lines and where the others are."""
    lines = [str(error), *(f"  | {line}" for line in error.log_tail[-LAST_LINES:])]
    return "\n".join([*lines, f"  its whole log: {log}"] if log is not None else lines)


def say(text: str) -> None:
    """Print at once, also where stdout is no terminal."""
    print(text, flush=True)


class Progress:
    """What is loading: one line that is rewritten on a terminal; elsewhere, a line when something changes."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.said = ""

    def show(self, what: str, seconds: float) -> None:
        """Show *what* is going on, for how long already. A log line takes the place of the line on a terminal."""
        if self.live:
            print(f"{CLEAR_LINE}{what} … {seconds:.0f} s", end="", flush=True)
        elif what != self.said:
            print(f"{what} …", flush=True)
        self.said = what

    def end(self) -> None:
        """Take the line away."""
        if self.live and self.said:
            print(CLEAR_LINE, end="", flush=True)
