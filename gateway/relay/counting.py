"""Token counts where an engine reports none: Dify's client fails on an answer without usage."""

import time
from typing import Any

import msgspec

from backends.deployment import Engine
from backends.engines import FAMILIES
from backends.engines.family import Question
from backends.errors import EngineBroken, EngineError
from backends.lease import Lease
from gateway.relay.chunks import Usage
from gateway.relay.documents import decoded
from gateway.relay.wire import Request

SECONDS = 5.0
"""For one count; an answer does not wait longer for its numbers."""
ANSWER_BYTES = 1024 * 1024
"""llama.cpp answers with the tokens themselves: about 130 000 of them."""
MOST_TOKENS = 10**9
CHARACTERS_PER_TOKEN = 2
"""Of mixed Chinese and English text, roughly; used only where an engine has no tokenizer to ask."""


async def usage(lease: Lease, request: Request, text: str, *, at_least: int = 0) -> Usage:
    """Return the tokens of a request and its answer *text*, counted by the engine's own tokenizer.

    An engine without one, or one that has just died, leaves an estimate; *at_least* is the number of pieces in which
    the answer came.
    """
    prompt = request.body.get("messages", request.body.get("prompt", ""))
    words = request.utterance.text if not isinstance(prompt, str) else prompt
    try:
        return Usage(await _prompt_tokens(lease, prompt), await _count(lease, text))
    except (EngineError, _NoTokenizer):
        estimate = len(text) // CHARACTERS_PER_TOKEN
        return Usage(1 + len(words) // CHARACTERS_PER_TOKEN, max(1, at_least, estimate))


class _NoTokenizer(Exception):
    """The engine cannot be asked."""


async def _prompt_tokens(lease: Lease, prompt: Any) -> int:
    tokenizer = FAMILIES[Engine(lease.endpoint.engine)].tokenizer
    if isinstance(prompt, list) and all(isinstance(part, str) for part in prompt):
        return sum([await _count(lease, part) for part in prompt])
    if isinstance(prompt, list) and tokenizer is not None and tokenizer.template is not None:
        return await _count(lease, await _ask(lease, tokenizer.template(prompt)))
    return await _count(lease, prompt)


async def _count(lease: Lease, what: Any) -> int:
    tokenizer = FAMILIES[Engine(lease.endpoint.engine)].tokenizer
    if tokenizer is None:
        raise _NoTokenizer
    found = await _ask(lease, tokenizer.count(lease.endpoint.served_name, what))
    if not isinstance(found, int) or not 0 <= found <= MOST_TOKENS:
        raise _NoTokenizer
    return found


async def _ask(lease: Lease, question: Question) -> Any:
    await lease.ask(question.path, msgspec.json.encode(question.body))
    until = time.perf_counter() + SECONDS
    head = await lease.head(SECONDS)
    body = bytearray()
    while data := await lease.read(max(0.0, until - time.perf_counter())):
        body += data
        if len(body) > ANSWER_BYTES:
            raise _NoTokenizer
    if head is None or head.status != 200 or data is None:
        raise _NoTokenizer
    try:
        return question.read(decoded(bytes(body)))
    except (EngineBroken, KeyError, TypeError, ValueError, AttributeError) as error:
        raise _NoTokenizer from error
