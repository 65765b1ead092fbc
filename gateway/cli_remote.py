"""A running gateway asked by the command line, through its admin API."""

import json
from collections.abc import Iterator
from typing import Any

import httpx

from gateway.banner import ANY
from gateway.settings import Settings

SECONDS = 60.0
NO_KEY = "GATEWAY_ADMIN_KEY: the key of an admin is wanted here; `gateway admins create NAME` makes one"


class RemoteRefused(Exception):
    """The gateway did not do it, or did not answer; the message says why."""


class Remote:
    """The admin API at *url* (none: where *settings* say), with the admin key of *settings*.

    Raises `RemoteRefused`.
    """

    def __init__(self, settings: Settings, url: str | None = None) -> None:
        if settings.admin_key is None:
            raise RemoteRefused(NO_KEY)
        host = "127.0.0.1" if settings.admin_host in ANY else settings.admin_host
        host = f"[{host}]" if ":" in host else host
        self.url = (url or f"http://{host}:{settings.admin_port}").rstrip("/")
        headers = {"authorization": f"Bearer {settings.admin_key.get_secret_value()}"}
        # no proxy from the environment: the key is not its to know
        self._client = httpx.Client(base_url=self.url, headers=headers, timeout=SECONDS, trust_env=False)

    def ask(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """Return what a route answers. Raises `RemoteRefused`."""
        params = {name: value for name, value in query.items() if value is not None}
        try:
            answer = self._client.request(method, path, json=body, params=params)
        except httpx.HTTPError as error:
            raise self._away(error) from None
        if answer.is_error:
            raise RemoteRefused(_complaint(answer))
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    def events(self, path: str, **query: Any) -> Iterator[str]:
        """Yield the data of server-sent events for as long as they come. Raises `RemoteRefused`."""
        params = {name: value for name, value in query.items() if value is not None}
        try:
            with self._client.stream("GET", path, params=params, timeout=None) as answer:
                if answer.is_error:
                    answer.read()
                    raise RemoteRefused(_complaint(answer))
                for line in answer.iter_lines():
                    if line.startswith("data: "):
                        yield line.removeprefix("data: ")
        except httpx.HTTPError as error:
            raise self._away(error) from None

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _away(self, error: Exception) -> RemoteRefused:
        return RemoteRefused(f"no gateway answers at {self.url} (does it run? --url names another): {error}")


def _complaint(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (json.JSONDecodeError, KeyError, TypeError):
        return f"{answer.status_code}: {answer.text[:500]}"
