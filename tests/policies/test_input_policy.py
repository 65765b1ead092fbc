"""The stages of an input, and what is counted."""

from keywords.entry import Action, Direction, Entry
from keywords.library import Library
from policies.input_policy import LONGEST_SEEN, MOST_SEEN, Keywords, Open
from policies.keyword_policy import Where
from policies.utterance import Utterance

ENTRIES = (
    Entry(id=1, term="禁忌配方", risk="A1d", action=Action.BLOCK),
    Entry(id=2, term="敏感话题", risk="A1g", action=Action.JUDGE),
    Entry(id=3, term="常见词语", risk="A1h"),
)


def policy(counted: list[tuple[Where, int]] | None = None) -> Keywords:
    library = Library.build(ENTRIES)
    if counted is None:
        return Keywords(lambda: library)
    return Keywords(lambda: library, lambda where, entry: counted.append((where, entry.id)))


async def test_local() -> None:
    """A blocked word refuses, others do not; all are counted."""
    counted: list[tuple[Where, int]] = []
    stages = policy(counted)
    assert stages.local(Utterance("说说禁 忌 配 方")).refused
    passed = stages.local(Utterance("一个敏感话题和常见词语"))
    assert not passed.refused and not passed.open
    assert ["2", "3"] == [found.what for found in passed.evidence]
    assert [(Where.QUESTION, 1), (Where.QUESTION, 2), (Where.QUESTION, 3)] == list(dict.fromkeys(counted))
    assert not (await stages.judge(Utterance("敏感话题"))).refused


def test_a_flood_is_refused() -> None:
    """A text that is made of blocked words has more hits than are looked at, and does not pass for that."""
    assert policy().local(Utterance("禁忌配方" * 40_000)).refused


def test_observing_refuses_nobody() -> None:
    """Surroundings and answers are counted where they stand."""
    counted: list[tuple[Where, int]] = []
    stages = policy(counted)
    assert [1, 3] == [hit.entry.id for hit in stages.observe(["禁忌配方", "常见词语"], Direction.IN)]
    assert [2] == [hit.entry.id for hit in stages.observe(["敏感话题"], Direction.OUT)]
    assert [Where.CONTEXT, Where.CONTEXT, Where.ANSWER] == [where for where, _ in counted]
    assert [] == stages.observe(["禁忌配方" * 40_000], Direction.IN)


async def test_open_lets_everything_pass() -> None:
    """Without a library nothing is decided."""
    assert not Open().local(Utterance("禁忌配方")).refused
    assert not (await Open().judge(Utterance("禁忌配方"))).refused
    assert [] == Open().observe(["禁忌配方"], Direction.IN)


def test_what_comes_again_is_remembered_by_one_library_only() -> None:
    """A prompt that comes with every turn is looked through once; a new version looks again; memory is bounded."""
    live = [Library.build(ENTRIES), Library.build(ENTRIES[2:])]
    stages = Keywords(lambda: live[0])
    assert [[1], [1]] == [[hit.entry.id for hit in stages.observe(["禁忌配方"], Direction.IN)] for _ in range(2)]
    live.pop(0)
    assert [] == stages.observe(["禁忌配方"], Direction.IN)
    stages.observe([f"文本{number}" for number in range(3 * MOST_SEEN)], Direction.IN)
    stages.observe(["长" * (LONGEST_SEEN + 1)], Direction.IN)
    assert len(stages._seen) <= MOST_SEEN
    assert all(len(text) <= LONGEST_SEEN for text in stages._seen)
