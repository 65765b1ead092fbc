"""From hits of the keyword library to a verdict."""

from collections.abc import Callable, Sequence
from enum import StrEnum

from keywords.entry import Action, Entry
from keywords.library import Hit
from policies.verdict import CLEAN, Evidence, Verdict
from policies.verdict import Action as Then

STAGE = "keywords.in"
CONTEXT = "keywords.context"
ANSWER = "keywords.answer"
FLOOD = Verdict(Then.REFUSE, None, (Evidence(STAGE, "flood"),))
"""Of a text that is made of listed words: nobody can tell what it says."""
MOST_EVIDENCE = 50
"""Hits that are kept of one text; those that decide come first."""
_RANK = {Action.BLOCK: 0, Action.JUDGE: 1, Action.MASK: 2, Action.OBSERVE: 3}


class Where(StrEnum):
    """Where an entry was found."""

    QUESTION = "question"
    """In the newest words."""
    CONTEXT = "context"
    """Around them: system prompt, history, tool results …"""
    ANSWER = "answer"


Count = Callable[[Where, Entry], None]


def uncounted(where: Where, entry: Entry) -> None:
    """Count nothing."""
    del where, entry


def ranked(hits: Sequence[Hit]) -> list[Hit]:
    """Return *hits*, those that decide first: by action, then by severity, then by place."""
    return sorted(hits, key=lambda hit: (_RANK[hit.entry.action], -hit.entry.severity, hit.start))


def evidence(hits: Sequence[Hit], stage: str = STAGE) -> tuple[Evidence, ...]:
    """Return what is kept of *hits*: the ids of the entries, and where they stand."""
    return tuple(Evidence(stage, str(hit.entry.id), hit.start, hit.end) for hit in hits[:MOST_EVIDENCE])


def verdict(hits: Sequence[Hit], *, judged: bool) -> Verdict:
    """Return what follows from the *hits* in a question.

    `block` refuses. `judge` leaves it open for the judge, or passes where none is in place (not *judged*): a list as
    such refuses nobody. `mask` and `observe` are only counted.
    """
    if not hits:
        return CLEAN
    first, *_ = order = ranked(hits)
    then = Then.PASS
    if first.entry.action is Action.BLOCK:
        then = Then.REFUSE
    elif first.entry.action is Action.JUDGE and judged:
        then = Then.JUDGE
    refusing = frozenset(hit.entry.risk for hit in hits if hit.entry.action is Action.BLOCK)
    noticed = frozenset(hit.entry.risk for hit in hits)
    return Verdict(then, first.entry.risk, evidence(order), refusing, noticed)
