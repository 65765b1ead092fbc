"""What the admin API says to bytes that are no request."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
import uvicorn

from gateway.admin.front import Front
from gateway.control import Server
from tests.gateway.admin.conftest import Api


@pytest.fixture
async def port(api: Api) -> AsyncIterator[int]:
    """The API on a free port of this machine."""
    server = Server(uvicorn.Config(api.app, port=0, http=Front, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await serving


async def answer(port: int, request: str) -> tuple[str, str]:
    """Send *request*; return head and body of all that comes until the connection ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return head, body


@pytest.mark.parametrize(
    ("request_line", "reason"),
    [
        ("GET /admin/people?q=张三 HTTP/1.1", "url query"),
        ("GET /admin/人员 HTTP/1.1", "url path"),
        ("hello", "method"),
    ],
)
async def test_what_is_no_request_gets_the_one_error_shape(port: int, request_line: str, reason: str) -> None:
    """As on the client port, and the connection ends."""
    head, body = await answer(port, f"{request_line}\r\nHost: a\r\n\r\n")
    error = json.loads(body)["error"]
    assert head.startswith("HTTP/1.1 400 ") and "content-type: application/json" in head
    assert ("invalid_request_error", "invalid_http", "gateway") == (error["type"], error["code"], error["src"])
    assert reason in error["message"] and ("percent" in error["message"]) == ("url" in reason)


async def test_what_is_percent_encoded_is_understood(port: int) -> None:
    """The same words, as a URL spells them."""
    head, _ = await answer(port, "GET /admin/people?q=%E5%BC%A0 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert head.startswith("HTTP/1.1 401 ")
