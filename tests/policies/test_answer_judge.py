"""Which sentences of an answer a judge would see."""

import pytest

from keywords.entry import Action, Direction, Entry
from keywords.library import Library
from policies.answer_judge import LONGEST, MOST_SENTENCES, Sentence, Unjudged, sentences

LIBRARY = Library.build(
    [
        Entry(id=1, term="农药", risk="A1d", action=Action.JUDGE),
        Entry(id=2, term="剂量", risk="A1d", action=Action.JUDGE),
        Entry(id=3, term="天气", risk="A1d", action=Action.OBSERVE),
    ]
)


def found(text: str) -> list[Sentence]:
    return sentences(text, LIBRARY.find(text, Direction.OUT))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("你好。买农药吗？好的。", ["买农药吗？"]),
        ("农药", ["农药"]),
        ("今天天气好。", []),
        ("农药的剂量。剂量！", ["农药的剂量。", "剂量！"]),
        ("Hi. Use 农药 v1.2 now. Bye.", ["Use 农药 v1.2 now."]),
        ("一行\n农药一行\n", ["农药一行\n"]),
    ],
)
def test_the_sentence_around_an_entry(text: str, expected: list[str]) -> None:
    """It goes from the end of the one before to its own, and is told once."""
    seen = found(text)
    assert expected == [sentence.text for sentence in seen]
    assert all(text[sentence.start : sentence.end] == sentence.text for sentence in seen)


def test_entries_of_one_sentence_are_told_together() -> None:
    """The judge sees why it is asked."""
    assert [(1, 2)] == [sentence.entries for sentence in found("农药的剂量和农药")]


def test_bounds() -> None:
    """Neither a text without any end nor one of many sentences makes much work."""
    [long] = found("字" * 5_000 + "农药" + "字" * 5_000)
    assert len(long.text) == 2 * LONGEST + 2
    assert len(found("农药。" * 100)) == MOST_SENTENCES


async def test_without_a_judge_all_passes() -> None:
    """The port is there, and nobody sits in it."""
    assert not (await Unjudged().judge_answer(found("农药"))).refused
