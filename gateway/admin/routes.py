"""Which route a request means, told before it is carried out."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from starlette.routing import compile_path

HTTP_METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})


class Route(NamedTuple):
    """A route, with what stands in the path in place of its parameters."""

    path: str
    """With the parameters by name: ``/admin/keys/{key_id}``."""
    parameters: Mapping[str, str]


class Routes:
    """The routes of an OpenAPI document, in the order in which they are tried."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._routes: list[tuple[str, str, re.Pattern[str]]] = [
            (method.upper(), path, compile_path(path)[0])
            for path, item in document["paths"].items()
            for method in item
            if method in HTTP_METHODS
        ]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Yield method and path of each."""
        return ((method, path) for method, path, _ in self._routes)

    def find(self, method: str, path: str) -> Route | None:
        """Return the route that takes *method* at *path*, or None."""
        asked = "GET" if method == "HEAD" else method
        for known, template, pattern in self._routes:
            if known == asked and (match := pattern.match(path)) is not None:
                return Route(template, match.groupdict())
        return None
