"""`POST /v1/moderations` in OpenAI's form, answered by the input policy: for clients that ask before they ask."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.problems import invalid
from gateway.relay import screening, wire
from keywords.risks import RISKS
from policies.input_policy import InputPolicy
from policies.utterance import Utterance
from policies.verdict import CLEAN, Verdict

MODEL = "safety-gateway"
ROUTE = "moderations"
PATH = "/v1/moderations"
MOST_TEXTS = 1_000
MOST_CHARACTERS = 1_000_000
"""Of all texts together: some seconds of work, in small parts."""


class _Part(msgspec.Struct):
    type: str
    text: str = ""


class _Asked(msgspec.Struct):
    input: str | list[str | _Part]
    model: str | None = None
    user: str | None = None


def read(raw: bytes) -> list[str]:
    """Return the texts of a request. Raises a 400 `Problem` that names the field."""
    try:
        asked = msgspec.convert(wire.parse(raw), _Asked)
    except msgspec.ValidationError as error:
        raise wire.misshaped(str(error)) from None
    texts = [asked.input] if isinstance(asked.input, str) else _texts(asked.input)
    if sum(map(len, texts)) > MOST_CHARACTERS:
        raise invalid(f"`input` has more than {MOST_CHARACTERS} characters.", "input", "body_too_large")
    return texts


def _texts(parts: list[str | _Part]) -> list[str]:
    if not 1 <= len(parts) <= MOST_TEXTS:
        raise invalid(f"`input` must hold 1 to {MOST_TEXTS} texts.", "input")
    return [_text(number, part) for number, part in enumerate(parts)]


def _text(number: int, part: str | _Part) -> str:
    if isinstance(part, str):
        return part
    if part.type != "text":
        raise invalid(f"`input[{number}]` is no text.", f"input[{number}]")
    return part.text


async def answer(texts: Sequence[str], policy: InputPolicy, content_id: str) -> tuple[dict[str, Any], Verdict]:
    """Return what the policy says of each text, and the verdict on the first that would be refused, else `CLEAN`.

    Nobody is struck for it: no person is named.
    """
    results, worst, looked_at = [], CLEAN, 0
    for text in texts:
        found = [verdict async for verdict in screening.verdicts(policy, Utterance(text))]
        results.append(_result(found))
        if not worst.refused:
            worst = next((verdict for verdict in found if verdict.refused), worst)
        looked_at += len(text)
        if looked_at > screening.SLICE:
            looked_at = 0
            await asyncio.sleep(0)
    return {"id": f"modr-{content_id}", "model": MODEL, "results": results}, worst


def _result(verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """Return what was found in a text in OpenAI's form, with the 31 risks for categories.

    A list knows no shades: a risk scores 1 where it is refused for, 0.5 where it was noticed, else 0.
    """
    refusing = frozenset[str]().union(*(verdict.refusing for verdict in verdicts))
    noticed = frozenset[str]().union(*(verdict.noticed for verdict in verdicts))
    return {
        "flagged": any(verdict.refused for verdict in verdicts),
        "categories": {risk: risk in refusing for risk in RISKS},
        "category_scores": {risk: 1.0 if risk in refusing else 0.5 if risk in noticed else 0.0 for risk in RISKS},
        "category_applied_input_types": {risk: ["text"] if risk in noticed else [] for risk in RISKS},
    }
