"""Channels in turns: no word hides across their borders, nor behind a piece of another channel within it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keywords.entry import Action, Entry
from keywords.library import Library
from policies.flow import LONG, Flow
from tests.policies.turns import Deltas, difference, said

ENTRIES = (
    Entry(id=1, term="紫色大象", risk="A1d", action=Action.BLOCK, exceptions=("紫色大象牙",)),
    Entry(id=2, term="bomb", risk="A1d", action=Action.BLOCK),
    Entry(id=3, term="大象腿", risk="A1a", action=Action.MASK),
    Entry(id=4, term="bad", risk="A1f", action=Action.MASK),
)
LIBRARY = Library.build(ENTRIES)
THOUGHTS, ANSWER, REFUSAL, SECOND = "reasoning_content", "content", "refusal", "reasoning"
PIECES = st.sampled_from([*"紫色大象牙腿 。x", "bad", "bo", "mb", "er", "紫色", "大象", "好" * LONG])
IN_TURNS = st.lists(st.tuples(st.sampled_from([THOUGHTS, ANSWER, REFUSAL]), PIECES), max_size=14)


@given(IN_TURNS)
def test_no_word_hides_in_turns(deltas: Deltas) -> None:
    """Neither in all of the text nor in a channel by itself; and what is clean leaves as it came."""
    assert difference(ENTRIES, LIBRARY, deltas) is None


@pytest.mark.parametrize(
    ("deltas", "left"),
    [
        ([(ANSWER, "紫"), (THOUGHTS, "好"), (ANSWER, "色大"), (THOUGHTS, "的"), (ANSWER, "象。")], {THOUGHTS: "好的"}),
        ([(ANSWER, "紫色"), (REFUSAL, "不"), (ANSWER, "大象。")], {REFUSAL: "不"}),
        ([(THOUGHTS, "想紫"), (SECOND, "好"), (THOUGHTS, "色大象")], {THOUGHTS: "想紫", SECOND: "好"}),
        ([(THOUGHTS, "紫色"), (SECOND, "大"), (ANSWER, "象")], {}),
        ([(ANSWER, "x"), (THOUGHTS, "bomb.")], {ANSWER: "x"}),
        ([(ANSWER, "bomb"), (THOUGHTS, "er")], {THOUGHTS: "er"}),
        ([(THOUGHTS, "a bomb"), (ANSWER, "er")], {THOUGHTS: "a "}),
        ([(THOUGHTS, "紫色大象"), (ANSWER, "牙")], {}),
        ([(THOUGHTS, "好&bomb"), (ANSWER, "er")], {THOUGHTS: "好&"}),
        ([(THOUGHTS, "紫色大&#3593"), (ANSWER, "好"), (THOUGHTS, "7;")], {THOUGHTS: "紫色大&#3593", ANSWER: "好"}),
        ([(ANSWER, "紫色大&#3593"), (REFUSAL, "不"), (ANSWER, "7;")], {REFUSAL: "不"}),
        ([(REFUSAL, "x&#359"), (ANSWER, "好。"), (ANSWER, "好 bomb")], {REFUSAL: "x&#359", ANSWER: "好。好 "}),
        ([(ANSWER, "x &eacute"), (THOUGHTS, "好。"), (THOUGHTS, "a bomb")], {ANSWER: "x &eacute", THOUGHTS: "好。a "}),
        ([(ANSWER, "a <!--"), (REFUSAL, "。"), (REFUSAL, "紫色大&#35937")], {ANSWER: "a <!--", REFUSAL: "。"}),
    ],
)
def test_nothing_of_a_word_leaves_in_turns(deltas: Deltas, left: dict[str, str]) -> None:
    """At most what thoughts had begun of it when the answer took over; then it is never whole."""
    out, cut = said(LIBRARY, deltas)
    assert (left, True) == ({channel: text for channel, text in out.items() if text}, cut)


@pytest.mark.parametrize(
    "deltas",
    [
        [(THOUGHTS, "想想紫"), (ANSWER, "好。")],
        [(ANSWER, "紫"), (REFUSAL, "不"), (ANSWER, "好")],
        [(THOUGHTS, "R&D"), (ANSWER, "好"), (THOUGHTS, "&"), (ANSWER, "\\u7d2"), (THOUGHTS, "amp;x"), (ANSWER, "f")],
        [(THOUGHTS, "好" * LONG), (ANSWER, "\\n" + "好" * 3 * LONG + "\\t" + "好" * LONG), (THOUGHTS, "a\\b" * LONG)],
    ],
)
def test_what_is_no_word_leaves_as_it_came(deltas: Deltas) -> None:
    out, cut = said(LIBRARY, deltas)
    assert {by: "".join(text for channel, text in deltas if channel == by) for by, _ in deltas} == out
    assert not cut


def test_a_mask_of_several_characters_stands_once() -> None:
    """However many channels the word is spread over, and whichever of them goes on."""
    library = Library.build([Entry(id=1, term="紫色大象", risk="A1a", action=Action.MASK, mask="[略]")])
    spread = [(THOUGHTS, "看紫"), (ANSWER, "色"), (THOUGHTS, "大象了")]
    assert ({THOUGHTS: "看[略]了", ANSWER: ""}, False) == said(library, spread)
    within = [(ANSWER, "看紫"), (THOUGHTS, "想"), (ANSWER, "色大"), (THOUGHTS, "想"), (ANSWER, "象了")]
    assert ({ANSWER: "看[略]了", THOUGHTS: "想想"}, False) == said(library, within)


def test_a_term_that_both_readings_find_counts_once() -> None:
    """In the channel by itself and in the text of both."""
    counted: list[int] = []
    flow = Flow(LIBRARY, lambda _, entry: counted.append(entry.id), as_json=False)
    for channel, text in ((THOUGHTS, "想"), (ANSWER, "a bad 大象腿 "), (THOUGHTS, "bad bomb."), (ANSWER, "x")):
        flow.feed(channel, text)
    assert [4, 3, 4, 2] == counted
