"""Asks an engine how it is, and what it serves."""

import contextlib
from collections.abc import Collection
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import httpx

from backends.deployment import Deployment

SECONDS = 3.0
"""Time-out of one question."""
MODELS_PATH = "/v1/models"


class Address(NamedTuple):
    """Where an engine listens; *base_path* stands before ``/v1``."""

    host: str
    port: int
    tls: bool = False
    base_path: str = ""


def address(deployment: Deployment, port: int = 0) -> Address:
    """Return where *deployment* listens: by its url, else on *port*."""
    if deployment.url is None:
        host = "127.0.0.1" if deployment.host == "0.0.0.0" else deployment.host  # noqa: S104 - compared, not bound
        return Address("::1" if host == "::" else host, port)
    url = urlsplit(deployment.url)
    tls = url.scheme == "https"
    base = url.path.rstrip("/").removesuffix("/v1")
    return Address(url.hostname or "", url.port or (443 if tls else 80), tls, base)


class Probe:
    """A client for one engine's health, an async context. Nothing it asks is ever a request of a person."""

    def __init__(self, deployment: Deployment, where: Address) -> None:
        key = deployment.api_key
        headers = {"authorization": f"Bearer {key.get_secret_value()}"} if key is not None else {}
        host = f"[{where.host}]" if ":" in where.host else where.host
        base = f"{'https' if where.tls else 'http'}://{host}:{where.port}{where.base_path}"
        # no proxy from the environment: it would answer for the engine
        self._client = httpx.AsyncClient(base_url=base, headers=headers, timeout=SECONDS, trust_env=False)
        self._last: httpx.Response | None = None

    async def __aenter__(self) -> Self:
        """Open."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def healthy(self, *paths: str) -> bool:
        """Return whether one of *paths* answers 200, asked in their order."""
        for path in paths:
            response = await self._get(path)
            if response is not None and response.status_code == 200:
                return True
        return False

    async def models(self) -> tuple[str, ...]:
        """Return the names that the engine serves; none where it does not say."""
        response = await self._get(MODELS_PATH)
        if response is None or response.status_code != 200:
            return ()
        with contextlib.suppress(ValueError, LookupError, TypeError):
            return tuple(str(entry["id"]) for entry in response.json()["data"])
        return ()

    async def speaks(self, name: str, tasks: Collection[str], seconds: float) -> bool:
        """Return whether the engine, which knows its model as *name*, says one token within *seconds*.

        Where it has no such route, or refuses the question, nothing is proven, and it is taken to speak.
        """
        path, body = _canary(name, tasks)
        try:
            response = await self._client.post(path, json=body, timeout=seconds)
        except httpx.HTTPError:
            return False
        return response.status_code < 500

    @property
    def refused(self) -> bool:
        """Whether the last question was answered, and refused for want of the right key."""
        return self._last is not None and self._last.status_code in {401, 403}

    def complaint(self) -> str:
        """Return what came of the last question, as the reason why an external engine cannot be used."""
        if self._last is None:
            return "nobody answers at its url"
        hint = ": is `api_key` right?" if self.refused else ""
        return f"GET {self._last.url.path} answered {self._last.status_code}{hint}"

    async def _get(self, path: str) -> httpx.Response | None:
        self._last = None
        with contextlib.suppress(httpx.HTTPError):
            self._last = await self._client.get(path)
        return self._last


def _canary(name: str, tasks: Collection[str]) -> tuple[str, dict[str, Any]]:
    """Return path and body of the smallest question that makes the model itself work."""
    if "embed" in tasks:
        return "/v1/embeddings", {"model": name, "input": "1"}
    if "rerank" in tasks:
        return "/v1/rerank", {"model": name, "query": "1", "documents": ["1"]}
    return "/v1/completions", {"model": name, "prompt": "1", "max_tokens": 1, "temperature": 0}


def served_name(deployment: Deployment, served: tuple[str, ...]) -> str:
    """Return the name under which an external engine knows the model, out of those it says it serves."""
    if deployment.served_name is not None:
        return deployment.served_name
    mine: set[Any] = {name.rstrip("/") for name in deployment.all_names}
    for name in served:
        if name.rstrip("/") in mine:
            return name
    return served[0] if len(served) == 1 else deployment.model
