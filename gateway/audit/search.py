"""Finds turns and events in the index, the newest first."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Integer, Select, and_, column, exists, false, or_, select, true
from sqlalchemy.ext.asyncio import AsyncEngine

from gateway.audit import grams, rows
from gateway.audit.tables import PARTS, audit_events, audit_terms, audit_turns
from gateway.state.sql import client_keys

UNFINISHED = "unfinished"
"""In place of an outcome: the turn is running, or was killed."""
SEARCH_SECONDS = 30.0
"""For the database to answer one query; then `SearchTooLong`."""
LOOKED_AT = 200
"""Turns that are compared with the text at a time."""
MOST_LOOKED_AT = 20_000
"""Turns that are compared for one page; then it ends early, and the next one goes on behind."""
EXPORTED = 500
"""Turns of one query of an export."""


PREFIXES = ("chatcmpl-", "cmpl-", "modr-")
"""Before the content id in a body."""


def content_id_of(text: str) -> str:
    """Return the content id of a *text* that has it as a header or a body does."""
    return next((text.removeprefix(prefix) for prefix in PREFIXES if text.startswith(prefix)), text)


class SearchTooLong(Exception):
    """The database did not answer in time."""


class QueryTooShort(Exception):
    """A text that is looked for has fewer characters than the index knows."""


class UnknownName(Exception):
    """Nothing has the name, or the id, that was said."""


class Place(NamedTuple):
    """Behind which turn a page begins."""

    at: int
    """`accepted_at`."""
    number: int

    def __str__(self) -> str:
        return f"{self.at}-{self.number}"


@dataclass(frozen=True, slots=True)
class Filter:
    """What turns have to be; None: whatever. Times are Unix milliseconds, *since* ≤ begin of the turn < *until*."""

    since: int | None = None
    until: int | None = None
    people: Sequence[str] | None = None
    user: str | None = None
    keys: Sequence[str] | None = None
    """Ids of keys."""
    model: str | None = None
    verdict: str | None = None
    """``pass``, ``judge`` or ``refuse``."""
    outcome: str | None = None
    """One of `gateway.audit.record.Outcome`, or `UNFINISHED`."""
    entry: int | None = None
    """Id of an entry of the keyword library, found in the words, around them or in the answer."""
    risk: str | None = None
    text: str | None = None
    """Part of the words or of the answer, where those are kept."""
    mark: str | None = None
    kept: str | None = None
    """``words`` or ``answer``: only turns whose text is kept."""


@dataclass(frozen=True, slots=True)
class Page:
    """Some turns, and where the next page begins; None: there is none."""

    turns: list[Any]
    """Rows of `audit_turns`."""
    after: Place | None


class Search:
    """Asks the index. Every call raises `SearchTooLong` where that takes too long."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._sqlite = engine.dialect.name == "sqlite"

    async def page(self, wanted: Filter, limit: int, after: Place | None = None) -> Page:
        """Return the next turns that fit. Raises `QueryTooShort`.

        A page may be short, or empty, and not the last: `Page.after` tells.
        """
        query = self._query(wanted)
        if wanted.text is None:
            found = await self._rows(_behind(query, after).limit(limit + 1))
            return Page(found[:limit], _place(found[limit - 1]) if len(found) > limit else None)
        folded = grams.fold(wanted.text)
        fitting: list[Any] = []
        looked = 0
        while looked < MOST_LOOKED_AT:
            found = await self._rows(_behind(query, after).limit(LOOKED_AT))
            for row in found:
                if len(fitting) == limit:
                    return Page(fitting, after)
                if grams.contains(folded, (row.words_text, row.answer_text)):
                    fitting.append(row)
                after = _place(row)
            looked += len(found)
            if len(found) < LOOKED_AT:
                return Page(fitting, None)
        return Page(fitting, after)

    async def turn(self, content_id: str) -> Any | None:
        """Return the row of one turn."""
        query = select(*_COLUMNS).where(audit_turns.c.id == content_id)
        return next(iter(await self._rows(query.order_by(audit_turns.c.accepted_at.desc()).limit(1))), None)

    async def turns_of(self, people: Sequence[str], limit: int, after: Place | None = None) -> Page:
        """Return what these ids of people said, the newest first."""
        return await self.page(Filter(people=people), limit, after)

    async def every(self, wanted: Filter, most: int | None = None) -> AsyncIterator[list[Any]]:
        """Yield all turns that fit, or the *most* newest, in parts; memory is one part.

        Turns that come meanwhile are not among them.
        """
        after: Place | None = None
        left = most
        while left is None or left > 0:
            page = await self.page(wanted, EXPORTED if left is None else min(EXPORTED, left), after)
            if page.turns:
                yield page.turns
            if page.after is None:
                return
            after = page.after
            left = None if left is None else left - len(page.turns)

    async def events(self, wanted: "EventFilter", limit: int, after: int | None = None) -> list[Any]:
        """Return what admins did, and what was done about people, the newest first; *after*: the last number seen."""
        columns = audit_events.c
        behind = columns.number < after if after is not None else true()
        query = select(audit_events).where(behind, *_of_events(wanted)).order_by(columns.number.desc())
        return await self._rows(query.limit(limit))

    async def keys(self, named: str) -> list[str]:
        """Return the ids of the keys that are meant: by id, by ``tenant/name``, or by name in whatever tenant.

        An id that the log alone knows is one, too. Raises `UnknownName`.
        """
        keys = client_keys.c
        known = (keys.id == named, keys.name == named, keys.tenant + "/" + keys.name == named)
        rows = await self._rows(select(keys.id).where(or_(*known)).order_by(keys.number))
        found = [row.id for row in rows]
        if named in found or await self._rows(select(audit_turns.c.number).where(audit_turns.c.key == named).limit(1)):
            return [named]
        if not found:
            raise UnknownName
        return found

    def _query(self, wanted: Filter) -> Select[Any]:
        return select(*_COLUMNS).where(*_plain(wanted), *self._indexed(wanted))

    def _indexed(self, wanted: Filter) -> list[ColumnElement[bool]]:
        """Return the conditions that the index of terms answers. Raises `QueryTooShort`."""
        found = []
        if wanted.entry is not None:
            found.append(self._has({grams.entry(wanted.entry)}))
        if wanted.text is not None:
            terms = grams.pairs(grams.fold(wanted.text))
            if not terms:
                raise QueryTooShort
            found.append(self._has(terms))
        return found

    def _has(self, terms: set[str]) -> ColumnElement[bool]:
        """SQLite has the terms of a turn in some rows, of which one has to have them all."""
        if not self._sqlite:
            return audit_turns.c.terms.op("@>")(sorted(map(grams.number, terms)))
        places = select(column("rowid", Integer) // PARTS).select_from(audit_terms)
        places = places.where(column(audit_terms.name).op("MATCH")(grams.match(terms)))
        return audit_turns.c.number.in_(places)

    async def _rows(self, query: Any) -> list[Any]:
        try:
            async with asyncio.timeout(SEARCH_SECONDS), self._engine.connect() as connection:
                return list((await connection.execute(query)).all())
        except TimeoutError:
            raise SearchTooLong from None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """What events have to be; None: whatever."""

    since: int | None = None
    until: int | None = None
    kind: str | None = None
    id: str | None = None
    """Of a record; what was done has two of one id."""
    by: str | None = None
    role: str | None = None
    address: str | None = None
    action: str | None = None
    target: str | None = None
    people: Sequence[str] | None = None
    """Ids of people, to whom something was done, or who were made an alias."""
    outcome: str | None = None
    """Of what an admin did: ``ok``, ``failed``, ``denied``; or `UNFINISHED`: how it ended is not on record."""
    status: int | None = None


_COLUMNS = [column for column in audit_turns.columns if column.name != "terms"]


def _plain(wanted: Filter) -> list[ColumnElement[bool]]:
    """Return the conditions on single columns."""
    turns = audit_turns.c
    found: list[ColumnElement[bool]] = []
    for name in ("model", "risk", "mark"):
        value = getattr(wanted, name)
        if value is not None:
            found.append(turns[name] == value)
    found += _within(turns.accepted_at, wanted.since, wanted.until)
    if wanted.people is not None:
        found.append(turns.person.in_(wanted.people) if wanted.people else false())
    if wanted.keys is not None:
        found.append(turns.key.in_(wanted.keys))
    if wanted.user is not None:
        found.append(turns.user == rows.user(wanted.user))
    if wanted.verdict is not None:
        found.append(turns.action.is_(None) if wanted.verdict == "pass" else turns.action == wanted.verdict)
    if wanted.outcome is not None:
        unfinished = wanted.outcome == UNFINISHED
        found.append(turns.finished_at.is_(None) if unfinished else turns.outcome == wanted.outcome)
    if wanted.kept is not None:
        found.append(turns[f"{wanted.kept}_text"].is_not(None))
    return found


def _of_events(wanted: EventFilter) -> list[ColumnElement[bool]]:
    """Return the conditions of events."""
    events = audit_events.c
    found: list[ColumnElement[bool]] = []
    for name in ("kind", "id", "by", "role", "address", "action", "target", "status"):
        value = getattr(wanted, name)
        if value is not None:
            found.append(events[name] == value)
    found += _within(events.at, wanted.since, wanted.until)
    if wanted.people is not None:
        found.append(or_(events.target.in_(wanted.people), events.alias.in_(wanted.people)))
    if wanted.outcome is not None:
        found.append(_endless() if wanted.outcome == UNFINISHED else events.outcome == wanted.outcome)
    return found


def _within(moment: ColumnElement[int], since: int | None, until: int | None) -> list[ColumnElement[bool]]:
    begins = [moment >= since] if since is not None else []
    return [*begins, moment < until] if until is not None else begins


def _endless() -> ColumnElement[bool]:
    """Return the condition of what was begun and has no end on record: its process was killed, or works on it now."""
    events, other = audit_events.c, audit_events.alias()
    ended = exists().where(other.c.id == events.id, other.c.number != events.number)
    begun = (events.kind != "applied") & events.id.is_not(None) & events.outcome.is_(None)
    return begun & ~ended


def _behind(query: Select[Any], after: Place | None) -> Select[Any]:
    turns = audit_turns.c
    query = query.order_by(turns.accepted_at.desc(), turns.number.desc())
    if after is None:
        return query
    here = and_(turns.accepted_at == after.at, turns.number < after.number)
    return query.where(turns.accepted_at <= after.at, or_(turns.accepted_at < after.at, here))


def _place(row: Any) -> Place:
    return Place(row.accepted_at, row.number)
