from keywords.entry import Action, Direction, Entry
from keywords.library import Library
from policies.canary import Beside
from policies.input_policy import Keywords
from policies.keyword_policy import Where
from policies.utterance import Utterance, of_input
from policies.verdict import Action as Then

LIVE = Library.build([Entry(id=1, term="毒药", risk="A1d", action=Action.BLOCK)])
NEXT = Library.build([Entry(id=2, term="炸药", risk="A1d", action=Action.BLOCK)])


def said(text: str) -> Utterance:
    return of_input(text)


async def test_a_canary_decides_nothing_and_is_counted() -> None:
    """The live version's verdict counts; what the canary would have said is told with it."""
    counted: list[tuple[Where, Then, Then]] = []
    policy = Beside(Keywords(lambda: LIVE), lambda: NEXT, lambda *verdicts: counted.append(verdicts))
    assert [policy.local(said(text)).refused for text in ("毒药", "炸药", "你好")] == [True, False, False]
    pairs = [(Then.REFUSE, Then.PASS), (Then.PASS, Then.REFUSE), (Then.PASS, Then.PASS)]
    assert counted == [(Where.QUESTION, *pair) for pair in pairs]
    assert ["毒药"] == [hit.entry.term for hit in policy.observe(["毒药", "炸药"], Direction.IN)]
    assert not (await policy.judge(said("毒药"))).refused


def test_without_a_canary_nothing_is_counted() -> None:
    """Most of the time there is none."""
    counted: list[tuple[Where, Then, Then]] = []
    policy = Beside(Keywords(lambda: LIVE), lambda: None, lambda *verdicts: counted.append(verdicts))
    policy.observe(["毒药"], Direction.OUT)
    assert policy.local(said("毒药")).refused and counted == []


def test_a_canary_is_counted_in_answers() -> None:
    """Each text of an answer: what cut it, and what would have; what stands around a question is not counted."""
    counted: list[tuple[Where, Then, Then]] = []
    policy = Beside(Keywords(lambda: LIVE), lambda: NEXT, lambda *verdicts: counted.append(verdicts))
    hits = policy.observe(["毒药", "炸药", "你好"], Direction.OUT)
    assert ["毒药"] == [hit.entry.term for hit in hits]
    pairs = [(Then.REFUSE, Then.PASS), (Then.PASS, Then.REFUSE), (Then.PASS, Then.PASS)]
    assert counted == [(Where.ANSWER, *pair) for pair in pairs]
    policy.observe(["炸药"], Direction.IN)
    assert len(counted) == 3


def test_a_canary_is_counted_where_the_live_version_is_empty() -> None:
    """A first library can be tried before any is live."""
    policy = Beside(Keywords(lambda: Library.build(())), lambda: NEXT, lambda *_: None)
    assert policy.observes
