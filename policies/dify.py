"""Dify's templates: one table of what it puts around a person's words, and so whose words a request carries.

What is recognised decides who is blamed and never what is judged: anybody can type a template. So that typing one does
not help against blame either, what a person cannot type is asked for where Dify sends it: a system prompt beside it, no
other message, words at which the model is to stop, a completion's prompt; and of two readings the one with more of the
person's words counts.

Nothing is to be recognised in what Dify sends as it was typed: chats, nodes that are tried again, and the agent that
calls functions (its query comes again with each round, before the calls and their results). Nor in the calls that it
makes by itself, for conversation titles, suggested questions and the like: they name no user, so that nobody is struck,
and where somebody is named it was they who typed it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

EXTRACTS = ("extracting structured information", "output a valid JSON object")
"""Of the system prompts of the parameter extractor; versions of Dify send either with either form."""
TEXT_TAG = ("Inside <text></text> XML tags", r"\n<text>\n")
CONTEXT = "Use the following context as your learned knowledge, inside <context></context> XML tags.\n\n<context>\n"
STOPS_AT_HUMAN = "Human:"
"""Part of a stop word of every chat that goes to a completion model."""
CONTEXT_ENDS = r"</context>\n\nWhen answer to user:\n(?:[^\n]+\n){4}\n?"
ASSISTANT = r"\n\nAssistant:"
ROUND = r"\n\n?Thought: (?:(?!\n\n?Thought:)[\s\S])*?\n\nAction: \{|\n\n?Thought:\s*\Z"
"""The first round of an agent, a thought and its action in JSON; or where there is none yet, the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One of Dify's templates; the patterns are few and simple, for whoever types floods of them waits for nobody."""

    name: str
    before: tuple[str, ...]
    """Patterns, each behind the one before; the person's words begin where the last of them ends."""
    after: str = ""
    """A pattern; the words end where it is found last, or with the text, which may have been cut."""
    first: bool = False
    """They end where it is found first: what follows is the model's and has such places, too."""
    begins: str = ""
    """How the text begins, blanks and quotes aside."""
    ends: str = ""
    """How it ends, blanks aside."""
    system: tuple[str, ...] = ()
    """Phrases of which the system prompt has one."""
    previous: str = ""
    """A pattern at the beginning of the message before, an assistant's."""
    alone: bool = False
    """It is the only message."""
    stop: str = ""
    """Part of one of the stop words that come with it."""
    counts: bool = True
    """Whether a person has just said something with it."""


CHATS = (
    Template(
        name="question classifier",
        before=(r'"input_text" ?: ?\["',),
        after=r"""\"\][,']{1,3}\s{0,16}'?\"categories\"""",
        begins='{"input_text"',
        system=("text classification engine",),
    ),
    Template(
        name="parameter extractor by function",
        before=(r"\n<context>\n",),
        after=r"\n</context>\s{0,4}<structure>",
        begins="extract structured information from context inside <context></context> XML tags",
        system=EXTRACTS,
    ),
    Template(
        name="parameter extractor by prompt",
        before=TEXT_TAG,
        after=r"\n</text>",
        begins="### Structure\n",
        system=EXTRACTS,
    ),
    Template(
        name="round of a ReAct agent",
        before=(r"\Acontinue\Z",),
        previous=r"Thought: [\s\S]*\n\nAction: ",
        counts=False,
    ),
    Template(name="completion app", before=(CONTEXT_ENDS,), begins=CONTEXT, alone=True),
)
"""What the newest message of a chat may be."""
PROMPTS = (
    Template(
        name="question classifier",
        before=(r'\n### User Input\n\{"input_text" ?: ?\["',),
        after=r'"\], ?"categories"',
        begins="### Job Description",
        ends="### Assistant Output",
    ),
    Template(
        name="parameter extractor",
        before=(r"\n### Input Text\n", *TEXT_TAG),
        after=r"\n</text>\n\n### Answer",
        begins="### Instructions:",
        ends="```JSON",
    ),
    Template(
        name="ReAct agent",
        before=(r"\nQuestion: Question: ",),  # once by the template, once by the agent; history has it once
        after=ROUND,
        first=True,
        begins="Respond to the human as helpfully and accurately as possible.",
        ends="Thought:",
        stop="Observation",
    ),
    Template(
        name="chat with history",
        before=(r"<histories>\n", r"</histories>\n{3,4}Human: "),
        after=ASSISTANT,
        ends="Assistant:",
    ),
    Template(
        name="chat with context",
        before=(CONTEXT_ENDS, r"\n\nHuman: "),
        after=ASSISTANT,
        ends="Assistant:",
        stop=STOPS_AT_HUMAN,
    ),
    Template(name="chat", before=(r"\n\nHuman: ",), after=ASSISTANT, ends="Assistant:", stop=STOPS_AT_HUMAN),
    Template(
        name="chat with history, Baichuan",
        before=(r"用户和助手的历史对话内容如下：\n```\n", r"\n```\n{2,4}用户："),
        stop="用户：",
    ),
    Template(name="completion app", before=(CONTEXT_ENDS,), begins=CONTEXT),
)
"""What the prompt of a completion may be."""


class Recognised(NamedTuple):
    """A template, and from where to where in the text the person's words go."""

    template: Template
    begin: int
    end: int


def recognised(text: str, body: Mapping[str, Any]) -> Recognised | None:
    """Return which template *text*, the newest words of a request's *body*, is; None where it was typed as it is."""
    begin, end = text.lstrip(" \n'"), text.rstrip()
    for template in CHATS if "messages" in body else PROMPTS:
        if begin.startswith(template.begins) and end.endswith(template.ends) and _is_sent_so(template, body):
            words = _words(template, text)
            if words is not None:
                return Recognised(template, *words)
    return None


def _words(template: Template, text: str) -> tuple[int, int] | None:
    """Return where the person's words begin and end."""
    begin = 0
    for pattern in template.before:
        found = re.compile(pattern).search(text, begin)
        if found is None:
            return None
        begin = found.end()
    end = len(text)
    for found in re.compile(template.after).finditer(text, begin) if template.after else ():
        end = found.start()
        if template.first:
            break
    return begin, end


def _is_sent_so(template: Template, body: Mapping[str, Any]) -> bool:
    """Return whether the request around the text is the one in which Dify sends the *template*."""
    if template.stop and not any(template.stop in stop for stop in _stops(body)):
        return False
    messages = body.get("messages", ())
    if template.alone and len(messages) != 1 and "messages" in body:
        return False
    if template.previous:
        before = messages[-2] if len(messages) > 1 and messages[-1].get("role") == "user" else {}
        if before.get("role") != "assistant" or not re.match(template.previous, _plain(before)):
            return False
    if template.system:
        prompts = [_plain(message) for message in messages if message.get("role") == "system"]
        return any(phrase in prompt for phrase in template.system for prompt in prompts)
    return True


def _stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the stop words of a request."""
    found = body.get("stop") or ()
    return (found,) if isinstance(found, str) else tuple(found)


def _plain(message: Mapping[str, Any]) -> str:
    """Return a message's content where it is a string, as Dify's own messages are."""
    content = message.get("content")
    return content if isinstance(content, str) else ""
