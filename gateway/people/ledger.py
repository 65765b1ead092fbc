"""Standings in Redis: one script, atomic and on the server's clock; the same for all workers and nodes."""

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import msgspec
from redis.asyncio import Redis

from policies.strikes import GOOD, Rule, Seen, State

CHANNEL = "gw:standings"
"""Where every change is announced: ``person row|today|day|until|level|last|why|at|seq``."""
_SLOT = "gw:{standings}"
"""All keys lie in one slot of a cluster: only violations, and what a person in trouble says, are written at all."""
NOTABLE = f"{_SLOT}:notable"
SEQUENCE = f"{_SLOT}:seq"
EPOCH = f"{_SLOT}:epoch"
KEPT_SECONDS = 400 * 86_400
"""Of a person who says nothing bad; longer than any level lives, and refreshed by each change."""
ENTRIES = 256
"""Of one person, the newest: the rule lets some ten changes a day through, and a log may be so far behind."""
SCRIPT = (Path(__file__).parent / "strike.lua").read_text(encoding="utf-8")
_NO_EPOCH, _CHANGED = -1, -2
_FIELDS = State.__struct_fields__


class Incomplete(Exception):
    """The standings are not all there: the state server is new or has lost them, and they are being rebuilt."""


class Changed(Exception):
    """The person's standing was changed by somebody else in the meantime."""


class Stamped(msgspec.Struct, frozen=True):
    """A standing with the number of its last change; 0: it was never changed."""

    state: State = GOOD
    seq: int = 0


class Entry(NamedTuple):
    """Something that was counted, as the state server remembers it."""

    kind: str
    """``violation``, ``clean``, ``suspend``, ``lift`` or ``uphold``."""
    at: int
    """The moment at which it counts, Unix ms."""
    until: int = 0
    utterance: str = ""
    seq: int = 0
    """The number of the change that it was; 0: a rebuild has counted it."""
    before: int = 0
    """The number of the person's change before that one; 0: there was none, or a rebuild put the entry here."""


class Account(NamedTuple):
    """What the state server knows of a person, all of one moment."""

    standing: Stamped
    rebuilt: int
    """Number of the last change that was a rebuild; 0: there was none."""
    entries: Mapping[str, Entry]
    """What was counted, by the id that it has on record: the newest `ENTRIES`."""


@dataclass(frozen=True, slots=True)
class Change:
    """What the script did, at which moment (Unix ms) and as which change of all."""

    seq: int
    at: int
    event: str
    before: Stamped
    after: Stamped


def unpacked(packed: bytes) -> Stamped:
    """Return the standing that the script wrote as numbers between bars."""
    *numbers, seq = (int(number) for number in packed.split(b"|"))
    return Stamped(State(*numbers), seq)


def _packed(stamped: Stamped) -> str:
    """Return a standing as the script writes it."""
    return "|".join(str(number) for number in (*msgspec.structs.astuple(stamped.state), stamped.seq))


def _words(person: str, utterance: str) -> str:
    """Return the key of the mark that an utterance leaves."""
    return f"{_SLOT}:u:{person}:{utterance}"


def _mark(seen: Seen) -> str:
    return f"{seen.first}|{seen.last}|{int(seen.violation)}"


def _counted(person: str) -> str:
    """Return the key of what was counted of a person."""
    return f"{_SLOT}:c:{person}"


def _operation(appeal: str) -> str:
    """Return the key under which stands what an appeal that was upheld did."""
    return f"{_SLOT}:o:{appeal}"


def _entry(packed: bytes) -> Entry:
    """Return an entry as the script writes it."""
    seq, before, at, kind, until, utterance = packed.decode().split("|", 5)
    return Entry(kind, int(at), int(until), utterance, int(seq), int(before))


def _as_written(entry: Entry) -> str:
    return f"{entry.seq}|{entry.before}|{entry.at}|{entry.kind}|{entry.until}|{entry.utterance}"


def _done(change: Change) -> str:
    return f"{change.seq} {change.at} {_packed(change.before)} {_packed(change.after)}"


class Ledger:
    """The standings of all people. Every call is one round trip; raises `RedisError` where that fails."""

    def __init__(self, redis: "Redis", rule: Rule) -> None:
        self.redis = redis
        self.rule = rule
        self._script = redis.register_script(SCRIPT)

    @property
    def seen_ms(self) -> int:
        """For how long an utterance is known: twice the time in which the same words are one, by any clock."""
        return 2 * max(self.rule.same_ms, 1_000)

    async def count(
        self, person: str, utterance: str, *, violation: bool, at: int | None = None, name: str = ""
    ) -> Change:
        """Count an utterance; see `policies.strikes.Record.count`. *at* replaces the server's clock.

        *name*: the id of its turn on record. What has one is remembered, and is counted once, whoever asks again.
        Raises `Incomplete`.
        """
        words, argument = _words(person, utterance), "1" if violation else "0"
        return await self._run("count", person, words, argument, at, name=name, utterance=utterance)

    async def lift(self, person: str, at: int | None = None, seq: int | None = None, name: str = "") -> Change:
        """End a suspension. Raises as `suspend`."""
        return await self._run("lift", person, at=at, expected=seq, name=name)

    async def uphold(self, person: str, appeal: str, at: int | None = None, seq: int | None = None) -> Change:
        """End a suspension that was a mistake: its level goes back, too.

        Once for each *appeal*: again it changes nothing, and returns what was done then. Raises as `suspend`.
        """
        return await self._run("uphold", person, key=_operation(appeal), at=at, expected=seq, name=appeal)

    async def suspend(
        self, person: str, until: int, at: int | None = None, seq: int | None = None, name: str = ""
    ) -> Change:
        """Suspend by hand, *until* then (Unix ms, or `UNTIL_LIFTED`); *name*: the id of the measure, as in `count`.

        Raises `Incomplete`, and `Changed` where the last change is not number *seq* any more.
        """
        return await self._run("suspend", person, argument=str(until), at=at, expected=seq, name=name)

    async def look(self, person: str) -> Stamped:
        """Return a person's standing. Raises `Incomplete`."""
        return (await self._run("look", person)).after

    async def set(  # noqa: PLR0913 - all that is set in one step
        self,
        person: str,
        state: State,
        seq: int | None = None,
        *,
        seen: Mapping[str, Seen] = MappingProxyType({}),
        upheld: Mapping[str, Change] = MappingProxyType({}),
        entries: Mapping[str, Entry] = MappingProxyType({}),
    ) -> Change:
        """Put a standing that was rebuilt in place of what is there, with what its repeats are known by.

        *seen*: utterances of the last `seen_ms`; *upheld*: what each appeal did; *entries*: what it was made of and
        was not remembered, so that another rebuild knows of it. Raises `Changed` where the last change
        is not number *seq* any more.
        """
        marks = [(_words(person, words), _mark(one), self.seen_ms) for words, one in seen.items()]
        marks += [(_operation(appeal), _done(one), KEPT_SECONDS * 1_000) for appeal, one in upheld.items()]
        packed = {name: _as_written(one) for name, one in entries.items()}
        argument = msgspec.json.encode({"state": state, "entries": packed}).decode()
        return await self._run("set", person, argument=argument, expected=seq, marks=marks)

    async def account(self, person: str) -> Account:
        """Return a person's standing with what it was made of; also while not all standings are there."""
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.hmget(f"{_SLOT}:p:{person}", [*_FIELDS, "seq", "set"])
            pipeline.hgetall(_counted(person))
            row, entries = await pipeline.execute()
        *numbers, seq, rebuilt = (int(number or 0) for number in row)
        return Account(
            Stamped(State(*numbers), seq), rebuilt, {name.decode(): _entry(one) for name, one in entries.items()}
        )

    async def complete(self) -> bool:
        """Return whether all standings are there."""
        return bool(await self.redis.exists(EPOCH))

    async def epoch(self) -> str | None:
        """Return the name of this life of the state server; None: not all standings are there."""
        found = cast("bytes | None", await self.redis.get(EPOCH))
        return None if found is None else found.decode()

    async def claim(self, seconds: int) -> bool:
        """Return whether it is up to this process, for so long, to rebuild all standings."""
        return bool(await self.redis.set(f"{_SLOT}:rebuilding", "1", nx=True, ex=seconds))

    async def open(self, epoch: str) -> None:
        """Say that all standings are there from now on; *epoch* names this life of the state server."""
        await self.redis.set(EPOCH, epoch)

    async def beyond(self, number: int) -> None:
        """Have every change from now on have a number above *number*."""
        missing = number - int(await self.redis.get(SEQUENCE) or 0)
        if missing > 0:
            await self.redis.incrby(SEQUENCE, missing)

    async def sequence(self) -> int:
        """Return the number of the last change. Raises `Incomplete`."""
        number, epoch = await cast("Awaitable[Any]", self.redis.mget(SEQUENCE, EPOCH))
        if epoch is None:
            raise Incomplete
        return int(number or 0)

    async def notable(self) -> dict[str, Stamped]:
        """Return who has violations in a row or is suspended."""
        found: dict[bytes, bytes] = await cast("Awaitable[Any]", self.redis.hgetall(NOTABLE))
        return {person.decode(): unpacked(packed) for person, packed in found.items()}

    async def noted(self, people: Sequence[str]) -> dict[str, Stamped]:
        """Return who of *people* has violations in a row or is suspended: one command, however many they are.

        Raises `Incomplete`.
        """
        async with self.redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(EPOCH)
            pipeline.hmget(NOTABLE, list(people))
            complete, rows = await pipeline.execute()
        if not complete:
            raise Incomplete
        return {person: unpacked(row) for person, row in zip(people, rows, strict=True) if row is not None}

    async def among(self, people: Sequence[str]) -> dict[str, Stamped]:
        """Return the standing of each of *people*. Raises `Incomplete`."""
        async with self.redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(EPOCH)
            for person in people:
                pipeline.hmget(f"{_SLOT}:p:{person}", [*_FIELDS, "seq"])
            complete, *rows = await pipeline.execute()
        if not complete:
            raise Incomplete
        found = {}
        for person, row in zip(people, rows, strict=True):
            *numbers, seq = (int(number or 0) for number in row)
            found[person] = Stamped(State(*numbers), seq)
        return found

    async def _run(  # noqa: PLR0913, PLR0917 - the arguments of the script
        self,
        what: str,
        person: str,
        key: str = "",
        argument: str = "",
        at: int | None = None,
        expected: int | None = None,
        marks: Sequence[tuple[str, str, int]] = (),
        name: str = "",
        utterance: str = "",
    ) -> Change:
        rule = self.rule
        keys = [
            f"{_SLOT}:p:{person}",
            key or f"{_SLOT}:none",
            NOTABLE,
            SEQUENCE,
            EPOCH,
            _counted(person),
            *(name for name, _, _ in marks),
        ]
        given: list[Any] = [what, person, "" if at is None else at, argument, "" if expected is None else expected]
        given += [rule.consecutive, rule.daily, ",".join(map(str, rule.suspensions_ms)), rule.decay_ms]
        given += [rule.same_ms, self.seen_ms, rule.same_most_ms, rule.utc_offset_ms, CHANNEL, KEPT_SECONDS]
        given += [name, utterance, ENTRIES]
        given += [part for _, value, milliseconds in marks for part in (value, milliseconds)]
        found: list[Any] = await self._script(keys, given)
        if found[0] == _NO_EPOCH:
            raise Incomplete
        if found[0] == _CHANGED:
            raise Changed
        seq, now, event, before, after = found
        return Change(seq, now, event.decode(), unpacked(before), unpacked(after))
