"""What routing and the queue are told of a request: how much work it is, whose, how urgent, and where its cache is."""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from typing import Any

from backends.load import Ask, Priority
from gateway.audit.record import Turn
from gateway.relay.wire import CHAT, Request

CHARACTERS_PER_TOKEN = 2
"""Of mixed Chinese and English text, roughly."""
USUAL_ANSWER = 512
"""Tokens of an answer to which the request sets no limit, for comparison with others."""
LONGEST_ANSWER = 32_768
"""Tokens; a limit above it says nothing of the answer, and must not make a replica look busy for an hour."""
PREFIX = 512
"""Characters of a text by which requests are told apart; caches work on beginnings."""
CONTEXT = "<context>\n"
"""In Dify's system prompts, where what was retrieved for this very question begins."""
PRIORITIES = {"high": Priority.HIGH, "normal": Priority.NORMAL, "low": Priority.LOW}


def ask_of(turn: Turn, request: Request, *, choice: bool) -> Ask:
    """Return what is asked of a replica; *choice*: there are several, so that a key is wanted."""
    person = turn.standing.id or f"{turn.caller.key_id}/{turn.user}"
    key = affinity_key(turn.model, request) if choice else ""
    return Ask(tokens_of(request), person, PRIORITIES[turn.caller.priority], key)


def tokens_of(request: Request) -> int:
    """Return an estimate of the tokens of prompt and longest answer together; pictures are not counted."""
    body = request.body
    if request.route is CHAT:
        characters = sum(_length(message.get("content")) for message in body["messages"])
    else:
        characters = sum(_length(body.get(name)) for name in request.route.own)
    prompt = 1 + characters // CHARACTERS_PER_TOKEN
    if not request.route.generates:
        return prompt
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or USUAL_ANSWER
    return prompt + int(min(limit, LONGEST_ANSWER)) * request.choices


def affinity_key(model: str, request: Request) -> str:
    """Return what the turns of one conversation have in common: model, app, and the person's first words.

    The app alone would send all of its people to one replica; its prompt is taken up to what is retrieved anew for
    each question.
    """
    if request.route is CHAT:
        messages = request.body["messages"]
        app = _first_text(messages, "system").partition(CONTEXT)[0]
        begin = (app[:PREFIX], _first_text(messages, "user")[:PREFIX])
    elif isinstance(prompt := request.body.get("prompt"), str):
        begin = (prompt[:PREFIX], "")
    else:
        return ""
    said = "\0".join((model, *begin))
    return blake2b(said.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _first_text(messages: Iterable[Mapping[str, Any]], role: str) -> str:
    for message in messages:
        if message["role"] == role:
            content = message.get("content")
            return content if isinstance(content, str) else _text_parts(content)
    return ""


def _text_parts(content: Any) -> str:
    texts = (part.get("text") for part in content or ())
    return "".join(text for text in texts if isinstance(text, str))


def _length(value: Any) -> int:
    """Return the characters of a text in any of the forms that a request may have it in."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(_length(part) for part in value)
    if isinstance(value, Mapping):
        return _length(value.get("text"))
    return 0
