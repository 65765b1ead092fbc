"""What a keyword library would do, without doing it: one text, many texts, one entry; and what was measured."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from gateway.keyword_changes import NOBODY, Edit, Kind, many
from gateway.keyword_measures import Written, store_actions, store_hits
from gateway.keyword_store import EntryInvalid, KeywordStore, Origin, Stamp, TermTaken, UnknownEntry, check
from gateway.keyword_texts import TextsInvalid, changed_at, read_texts
from gateway.keyword_versions import KeywordVersions, NotNow, UnknownVersion
from keywords import calibration, mining
from keywords.coverage import Report, coverage
from keywords.entry import Action, Direction, Entry
from keywords.folding import SPACED, SQUEEZED
from keywords.library import Hit, Library
from keywords.matcher import Flood
from policies import refusals

DRAFT: Literal["draft"] = "draft"
LIVE: Literal["live"] = "live"
Version = int | Literal["draft", "live"]
PASS = "pass"  # noqa: S105 - a decision
FLOOD = "flood"
ORDER = (Action.BLOCK, Action.JUDGE, Action.MASK, Action.OBSERVE)
"""Which action of several decides: the first."""
MEANING = {
    Action.BLOCK: "refuses a question, cuts an answer",
    Action.JUDGE: "asks the next stage; never refuses alone",
    Action.MASK: "is replaced in answers",
    Action.OBSERVE: "is counted only",
}
WORST = 20
SAMPLES = 20
SAMPLE_CHARACTERS = 200
KEPT = 2
"""Libraries that stay built."""


REFUSALS = (EntryInvalid, TermTaken, UnknownEntry, UnknownVersion, NotNow, TextsInvalid)
"""What the keyword library answers instead of doing what it is asked."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What is in a text, and what follows: an action, `pass` or `flood`."""

    hits: tuple[Hit, ...]
    decision: str
    why: str


def find(library: Library, text: str, direction: Direction, now: float) -> Finding:
    """Return what *library* makes of *text*; entries that have expired at *now* count for nothing."""
    try:
        hits = tuple(hit for hit in library.find(text, direction) if hit.entry.alive(now))
    except Flood:
        return Finding((), FLOOD, "the text is made of listed words: it is refused")
    for action in ORDER:
        first = next((hit for hit in hits if hit.entry.action is action), None)
        if first is not None and not (action is Action.MASK and direction is Direction.IN):
            return Finding(hits, action.value, f"`{first.entry.term}` ({first.entry.risk}) {MEANING[action]}")
    if hits:
        return Finding(hits, Action.OBSERVE.value, f"`{hits[0].entry.term}` masks in answers only")
    return Finding((), PASS, "nothing was found")


@dataclass(slots=True)
class Impact:
    """What a library does with many texts."""

    texts: int = 0
    decisions: Counter[str] = field(default_factory=Counter)
    entries: Counter[Entry] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, text: str, found: Finding) -> None:
        """Count one text."""
        self.texts += 1
        self.decisions[found.decision] += 1
        self.entries.update({hit.entry for hit in found.hits})
        if found.decision in {Action.BLOCK, Action.JUDGE, FLOOD} and len(self.samples) < SAMPLES:
            terms = sorted({hit.entry.term for hit in found.hits})
            self.samples.append({"text": text[:SAMPLE_CHARACTERS], "decision": found.decision, "terms": terms})

    def document(self) -> dict[str, Any]:
        """Return it as people read it."""
        hit = self.texts - self.decisions[PASS]
        acting = sum(self.decisions[name] for name in (Action.BLOCK, Action.JUDGE, FLOOD))
        worst = self.entries.most_common(WORST)
        return {
            "texts": self.texts,
            "hit": hit,
            "acted_on": acting,
            "rate": acting / self.texts if self.texts else 0.0,
            "decisions": dict(self.decisions),
            "worst": [{**_short(entry), "texts": count} for entry, count in worst],
            "samples": self.samples,
        }


def _short(entry: Entry) -> dict[str, Any]:
    return {"id": entry.id, "term": entry.term, "risk": entry.risk, "action": entry.action.value}


def warnings(entry: Entry) -> list[str]:
    """Return what is odd about *entry*, though it may be meant so."""
    suspensions = dict.fromkeys(refusals.suspension(why, None, "") for why in refusals.REASONS)
    own = {"refusal": refusals.REFUSED, "cut": refusals.CUT, "suspension": " ".join(suspensions)}
    parts = [entry.folded(part) for part in entry.parts]
    return [
        f"the term is part of what the gateway itself says (policies/refusals.py, {name}): {text}"
        for name, text in own.items()
        if all(part and part in entry.folded(text) for part in parts)
    ]


class Trials:
    """Runs trials over the draft and the versions; whatever takes long is done in threads."""

    def __init__(
        self,
        store: KeywordStore,
        versions: KeywordVersions,
        benign_file: Path | None = None,
        matcher: str = "hyperscan",
    ) -> None:
        self.store = store
        self.versions = versions
        self.benign_file = benign_file
        self.matcher = matcher
        self.looked: Callable[[], object] = lambda: None
        """Called for each text that a calibration looks through, in its thread."""
        self._built: dict[int | Stamp, Library] = {}
        self._texts: tuple[float, list[str]] = (0.0, [])
        self._one_at_a_time = asyncio.Lock()

    async def entries(self, version: Version) -> tuple[Entry, ...]:
        """Return the entries of a version. Raises `UnknownVersion`."""
        if version == DRAFT:
            return await self.store.entries()
        return await self.versions.entries(await self._number(version))

    async def library(self, version: Version) -> Library:
        """Return a version, built. Raises `UnknownVersion` and `BadPattern`."""
        async with self._one_at_a_time:
            key = await self.store.stamp() if version == DRAFT else await self._number(version)
            if key not in self._built:
                entries = await self.entries(version)
                number = key if isinstance(key, int) else 0
                built = await asyncio.to_thread(Library.build, entries, version=number, library=self.matcher)
                self._built = dict([*self._built.items(), (key, built)][-KEPT:])
            return self._built[key]

    async def texts(self, given: Sequence[str] | None = None) -> Sequence[str]:
        """Return the texts to try on: the *given* ones, or the stored harmless ones. Raises `TextsInvalid`."""
        if given is not None:
            return given
        if self.benign_file is None:
            raise TextsInvalid("no texts are given, and no file of harmless ones is set (`keywords.benign_file`)")
        path = self.benign_file
        changed = await asyncio.to_thread(changed_at, path)
        if changed != self._texts[0]:
            self._texts = (changed, await asyncio.to_thread(read_texts, path))
        return self._texts[1]

    async def test(self, text: str, direction: Direction, version: Version) -> dict[str, Any]:
        """Return everything that a version finds in *text*, and what follows."""
        library = await self.library(version)
        found = await asyncio.to_thread(find, library, text, direction, time.time())
        return {
            "version": version,
            "direction": direction.value,
            "squeezed": SQUEEZED.text(text),
            "spaced": SPACED.text(text),
            "hits": [{**_short(hit.entry), "start": hit.start, "end": hit.end, "form": hit.form} for hit in found.hits],
            "decision": found.decision,
            "why": found.why,
        }

    async def impact(
        self, version: Version, given: Sequence[str] | None = None, direction: Direction = Direction.IN
    ) -> dict[str, Any]:
        """Return what a version does with many texts."""
        texts, library = await self.texts(given), await self.library(version)
        found = await asyncio.to_thread(_impact, library, texts, direction)
        return {"version": version, "direction": direction.value, **found.document()}

    async def first_look(self, entry: Entry) -> dict[str, Any]:
        """Return what speaks against *entry*, which was just entered by hand: `warnings` and `would_have_hit`."""
        hit, found = await self.would_have_hit(entry), warnings(entry)
        if hit is None and entry.action is not Action.OBSERVE:
            found.append("nothing was measured: there are no harmless texts that can be read (`keywords.benign_file`)")
        return {"warnings": found, "would_have_hit": hit}

    async def would_have_hit(self, entry: Entry) -> dict[str, Any] | None:
        """Return what *entry* alone finds in the stored harmless texts; None where there are none."""
        try:
            texts = await self.texts()
        except TextsInvalid:
            return None
        direction = Direction.OUT if entry.direction is Direction.OUT else Direction.IN
        library = await asyncio.to_thread(Library.build, (entry,), library=self.matcher)
        return (await asyncio.to_thread(_impact, library, texts, direction)).document()

    async def coverage(self, version: Version) -> Report:
        """Return the report of clause 8.1."""
        entries = await self.entries(version)
        if version == DRAFT:
            updated_at = (await self.store.stamp()).updated_at
        else:
            updated_at = (await self.versions.get(await self._number(version)))["created_at"]
        return await asyncio.to_thread(coverage, entries, now=time.time(), updated_at=updated_at)

    async def calibrate(  # noqa: PLR0913 - the texts, and by name what is done with them
        self,
        given: Sequence[str] | None = None,
        inducing: Sequence[str] | None = None,
        *,
        apply: bool = False,
        mine: str | None = None,
        include_decided: bool = False,
        edit: Edit = NOBODY,
    ) -> dict[str, Any]:
        """Measure every entry of the draft on harmless texts, store that, and propose actions; *apply* takes them.

        An entry whose action a person chose, or the starter words chose not to act, is measured and keeps its action,
        unless *include_decided*. One that somebody changes meanwhile is skipped. *edit*: who does it, and why this
        measurement counts though there was one on more texts, and though it is on too few for imported entries to act.
        *mine*: first enter, as `judge` under this risk, the phrases that *inducing* texts have and harmless ones lack.
        """
        texts = await self.texts(given)
        mined = await self._mine(texts, inducing or (), mine, edit.by) if mine is not None else 0
        library = await self.library(DRAFT)
        found = await self._calibrated(library, texts, inducing, edit, apply=apply, include_decided=include_decided)
        return {"mined": mined, **found}

    async def _mine(self, harmless: Sequence[str], inducing: Sequence[str], risk: str, by: str) -> int:
        phrases = await asyncio.to_thread(mining.mine, inducing, harmless)
        entries = mining.mined(phrases, risk=risk)
        for entry in entries[:1]:
            check(entry)
        added, _ = await self.store.add_all(entries, Origin.HAND, Edit(by))
        return added

    async def _calibrated(  # noqa: PLR0913 - what is measured, and by name what is done with it
        self,
        library: Library,
        texts: Sequence[str],
        inducing: Sequence[str] | None,
        edit: Edit,
        *,
        apply: bool,
        include_decided: bool,
    ) -> dict[str, Any]:
        if not texts:
            raise TextsInvalid("there are no texts to measure on: `texts` is empty")

        def work() -> tuple[calibration.Hits, list[calibration.Proposal]]:
            find = self._finder(library)
            harmless = calibration.measure(find, texts)
            bad = calibration.measure(find, inducing) if inducing else None
            return harmless, calibration.propose(library.entries, harmless, inducing=bad)

        harmless, proposals = await asyncio.to_thread(work)
        stored = await store_hits(self.store, library.entries, harmless.by_entry, harmless.texts, force=bool(edit.why))
        decided = frozenset[int]() if include_decided else await self.store.decided()
        wanted = [proposal for proposal in proposals if proposal.action is not proposal.entry.action]
        changes = [proposal for proposal in wanted if proposal.entry.id not in decided]
        acted = Written()
        if apply:
            actions = {proposal.entry.id: proposal.action for proposal in changes}
            measured = [proposal.entry for proposal in changes]
            acted = await store_actions(self.store, measured, actions, edit, texts=harmless.texts)
        await self.store.tell(many(Kind.CALIBRATED, acted.written, edit, texts=harmless.texts, measured=stored.written))
        return {
            "texts": harmless.texts,
            "entries": len(library.entries),
            "hit_something": sum(count > 0 for count in harmless.by_entry.values()),
            "applied": apply,
            "skipped": max(stored.skipped, acted.skipped),
            "kept_measurements": stored.kept,
            "kept_actions": acted.kept,
            "decided": len(wanted) - len(changes),
            "changes": dict(Counter(f"{p.entry.action.value} → {p.action.value}" for p in changes)),
            "proposals": [{**_short(p.entry), "proposed": p.action.value, "reason": p.reason} for p in changes],
        }

    async def cross_validate(
        self, harmless: Sequence[str], inducing: Sequence[str], *, mines: bool = False
    ) -> Mapping[str, Any]:
        """Return what a library that is calibrated on some of the texts does with the others.

        *mines*: with phrases mined from the first, see `calibrate`.
        """
        library, decided = await self.library(DRAFT), await self.store.decided()

        def work() -> calibration.Figures:
            find = self._finder(library)
            return calibration.cross_validate(library.entries, find, harmless, inducing, decided=decided, mines=mines)

        figures: dict[str, Any] = msgspec.to_builtins(await asyncio.to_thread(work))
        return figures

    def _finder(self, library: Library) -> calibration.Find:
        def find(text: str) -> set[int]:
            self.looked()
            return found_ids(library, text)

        return find

    async def _number(self, version: Version) -> int:
        if isinstance(version, int):
            return version
        live = (await self.versions.standing()).live
        if live is None:
            raise UnknownVersion("No version is live.")
        return live


def found_ids(library: Library, text: str) -> set[int]:
    """Return the ids of the entries in *text*, in questions as in answers."""
    return set(_ids(library, text))


def _ids(library: Library, text: str) -> Iterator[int]:
    for direction in (Direction.IN, Direction.OUT):
        try:
            yield from (hit.entry.id for hit in library.find(text, direction))
        except Flood:
            continue


def _impact(library: Library, texts: Sequence[str], direction: Direction) -> Impact:
    impact, now = Impact(), time.time()
    for text in texts:
        impact.add(text, find(library, text, direction, now))
    return impact
