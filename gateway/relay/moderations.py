"""`POST /v1/moderations` in OpenAI's form, answered by the input policy: for clients that ask before they ask."""

import asyncio
import secrets
from typing import Any

import msgspec

from gateway.problems import invalid
from gateway.relay import screening, wire
from keywords.risks import RISKS
from policies.input_policy import InputPolicy
from policies.utterance import Utterance
from policies.verdict import Verdict

MODEL = "safety-gateway"
MOST_TEXTS = 1_000


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
    if isinstance(asked.input, str):
        return [asked.input]
    if not 1 <= len(asked.input) <= MOST_TEXTS:
        raise invalid(f"`input` must hold 1 to {MOST_TEXTS} texts.", "input")
    return [_text(number, part) for number, part in enumerate(asked.input)]


def _text(number: int, part: str | _Part) -> str:
    if isinstance(part, str):
        return part
    if part.type != "text":
        raise invalid(f"`input[{number}]` is no text.", f"input[{number}]")
    return part.text


async def answer(raw: bytes, policy: InputPolicy) -> dict[str, Any]:
    """Return what the policy says of each text. Nobody is struck for it: no person is named."""
    results, looked_at = [], 0
    for text in read(raw):
        results.append(_result(await screening.judged(policy, Utterance(text))))
        looked_at += len(text)
        if looked_at > screening.SLICE:
            looked_at = 0
            await asyncio.sleep(0)
    return {"id": f"modr-{secrets.token_hex(12)}", "model": MODEL, "results": results}


def _result(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict in OpenAI's form, with the 31 risks for categories. A list knows no shades: 1, 0.5 or 0."""
    score = 1.0 if verdict.refused else 0.5 if verdict.evidence else 0.0
    scores = {risk: score if risk == verdict.risk else 0.0 for risk in RISKS}
    return {
        "flagged": verdict.refused,
        "categories": {risk: verdict.refused and risk == verdict.risk for risk in RISKS},
        "category_scores": scores,
        "category_applied_input_types": {risk: ["text"] if risk == verdict.risk else [] for risk in RISKS},
    }
