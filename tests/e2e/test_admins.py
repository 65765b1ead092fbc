"""A whole gateway behind a proxy: what admins do is in the log of the control process; metrics, the page, the shell."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from gateway.audit.entries import Accepted, Admin, AnyRecord, decode
from gateway.audit.heads import writers
from gateway.audit.segments import read
from tests import tiny_gguf
from tests.e2e.conftest import ADMIN_KEY, Stack, start, stop

FORWARDED = {"x-forwarded-for": "6.6.6.6, 192.0.2.7"}


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("admins")
    path = tiny_gguf.write(folder / "tiny.gguf")
    deployment = {"model": "tiny", "engine": "xllamacpp", "path": str(path), "max_model_len": 512}
    running = start(folder, {"deployments": [deployment], "trusted_proxies": ["127.0.0.0/8"]})
    yield running
    stop(running)


@pytest.fixture
def admin(gateway: Stack) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {ADMIN_KEY}", **FORWARDED}
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway.admin_port}", headers=headers, timeout=30) as client:
        yield client


def records(stack: Stack, kind: str) -> list[AnyRecord]:
    found: list[Path] = [path for path in writers(stack.folder / "data" / "audit") if f"-{kind}" in path.name]
    return [decode(row.body) for path in found for row in read(path)]


def actions(stack: Stack, kind: str) -> list[Admin]:
    return [record for record in records(stack, kind) if isinstance(record, Admin)]


def shell(stack: Stack, *words: str) -> "subprocess.CompletedProcess[str]":
    argv = [sys.executable, "-m", "gateway", *words]
    return subprocess.run(argv, env=stack.environment, capture_output=True, text=True, check=False)


def test_what_an_admin_does_is_in_the_log(gateway: Stack, admin: httpx.Client) -> None:
    """As soon as it is answered, with the address behind the proxy; and the log is whole."""
    made = admin.post("/admin/admins", json={"name": "ann", "role": "moderator"}).json()
    refused = admin.post("/admin/keys", json={"name": "x"}, headers={"authorization": f"Bearer {made['secret']}"})
    assert refused.status_code == 403
    found = [(one.admin, one.action, one.address, one.outcome, one.status) for one in actions(gateway, "control")]
    assert found == [
        ("first", "POST /admin/admins", "192.0.2.7", "", 0),
        ("first", "POST /admin/admins", "192.0.2.7", "ok", 201),
        ("ann", "POST /admin/keys", "192.0.2.7", "denied", 403),
    ]
    assert shell(gateway, "audit", "verify").returncode == 0


def test_the_shell_goes_into_a_log_of_its_own(gateway: Stack, admin: httpx.Client) -> None:
    """Beside a gateway that runs, which takes the new admin at once."""
    done = shell(gateway, "admins", "create", "bob", "--role", "viewer", "--json")
    secret = json.loads(done.stdout)["secret"]
    assert admin.get("/admin/admins", headers={"authorization": f"Bearer {secret}"}).status_code == 200
    assert [(one.action, one.outcome) for one in actions(gateway, "cli")] == [
        ("admins create", ""),
        ("admins create", "ok"),
    ]


def test_a_turn_has_the_address_behind_the_proxy(gateway: Stack) -> None:
    """On the client port, too."""
    with gateway.client() as client:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2, "user": "u"}
        assert client.post("/v1/chat/completions", json=body, headers=FORWARDED).status_code == 200
    assert [one.address for one in records(gateway, "w") if isinstance(one, Accepted)] == ["192.0.2.7"]


def test_the_metrics_of_both_sides_are_in_one_scrape(gateway: Stack, admin: httpx.Client) -> None:
    """The age of the library, and who names people."""
    with gateway.client() as client:
        body = {"model": "tiny", "messages": [{"role": "user", "content": "a"}], "max_tokens": 2}
        client.post("/v1/chat/completions", json=body)
    deadline = time.monotonic() + 60
    while True:
        lines = admin.get("/metrics").text.splitlines()
        values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[:1] != "#"}
        if values.get('gateway_identified_turns_total{identified="no",key="first"}') == 1:
            break
        assert time.monotonic() < deadline, lines
        time.sleep(0.2)
    assert abs(values["gateway_keywords_live_timestamp_seconds"] - time.time()) < 600


def test_the_page_is_whole(admin: httpx.Client) -> None:
    """Without a key and without the internet."""
    for path in ("/docs", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"):
        assert admin.get(path, headers={"authorization": ""}).status_code == 200
