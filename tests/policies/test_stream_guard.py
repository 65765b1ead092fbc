"""Nothing of a blocked word leaves, masked words leave masked, and nothing else is changed, however a stream is cut."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from keywords.entry import Action, Entry
from keywords.library import Library
from policies.flow import LONG
from policies.json_text import JsonText
from policies.stream_guard import KeywordGuard, StreamGuard, Through, keyword_guards
from tests.keywords import oracle

ENTRIES = (
    Entry(id=1, term="炸弹", risk="A1d", action=Action.BLOCK, exceptions=("炸弹人游戏",)),
    Entry(id=2, term="bomb", risk="A1d", action=Action.BLOCK),
    Entry(id=3, term="法轮功", risk="A1a", action=Action.MASK),
    Entry(id=4, term="功法", risk="A1a", action=Action.MASK, mask="[略]"),
    Entry(id=5, term="bad", risk="A1f", action=Action.MASK),
    Entry(id=6, term="弹药库", risk="A1d", action=Action.OBSERVE),
)
LIBRARY = Library.build(ENTRIES)
PIECES = st.sampled_from([*"炸弹人游戏法轮功 。*x", "bad", "bomb", "b", "a", "d", " ", "法輪功", "炸 弹", "好" * LONG])
TEXTS = st.lists(PIECES, max_size=12).map("".join)


def said(guard: StreamGuard, deltas: Sequence[tuple[str, str]]) -> tuple[dict[str, str], bool]:
    """Return what has left of each channel, and whether the answer was cut."""
    out: dict[str, str] = {}
    for channel, delta in deltas:
        step = guard.feed(0, channel, delta)
        for by, text in (*step.late, (channel, step.release)):
            out[by] = out.get(by, "") + text
        if step.cut is not None:
            return out, True
    step = guard.finish(0)
    for by, text in step.late:
        out[by] = out.get(by, "") + text
    assert "" == step.release
    return out, step.cut is not None


def cut_up(text: str, cuts: list[int]) -> list[str]:
    places = sorted({cut for cut in cuts if cut < len(text)})
    return [text[begin:end] for begin, end in zip([0, *places], [*places, len(text)], strict=True)]


def masked(text: str, end: int) -> str:
    return oracle.masked(ENTRIES[2:5], text, end)


@given(TEXTS, st.lists(st.integers(1, 90)))
def test_no_cut_changes_what_leaves(text: str, cuts: list[int]) -> None:
    """In whatever pieces a text comes, the same leaves as of the whole, and no blocked word is in it."""
    out, cut = said(KeywordGuard(LIBRARY), [("content", piece) for piece in cut_up(text, cuts)])
    fine, fine_cut = said(KeywordGuard(LIBRARY), [("content", character) for character in text])
    assert (fine.get("content", ""), fine_cut) == (out.get("content", ""), cut)
    blocked = oracle.places(ENTRIES[:2], text)
    assert bool(blocked) == cut
    if not cut:
        assert masked(text, len(text)) == out.get("content", "")
    else:
        assert not oracle.places(ENTRIES[:2], out.get("content", ""))
        assert masked(text, min(start for _, start, _ in blocked)).startswith(out.get("content", ""))


@given(TEXTS, st.lists(st.integers(1, 90)))
def test_no_word_hides_across_channels(text: str, cuts: list[int]) -> None:
    """Thoughts and answer are read as one text; each gets what is its own."""
    channels = ["reasoning_content", "content"]
    pieces = [(channels[i % 2], piece) for i, piece in enumerate(cut_up(text, cuts))]
    out, cut = said(KeywordGuard(LIBRARY), pieces)
    assert bool(oracle.places(ENTRIES[:2], text)) == cut
    if not cut:
        assert len(masked(text, len(text))) == sum(map(len, out.values()))
        for channel in channels:
            plain = "".join(piece for by, piece in pieces if by == channel)
            if not oracle.places(ENTRIES[2:5], text):
                assert plain == out.get(channel, "")


ARGUMENTS = "tool_calls.0.arguments"
SPELLINGS = st.sampled_from(["plain", "plain", "escaped", "ESCAPED"])


def spelled(text: str, how: list[str]) -> str:
    """Return a JSON string's inside that says *text*, each character spelled as *how* says."""
    signs = [json.dumps(character, ensure_ascii=False)[1:-1] for character in text]
    for place, way in enumerate(how[: len(text)]):
        if way == "escaped":
            signs[place] = f"\\u{ord(text[place]):04x}"
        elif way == "ESCAPED":
            signs[place] = f"\\u{ord(text[place]):04X}"
    return "".join(signs)


@given(TEXTS, st.lists(SPELLINGS), st.lists(st.integers(1, 200)))
def test_no_spelling_and_no_cut_changes_what_leaves_of_arguments(text: str, how: list[str], cuts: list[int]) -> None:
    """Arguments are judged by what they say: nothing of a blocked word leaves in any spelling.

    Masks keep JSON whole, and what is clean leaves as it was spelled.
    """
    raw = f'{{"q":"{spelled(text, how)}"}}'
    says = f'{{"q":"{text}"}}'
    out, cut = said(KeywordGuard(LIBRARY), [(ARGUMENTS, piece) for piece in cut_up(raw, cuts)])
    left = out.get(ARGUMENTS, "")
    blocked = oracle.places(ENTRIES[:2], says)
    assert bool(blocked) == cut
    if cut:
        text_left = JsonText()
        says_left = "".join(character.says for character in text_left.feed(left))
        assert "" == text_left.begun
        assert masked(says, min(start for _, start, _ in blocked)).startswith(says_left)
    elif oracle.places(ENTRIES[2:5], says):
        assert masked(says, len(says))[6:-2] == json.loads(left)["q"]
    else:
        assert raw == left


ESCAPES = st.sampled_from(["plain", "\\u{:04x}", "\\\\u{:04X}", "&#{};", "&#x{:x};", "&#00{};"])


@given(TEXTS, st.lists(ESCAPES), st.lists(st.integers(1, 200)))
@example("bomb", ["plain", "\\\\u{:04X}"], [])
@example("bomb", ["plain", "\\\\\\\\u{:04X}"], [3, 1, 1, 2])
def test_no_escape_and_no_cut_changes_what_leaves_of_prose(text: str, how: list[str], cuts: list[int]) -> None:
    """Nothing of a blocked word leaves in any spelling; what is clean leaves as it was spelled, to the last sign."""
    signs = [way.format(ord(sign)) if way != "plain" else sign for sign, way in zip(text, how, strict=False)]
    raw = "".join(signs) + text[len(signs) :]
    out, cut = said(KeywordGuard(LIBRARY), [("content", piece) for piece in cut_up(raw, cuts)])
    assert (out, cut) == said(KeywordGuard(LIBRARY), [("content", raw)]) or not raw
    assert bool(oracle.places(ENTRIES[:2], text)) == cut
    if not oracle.places(ENTRIES[:5], text):
        assert raw == out.get("content", "")


@pytest.mark.parametrize("raw", ['{"q":"\\u70b8\\u5f39"}', '{"q":"\\u70B8\\n弹"}', '{"\\u70b8\\/弹":1}', "\\u70b8弹"])
@pytest.mark.parametrize("channel", [ARGUMENTS, "function_call.arguments"])
def test_nothing_of_an_escaped_word_leaves(raw: str, channel: str) -> None:
    """Not even the first bytes of its first character's escape."""
    for pieces in ([raw], list(raw)):
        out, cut = said(KeywordGuard(LIBRARY), [(channel, piece) for piece in pieces])
        assert cut
        assert "\\" not in out.get(channel, "")
        assert raw.startswith(out.get(channel, ""))


ESCAPED = ["\\u70b8弹", "炸&#24377;", "&#x70b8;&#x5f39", "炸&nbsp;弹", "b\\u006fmb", "炸&shy;\\u5f39", "炸&nbsp弹"]
PADDED = [f"炸&#{'0' * 999}24377;", f"&#x{'0' * 99}70b8弹"]
TAGGED = ["炸<b>弹", "炸</think>弹", "炸\\u003c/b>弹", '炸<i\n title="好 > &quot;"/>弹', "炸<!-- 好 -->弹"]


@pytest.mark.parametrize("word", [*ESCAPED, *PADDED, *TAGGED])
@pytest.mark.parametrize("channel", ["content", "reasoning_content", "text", "tool_calls.0.custom.input"])
def test_nothing_of_a_word_in_escapes_leaves_in_prose(word: str, channel: str) -> None:
    """Escapes of JSON, which a client decodes, entities, which a page shows, and tags, which it does not."""
    for pieces in ([f"看{word}。"], list(f"看{word}。")):
        out, cut = said(KeywordGuard(LIBRARY), [(channel, piece) for piece in pieces])
        assert (out.get(channel), cut) == ("看", True)


def test_what_is_masked_within_a_tag_hides_no_word() -> None:
    """The tag leaves with its mask on, as a tag; one that ends in the begin of a word is read as it stands."""
    for pieces in (['看<a title="bad">好'], list('看<a title="bad">好')):
        assert ({"content": '看<a title="***">好'}, False) == said(
            KeywordGuard(LIBRARY), [("content", p) for p in pieces]
        )
    for text in ('看炸<a title="bad">弹', '看<a title="x炸">弹', "看<!--炸-->弹"):
        out, cut = said(KeywordGuard(LIBRARY), [("content", piece) for piece in text])
        assert cut
        assert "炸" not in out["content"]
    out, cut = said(KeywordGuard(LIBRARY), [(ARGUMENTS, piece) for piece in '{"q":"<a title=\\"bad\\">好"}'])
    assert ({ARGUMENTS: '{"q":"<a title=\\"***\\">好"}'}, False) == (out, cut)


@pytest.mark.parametrize(
    "word", ["\\\\u70b8\\\\u5f39", "炸\\\\u5f39", "&#x70b8;弹", "\\u005cu70b8弹", "炸\\n弹", "炸<b class='x'>弹"]
)
def test_nothing_of_a_word_that_is_escaped_twice_leaves(word: str) -> None:
    """Arguments are JSON whose strings may be read once more; so are answers that were asked for as JSON."""
    for guard, channel in ((KeywordGuard(LIBRARY), ARGUMENTS), (KeywordGuard(LIBRARY, as_json=True), "content")):
        out, cut = said(guard, [(channel, piece) for piece in f'{{"q":"{word}"}}'])
        assert (out.get(channel), cut) == ('{"q":"', True)


@given(TEXTS, st.lists(st.sampled_from(["", "", "<b>", "</think>", "<i x='好'>", "&shy", "&nbsp;", "<!--x-->"])))
def test_tags_and_blanks_between_ideographs_change_nothing(text: str, between: list[str]) -> None:
    """What a page shows as a word is one; of what is clean no sign is lost, and masks leave the tags."""
    text = "".join(sign for sign in text if not sign.isascii())
    raw = "".join(map("".join, zip(between, text, strict=False))) + text[len(between) :]
    out, cut = said(KeywordGuard(LIBRARY), [("content", raw)] if raw else [])
    assert (out, cut) == said(KeywordGuard(LIBRARY), [("content", piece) for piece in raw])
    assert bool(oracle.places(ENTRIES[:2], text)) == cut
    if not oracle.places(ENTRIES[:5], text):
        assert raw == out.get("content", "")
    elif not cut:
        assert raw.count("<") == out["content"].count("<")


@pytest.mark.parametrize(
    ("text", "before"), [("<b>bomb</b>", "<b>"), ('<a title="炸弹">', '<a title="'), ("<bomb>", "<")]
)
def test_no_tag_hides_the_word_in_it_or_beside_it(text: str, before: str) -> None:
    for pieces in ([text], list(text)):
        assert ({"content": before}, True) == said(KeywordGuard(LIBRARY), [("content", piece) for piece in pieces])


NO_ESCAPES = ["C:\\users\\x", "\\u70b", "R&D & AT&T;", "a && b", "&#;", "\\frac{1}{2}\\\\", "\\ud83d好", "&"]
CLEAN = [
    "&nbsp; &amp;lt; &unknown;",
    "&copy 2026 &notit; &#000",
    "<think>想</think>\n\n好",
    "<p class=x>炸</p>。<p>弹</p>",
]
NO_TAGS = ["a < b", "x<y 时", "</", "<a b='", "炸<人>弹"]


@pytest.mark.parametrize("text", [*NO_ESCAPES, *CLEAN, *NO_TAGS])
def test_what_is_no_word_in_escapes_leaves_as_it_came(text: str) -> None:
    """Whatever its cuts; and in the end nothing of it is held."""
    for pieces in ([text], list(text)):
        assert ({"content": text}, False) == said(KeywordGuard(LIBRARY), [("content", piece) for piece in pieces])


def test_an_escape_ends_with_its_channel() -> None:
    """What has begun in the thoughts is not finished by the answer; both leave as they came."""
    deltas = [("reasoning_content", "法\\u8f"), ("content", "6e功&#24"), ("reasoning_content", "377;好")]
    expected = {"reasoning_content": "法\\u8f377;好", "content": "6e功&#24"}
    assert (expected, False) == said(KeywordGuard(LIBRARY), deltas)


def test_a_mask_covers_an_escaped_word() -> None:
    """Each character of it, however it was spelled."""
    assert ({"content": "*** b"}, False) == said(KeywordGuard(LIBRARY), [("content", "&#27861;轮\\u529f b")])


def test_alternatives_neither_are_nor_begin_a_word() -> None:
    """So that those of several places spell none; half a character may be half of anything."""
    guard = KeywordGuard(LIBRARY)
    assert [True, True, False, False, False, False] == [
        guard.harmless(token) for token in ("好", "x", "炸", "bomb", "法", "\\u70")
    ]
    assert not guard.harmless("好", half=True)
    assert Through().harmless("炸", half=True)


def test_plain_arguments_leave_as_fast_as_any_text() -> None:
    """Where nothing is escaped and nothing begun, each piece leaves at once."""
    guard = KeywordGuard(LIBRARY)
    assert ['{"q', '": "x', '"}'] == [guard.feed(0, ARGUMENTS, piece).release for piece in ('{"q', '": "x', '"}')]
    assert '\\n"}' == guard.feed(0, ARGUMENTS, '\\n"}').release


@given(st.lists(st.sampled_from(["12", "34", '"法轮功"', "[", "]", ",", " ", "bad", '"', "\\"])))
def test_what_is_no_json_breaks_nothing(pieces: list[str]) -> None:
    """Whatever stands in arguments comes out, its masked words aside."""
    text = "".join(pieces)
    out, cut = said(KeywordGuard(LIBRARY), [(ARGUMENTS, piece) for piece in pieces])
    assert not cut
    assert "法" not in out.get(ARGUMENTS, "")
    if not oracle.places(ENTRIES, text):
        assert text == out.get(ARGUMENTS, "")


def test_two_names_of_the_thoughts_do_not_mix() -> None:
    """Engines that send each thought under both names hide no word by it."""
    deltas = [(channel, c) for c in "想到炸弹了" for channel in ("reasoning_content", "reasoning")]
    out, cut = said(KeywordGuard(LIBRARY), deltas)
    assert cut
    assert {"reasoning_content": "想到", "reasoning": "想到"} == out


def test_choices_and_tool_calls_are_apart() -> None:
    """A word is one only within one choice, and one tool call's arguments."""
    guard = KeywordGuard(LIBRARY)
    assert "" == guard.feed(0, "content", "炸").release
    assert "弹" == guard.feed(1, "content", "弹").release
    assert "" == guard.feed(0, "tool_calls.0.arguments", "炸").release
    assert "弹" == guard.feed(0, "tool_calls.1.arguments", "弹").release
    step = guard.finish(0)
    assert {("content", "炸"), ("tool_calls.0.arguments", "炸")} == set(step.late)
    assert guard.feed(1, "content", "").cut is None


def test_the_cut_says_why() -> None:
    """Risk, entry and place are in the verdict."""
    cut = KeywordGuard(LIBRARY).feed(0, "content", "一个炸弹。").cut
    assert cut is not None
    assert "A1d" == cut.risk
    assert [("keywords.out", "1", 2, 4)] == [(e.stage, e.what, e.start, e.end) for e in cut.evidence]


@pytest.mark.parametrize("harmless", ["炸弹人游戏", "bombay", "炸。弹", "observe 弹药库"])
def test_harmless_neighbours_leave_whole(harmless: str) -> None:
    """Longer words, clause ends and entries that only observe stop nothing."""
    assert ({"content": harmless}, False) == said(KeywordGuard(LIBRARY), [("content", harmless)])


def test_after_a_cut_nothing_leaves() -> None:
    """Whoever goes on feeding gets nothing."""
    guard = KeywordGuard(LIBRARY)
    assert guard.feed(0, "content", "炸弹。").cut is not None
    assert "" == guard.feed(0, "content", "后面").release


def test_log_probabilities_tell_no_more_than_the_text() -> None:
    """Tokens of text that was held, and other tokens that are listed words, do not leave."""
    guard = KeywordGuard(LIBRARY)
    assert guard.allows("好", "好", ["很", "不"])
    assert not guard.allows("", "秘密", [])
    assert not guard.allows("好", "好", ["bomb"])
    assert [True, True, False, False, False] == [
        guard.allows("好", f"好{end}", []) for end in ("<|im_end|>", "</s>", "弹", "<炸弹>", "</s>弹")
    ]
    assert Through().allows("", "秘密", ["bomb"])


def test_the_live_library_makes_the_guard() -> None:
    """A new version counts from the next turn; one without such words costs nothing."""
    live: list[Any] = [LIBRARY]
    make = keyword_guards(lambda: live[0])
    assert isinstance(make(), KeywordGuard)
    assert said(make(as_json=True), [("content", "炸\\n弹")])[1]
    live[0] = Library.build(ENTRIES[5:])
    assert isinstance(make(), Through)
