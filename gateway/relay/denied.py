"""What a request may not carry: fields past the guard, words that nobody judges, and what an engine would fetch."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.problems import Problem, invalid

_NO_TEXT_IN = "a prompt that is no text cannot be judged"
_NO_TEXT_OUT = "an answer that is no text cannot be guarded"
_PAST_THE_GUARD = "it would repeat the whole prompt, or the answer, past the guard"
_ASSISTANT = "it would put words into the assistant's mouth, or take its turn away"
_PARSING = "it would change how the engine reads its own answer, which the guard relies on"
_OPERATOR = "it is the operator's to say what the engine runs, and for whom first"

DENIED = {
    "__verbose": _PAST_THE_GUARD,
    "add_generation_prompt": _ASSISTANT,
    "chat_format": _PARSING,
    "chat_parser": _PARSING,
    "chat_template": "it would replace the template that the model was trained and is guarded with",
    "continue_final_message": _ASSISTANT,
    "ec_transfer_params": "it would name other machines to the engine",
    "generation_prompt": _ASSISTANT,
    "id_slot": _OPERATOR,
    "image_data": "pictures belong into messages",
    "kv_transfer_params": "it would name other machines to the engine",
    "logits_processors": "it would run code in the engine",
    "logprob_token_ids": _NO_TEXT_OUT,
    "lora": _OPERATOR,
    "media_io_kwargs": "it would change how the engine opens pictures",
    "mm_processor_kwargs": "it would change how the engine opens pictures",
    "n_cmpl": "it would ask for more answers than `n`, which is what is counted",
    "parser": _PARSING,
    "post_sampling_probs": "it would name tokens under names that are not guarded",
    "priority": _OPERATOR,
    "prompt_embeds": _NO_TEXT_IN,
    "prompt_logprobs": _PAST_THE_GUARD,
    "prompt_token_ids": _NO_TEXT_IN,
    "reasoning_budget_end_tag": _ASSISTANT,
    "reasoning_budget_end_tags": _ASSISTANT,
    "reasoning_budget_message": _ASSISTANT,
    "reasoning_budget_start_tag": _ASSISTANT,
    "return_prompt_text": _PAST_THE_GUARD,
    "return_token_ids": _NO_TEXT_OUT,
    "return_tokens": _NO_TEXT_OUT,
    "return_tokens_as_token_ids": _NO_TEXT_OUT,
    "thinking_forced_open": _PARSING,
    "verbose": _PAST_THE_GUARD,
    "vllm_xargs": "it would reach extensions of the engine that the gateway does not know",
}
"""Top-level fields that open a way around the guard or into the network, with the reason that the client reads."""
OFF = {
    "__verbose": False,
    "add_generation_prompt": True,
    "continue_final_message": False,
    "id_slot": -1,
    "post_sampling_probs": False,
    "priority": 0,
    "return_prompt_text": False,
    "return_token_ids": False,
    "return_tokens": False,
    "return_tokens_as_token_ids": False,
    "thinking_forced_open": False,
    "verbose": False,
}
"""Values by which a client that spells out the default asks for nothing. For vLLM ``prompt_logprobs: false`` is 0."""

TEMPLATE_ARGUMENTS = frozenset(
    {
        "add_vision_id",
        "clear_thinking",
        "enable_thinking",
        "low_effort",
        "preserve_thinking",
        "reasoning_effort",
        "thinking",
        "thinking_budget",
        "thinking_mode",
        "truncate_history_thinking",
    }
)
"""Of ``chat_template_kwargs``: what says how a model thinks. llama.cpp takes whatever else stands there in place of
the messages that were judged (``messages``), older vLLM a template (CVE-2025-61620); templates print the rest."""
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,32}")

WORDS = frozenset({"messages", "prompt", "input", "query", "documents"})
"""Fields that carry words on one route or another; engines take some of them on routes where nobody judges them."""

WATCHED = WORDS | {*DENIED, "chat_template_kwargs", "reasoning_effort"}
"""All fields that something is to be said of."""

NEVER_FETCHED = frozenset({"type", "text", "detail", "format", "id", "name", "refusal", "thinking"})
"""Keys of message parts whose value an engine reads as it stands."""
FETCHED = frozenset({"image", "video", "audio", "file", "file_id"})
"""Keys whose value an engine may open, beside all that end in "url" or "uri"."""
_SCHEME = re.compile(r"[\x00-\x20]*(?:([a-z][a-z0-9+.-]*)://|(file):)", re.IGNORECASE)
_PATH = re.compile(r"[\x00-\x20]*(?:/|~|\.{1,2}/|[a-z]:?\\|\\)", re.IGNORECASE)


def refusal(name: str, reason: str) -> Problem:
    """Return the 400 for a field that is not accepted."""
    return invalid(f"`{name}` is not accepted: {reason}.", name, "field_not_accepted")


def check_fields(body: Mapping[str, Any], path: str, own: Sequence[str]) -> None:
    """Refuse the first field of `DENIED` or `WORDS` that *path* does not take; *own* are the words it takes."""
    for name, value in body.items():
        if value is None or (name in OFF and value == OFF[name]):
            continue
        if name in DENIED:
            raise refusal(name, DENIED[name])
        if name in WORDS and name not in own:
            raise refusal(name, f"the words of {path} stand in {' and '.join(f'`{word}`' for word in own)}")


def check_template_arguments(body: Mapping[str, Any]) -> None:
    """Refuse what would reach the chat template besides the messages that were judged."""
    arguments = body.get("chat_template_kwargs")
    if arguments is not None and not isinstance(arguments, dict):
        raise invalid("`chat_template_kwargs` must be an object.", "chat_template_kwargs")
    for name, value in (arguments or {}).items():
        where = f"chat_template_kwargs.{name}"
        if name not in TEMPLATE_ARGUMENTS:
            known = ", ".join(sorted(TEMPLATE_ARGUMENTS))
            raise refusal(where, f"it would reach the model unjudged; accepted are {known}")
        _check_plain(value, where)
    _check_plain(body.get("reasoning_effort"), "reasoning_effort")  # templates print it, too


def _check_plain(value: Any, where: str) -> None:
    plain = value is None or isinstance(value, bool | int | float)
    if not plain and not (isinstance(value, str) and _WORD.fullmatch(value)):
        raise invalid(f"`{where}` must be a number, true, false or one short word.", where)


def check_finite(value: Any, where: str) -> None:
    """Refuse numbers that no double holds: JSON has no word for them, and the engine would get null."""
    kind = type(value)
    if kind is float:
        if not math.isfinite(value):
            raise invalid(f"`{where}` is out of range.", where)
    elif kind is dict:
        for name, inner in value.items():
            if type(inner) in {float, dict, list}:
                check_finite(inner, f"{where}.{name}")
    elif kind is list:
        for i, inner in enumerate(value):
            if type(inner) in {float, dict, list}:
                check_finite(inner, f"{where}[{i}]")


def check_part(part: Mapping[str, Any], where: str, *, remote: bool) -> None:
    """Refuse a message part that is no text, or names what an engine would fetch; *remote*: the web is allowed."""
    for name in (*part, part.get("type")):
        if isinstance(name, str) and name.endswith("_embeds"):
            raise refusal(f"{where}.{name}" if name in part else f"{where}.type", _NO_TEXT_IN)
    for name, value in part.items():
        _check_leaves(name, value, f"{where}.{name}", remote)


def _check_leaves(name: str, value: Any, where: str, remote: bool) -> None:
    if isinstance(value, str):
        if name not in NEVER_FETCHED and _opens(name, value, remote):
            allowed = "data:, http: and https:" if remote else "data:"
            text = f"`{where}`: only {allowed} URLs are accepted with this key."
            raise invalid(text, where, "remote_url_not_accepted")
    elif isinstance(value, dict):
        for inner, leaf in value.items():
            _check_leaves(inner, leaf, f"{where}.{inner}", remote)
    elif isinstance(value, list):
        for i, leaf in enumerate(value):
            _check_leaves(name, leaf, f"{where}[{i}]", remote)


def _opens(name: str, value: str, remote: bool) -> bool:
    """Return whether an engine may open *value*, found under the key *name*, and must not."""
    if value.startswith("data:"):  # it carries its own bytes
        return False
    scheme = _SCHEME.match(value)
    if remote:
        return scheme is not None and (scheme[1] or scheme[2]).lower() not in {"http", "https"}
    lower = name.lower()
    if lower in FETCHED or lower.endswith(("url", "uri")):
        return True
    # base64 may begin with a slash, as that of every JPEG does
    return scheme is not None or (lower != "data" and _PATH.match(value) is not None)
