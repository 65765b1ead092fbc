"""Dify's own code and curl, as their users run them."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from tests.e2e.conftest import ADMIN_KEY, CLIENT_KEY, E5, TINY, Stack
from tests.tiny_gguf import WORDS

TEXT = "".join(WORDS)
ROOT = Path(__file__).parent.parent.parent


def test_difys_own_client(stack: Stack) -> None:
    """Validation and use of chat, completion, embeddings and rerank, streamed and whole, and an error's words."""
    argv = [sys.executable, "-m", "tests.e2e.dify_client", stack.base_url, CLIENT_KEY, TINY, E5]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for mode in ("chat stream", "chat whole", "completion stream", "completion whole"):
        assert TEXT == found[mode]["text"], found
        assert found[mode]["usage"] > 0
    assert (384, [1, 0]) == (found["embeddings"]["length"], found["rerank"])
    assert found["embeddings"]["tokens"] > 0
    assert "does not exist" in found["error"]


def curl(*arguments: str) -> str:
    return subprocess.run(["curl", "-sS", "-m", "30", *arguments], capture_output=True, text=True, check=True).stdout


def test_curl(stack: Stack) -> None:
    """The line that the banner prints."""
    body = json.dumps({"model": TINY, "messages": [{"role": "user", "content": "Hello!"}], "temperature": 0})
    headers = ["-H", f"Authorization: Bearer {CLIENT_KEY}", "-H", "Content-Type: application/json"]
    answer = json.loads(curl(f"{stack.base_url}/chat/completions", *headers, "-d", body))
    assert TEXT == answer["choices"][0]["message"]["content"]


def test_slips_in_the_base_url_are_explained(stack: Stack) -> None:
    """A doubled or a missing /v1 is answered with the right URL."""
    root = stack.base_url.removesuffix("/v1")
    assert "ask for /v1/rerank" in json.loads(curl("-X", "POST", f"{root}/v1/v1/rerank"))["error"]["message"]
    assert json.loads(curl(f"{root}/v1/models/", "-H", f"Authorization: Bearer {CLIENT_KEY}"))["object"] == "list"
    assert "ask for /v1/models" in json.loads(curl(f"{root}/models"))["error"]["message"]


def test_keys_from_the_command_line_count_at_once(stack: Stack) -> None:
    """A key made in the shell works in the running gateway, and ends when it is disabled."""

    def keys(*arguments: str) -> dict[str, str]:
        argv = [sys.executable, "-m", "gateway", "keys", *arguments, "--json"]
        done = subprocess.run(argv, env=stack.environment, capture_output=True, text=True, timeout=60, check=True)
        found: dict[str, str] = json.loads(done.stdout)
        return found

    def status(secret: str) -> str:
        argv = ["-o", "/dev/null", "-w", "%{http_code}", "-H", f"Authorization: Bearer {secret}"]
        return curl(f"{stack.base_url}/models", *argv)

    made = keys("create", "shell", "--model", TINY)
    assert status(made["secret"]) == "200"
    rotated = keys("rotate", made["id"])
    assert (status(made["secret"]), status(rotated["secret"])) == ("401", "200")
    keys("disable", made["id"])
    assert status(rotated["secret"]) == "401"


def test_the_admin_api_answers(stack: Stack) -> None:
    """The admin port lists the first key and shows the metrics of all workers."""
    root = f"http://127.0.0.1:{stack.admin_port}"
    listed = json.loads(curl(f"{root}/admin/keys", "-H", f"Authorization: Bearer {ADMIN_KEY}"))
    assert "first" in {record["name"] for record in listed["data"]}
    scraped = curl(f"{root}/metrics")
    assert "gateway_requests_total" in scraped
    assert f'gateway_build_info{{version="{version("safety-gateway")}"}} 1.0' in scraped
    assert "# HELP gateway_build_info 1, of the version that runs" in scraped
