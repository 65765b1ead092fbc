"""What `gateway serve` prints for the person who starts it."""

import socket
import sys
from collections.abc import Mapping

from gateway.settings import Settings

ANY = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound
HIDDEN = "<your client key>"


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
    """Return a curl line and Dify's form. *models*: name → what it is for, ``chat`` or ``embeddings``."""
    key = client_key or HIDDEN
    here = f"http://{'127.0.0.1' if settings.host in ANY else settings.host}:{settings.port}/v1"
    base = f"http://{reachable_host(settings.host)}:{settings.port}/v1"
    chat = next((name for name, use in models.items() if use == "chat"), next(iter(models), "MODEL"))
    body = f'{{"model": "{chat}", "messages": [{{"role": "user", "content": "Hello!"}}]}}'
    lines = [
        "",
        "Ask it:",
        f"  curl {here}/chat/completions -H 'Authorization: Bearer {key}' \\",
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
    lines.append(f"Admin API: http://{settings.admin_host}:{settings.admin_port}/docs")
    return "\n".join(lines)


def say(text: str) -> None:
    """Print at once, also where stdout is no terminal."""
    print(text, flush=True)


class Progress:
    """One line a model while it loads: rewritten on a terminal, printed when something changes elsewhere."""

    def __init__(self) -> None:
        self.live = sys.stdout.isatty()
        self.said = ""

    def show(self, text: str) -> None:
        """Show how far things are."""
        if self.live:
            print(f"\r\x1b[K{text}", end="", flush=True)
        elif text != self.said:
            print(text, flush=True)
        self.said = text

    def end(self) -> None:
        """Leave the line."""
        if self.live and self.said:
            print(flush=True)
