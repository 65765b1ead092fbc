"""Starts the gateway as `make serve` does and asks it once: what a fresh machine sees. Standard library only.

`.venv/bin/python tests/smoke.py`, with nothing installed but what `make serve` installs.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

KEY = "sk-smoke-0123456789abcdef"
START_SECONDS = 90.0


def free_port() -> int:
    """Return a port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, body: Any = None) -> Any:
    """Return the JSON answer of *url*. Raises OSError."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"authorization": f"Bearer {KEY}"})  # noqa: S310 - loopback
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - loopback
        return json.load(response)


def wait_until_ready(base: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until every model is ready. Raises RuntimeError."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            models = ask(f"{base}/readyz")["models"]
        except (OSError, urllib.error.URLError):
            models = {}
        if models and set(models.values()) == {"ready"}:
            return
        time.sleep(0.2)
    raise RuntimeError("the gateway did not become ready")


def main() -> None:
    """Start, ask, stop."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "GATEWAY_DATA_DIR": folder,
            "GATEWAY_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "GATEWAY_ADMIN_PORT": str(free_port()),
            "GATEWAY_CLIENT_KEY": KEY,
            "GATEWAY_ADMIN_KEY": "adm-smoke-0123456789abcdef",
        }
        program = Path(sys.executable).parent / "gateway"
        process = subprocess.Popen([program, "serve"], env={**os.environ, **settings})
        try:
            wait_until_ready(base, process)
            messages = [{"role": "user", "content": "Hello!"}]
            chat = {"model": "SmolLM2-135M-Instruct", "messages": messages, "max_tokens": 8}
            assert ask(f"{base}/v1/chat/completions", chat)["choices"][0]["message"]["content"]
            embeddings = {"model": "multilingual-e5-small", "input": "你好"}
            assert len(ask(f"{base}/v1/embeddings", embeddings)["data"][0]["embedding"]) == 384
        finally:
            process.terminate()
            process.wait(60)
        assert process.returncode == 0
    print("the gateway starts, answers and stops")  # noqa: T201 - the one word that a person looks for


if __name__ == "__main__":
    main()
