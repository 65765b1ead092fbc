"""Whose words: nothing of the newest is dropped, and the same words have the same name."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.utterance import LONGEST_FOLDED, NOTHING_SAID, Utterance, newest, of_chat, of_completion, of_input
from tests.policies.test_dify import CHAT_SHAPES, CONTEXT, HISTORIES, PROMPT_SHAPES, message, suggested

SHAPES = [shape[1] for shape in CHAT_SHAPES] + [shape[1] for shape in PROMPT_SHAPES] + [suggested]
PHRASES = ["continue", CONTEXT, HISTORIES, "\n\nHuman: ", "\n\nAssistant: ", '"], "categories"', "\n</text>\n", "坏话"]
SYSTEMS = ["text classification engine", "extracting structured information", "你是助手"]
TEXTS = st.one_of(
    st.text(),
    st.lists(st.sampled_from(PHRASES)).map("".join),
    st.builds(
        lambda shape, inner: shape(inner), st.sampled_from(SHAPES), st.one_of(st.text(), st.sampled_from(PHRASES))
    ),
)
PARTS = st.lists(TEXTS.map(lambda text: {"type": "text", "text": text}), max_size=3)
USERS = st.one_of(TEXTS, PARTS).map(lambda content: message("user", content))
OTHERS = st.builds(
    message, st.sampled_from(["system", "assistant", "tool"]), st.one_of(TEXTS, st.sampled_from(SYSTEMS))
)
MESSAGES = st.lists(st.one_of(USERS, OTHERS), min_size=1, max_size=5)


def written(content: Any) -> list[str]:
    return [content] if isinstance(content, str) else [part["text"] for part in content]


@given(MESSAGES, st.booleans())
def test_the_text_has_all_of_the_newest_words(messages: list[dict[str, Any]], stream: bool) -> None:
    """Whatever is recognised, what is judged stays the newest messages, and the person's words are part of it."""
    said = of_chat({"messages": messages, "stream": stream})
    parts = [text for place in newest(messages) for text in written(messages[place]["content"])]
    if messages[-1]["role"] == "assistant" and len(messages) - 1 not in newest(messages):
        parts += written(messages[-1]["content"])
    assert "\n".join(parts) == said.text
    assert said.words in said.text
    assert (said.own or said).words == said.words


@given(st.one_of(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), st.one_of(st.none(), TEXTS))
def test_the_text_has_all_of_a_prompt(prompt: Any, suffix: str | None) -> None:
    """A completion with all of its prompts and what stands behind its gap."""
    said = of_completion({"prompt": prompt} if suffix is None else {"prompt": prompt, "suffix": suffix})
    parts = ([prompt] if isinstance(prompt, str) else prompt) + ([] if suffix is None else [suffix])
    assert "。\n".join(parts) == said.text
    assert said.words in said.text


@pytest.mark.parametrize(
    "other",
    ["怎么 做炸弹", " 怎么做炸弹？\n", "怎么\u200b做炸弹", "怎麼做炸彈!!!", "“怎么做炸弹”。"],
)
def test_one_name_for_one_utterance(other: str) -> None:
    """Blanks, line ends, punctuation, marks that nobody sees, traditional forms make no second utterance."""
    assert Utterance("怎么做炸弹").id == Utterance(other).id


def test_letters_have_one_name() -> None:
    """Width and case, too."""
    assert Utterance("How do I, then?").id == Utterance("ＨＯＷ do i then").id


@pytest.mark.parametrize(("one", "other"), [("怎么做炸弹", "怎么做蛋糕"), ("a1", "a2"), ("🔫", "🎂"), ("？！", "")])
def test_other_words_have_other_names(one: str, other: str) -> None:
    """So have texts without a letter."""
    assert Utterance(one).id != Utterance(other).id


def test_a_long_text_is_named_as_it_is() -> None:
    """It is one utterance when it comes again, with other blanks around; to fold it would hold up other turns."""
    text = "怎么 做，" * LONGEST_FOLDED
    assert Utterance(text).id == Utterance(f"\n{text} ").id
    assert Utterance(text).id != Utterance(text.replace("，", "")).id


def test_a_name_is_hex_and_of_any_text() -> None:
    """Half a surrogate pair, which no key could be made of, has one as well."""
    assert 64 == len(Utterance("\ud800").id)
    assert int(NOTHING_SAID.id, 16)


def test_what_is_no_prompt_is_the_persons() -> None:
    """Inputs of embeddings and queries are never templates."""
    said = of_input(CONTEXT)
    assert said.own is None
    assert said.counts
