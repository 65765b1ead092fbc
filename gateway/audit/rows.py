"""From records to the rows of the index, pure."""

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.audit import grams
from gateway.audit.entries import Accepted, Admin, Applied, Decision, Finished, Found, Judged, Person, Strike, Text
from gateway.audit.sinks import Heard
from gateway.audit.tables import audit_events, audit_turns

KEYWORDS = "keywords."
"""Begins the name of each stage whose evidence names an entry."""
LARGEST = 2**53
"""An engine may report any number of tokens."""
LONGEST_ID = 18
"""Digits of an entry's id."""
LONGEST_USER = 512
"""Characters of a client's name for a person that are compared: longer ones fit into no index."""

Row = dict[str, Any]
BLANK: Row = dict.fromkeys(column.name for column in audit_turns.columns if column.name != "terms")
NO_EVENT: Row = dict.fromkeys(column.name for column in audit_events.columns if column.name != "number")


def clean(text: str) -> str | None:
    """Return *text* as every database takes it, which is without NUL; None where there is none."""
    return text.replace("\0", "\ufffd") or None


def bounded(number: int) -> int:
    """Return *number*, or the nearest one that every reader holds."""
    return max(-LARGEST, min(number, LARGEST))


def user(text: str) -> str | None:
    """Return a client's name for a person as it is compared."""
    return clean(text[:LONGEST_USER])


def began(heard: Heard, record: Accepted) -> Row:
    """Return the row of a turn that has begun, without its number."""
    return {
        **_empty(heard, record.id, record.at),
        "route": clean(record.route),
        "key": clean(record.key),
        "tenant": clean(record.tenant),
        "person": clean(record.person),
        "user": user(record.user),
        "address": clean(record.address),
        "model": clean(record.model),
        "replica": clean(record.replica),
        "stream": record.stream,
        "library": clean(record.library),
        "policy": clean(record.policy),
        "digest": clean(record.digest),
        "counts": clean(record.counts),
        **_text("words", record.words),
        **_verdict(record.verdict),
    }


def lost(heard: Heard, record: Judged | Finished) -> Row:
    """Return the row of a turn whose begin is not in the log any more: it is told by its end alone."""
    return {**_empty(heard, record.id, record.at), **changed(record)}


def changed(record: Judged | Finished) -> Row:
    """Return what a later record of a turn changes in its row."""
    if isinstance(record, Judged):
        return {**_verdict(record.verdict), "counts": clean(record.counts)}
    strike = record.strike
    return {
        "finished_at": record.at,
        "outcome": record.outcome,
        "status": max(0, min(record.status, 999)),
        "finish_reason": clean(record.finish_reason),
        "prompt_tokens": bounded(record.prompt_tokens),
        "completion_tokens": bounded(record.completion_tokens),
        "first_token_ms": record.first_token_ms,
        "total_ms": record.total_ms,
        "observed": _evidence(record.observed),
        **_text("answer", record.answer),
        **(_text("words", record.words) if record.words is not None else {}),
        **(_verdict(record.verdict) if record.verdict is not None else {}),
        **(_strike(strike) if strike is not None else {}),
    }


def terms(row: Row) -> set[str]:
    """Return what a turn is found by, as far as *row*, or a change of it, says."""
    found: set[str] = set()
    for name in ("words_text", "answer_text"):
        text = row.get(name)
        if text is not None:
            found |= grams.pairs(grams.fold(text))
    for one in [*(row.get("evidence") or ()), *(row.get("observed") or ())]:
        if one["stage"].startswith(KEYWORDS) and _is_id(one["what"]):
            found.add(grams.entry(one["what"]))
    return found


def _is_id(what: str) -> bool:
    return what.isascii() and what.isdecimal() and len(what) <= LONGEST_ID


def event(heard: Heard) -> Row | None:
    """Return the row of what an admin did, or of what was done about a person; None: it is neither."""
    at = heard.record.at
    match heard.record:
        case Admin() as one:
            what, more = ("admin", one.admin, one.action, one.target), {"details": one.details, **_asked(one)}
        case Person(strike=strike) as one:
            said = {"reason": one.reason, "until": one.until, "strike": msgspec.to_builtins(strike)}
            what, more = ("person", one.by, one.kind, one.person), {"details": said, "alias": clean(one.alias)}
        case Applied(strike=strike) as one:
            at = strike.at or at  # one that is on record twice, after a kill, is at one moment
            said = {"id": one.id, "strike": msgspec.to_builtins(strike)}
            what, more = ("applied", "", strike.event, one.person), {"details": said}
        case _:
            return None
    names = zip(("kind", "by", "action", "target"), what, strict=True)
    place = {"writer": heard.writer, "seq": heard.seq, "at": bounded(at), "id": clean(one.id)}
    return {**NO_EVENT, **place, **{name: clean(text) or "" for name, text in names}, **more}


def _asked(one: Admin) -> Row:
    """Return in which role and from where something was asked, and how it ended."""
    status = max(0, min(one.status, 999)) or None
    return {"role": clean(one.role), "address": clean(one.address), "outcome": clean(one.outcome), "status": status}


def _empty(heard: Heard, turn: str, at: int) -> Row:
    """All rows name the same columns, so that one statement writes many."""
    return {**BLANK, "writer": heard.writer, "seq": heard.seq, "id": clean(turn) or "", "accepted_at": bounded(at)}


def _text(name: str, text: Text | None) -> Row:
    if text is None:
        return {f"{name}_chars": None, f"{name}_sha256": None, f"{name}_text": None}
    kept = None if text.text is None else text.text.replace("\0", "\ufffd")
    return {f"{name}_chars": text.chars, f"{name}_sha256": text.sha256, f"{name}_text": kept}


def _verdict(decision: Decision | None) -> Row:
    if decision is None:
        return {"action": None, "risk": None, "evidence": None}
    action = None if decision.action == "pass" else decision.action
    return {"action": action, "risk": decision.risk, "evidence": _evidence(decision.evidence)}


def _evidence(found: Sequence[Found]) -> list[Row] | None:
    return [{"stage": f.stage, "what": f.what, "start": f.start, "end": f.end} for f in found] or None


def _strike(strike: Strike) -> Row:
    event = clean(strike.event)
    return {"strike_event": event, "strike_at": strike.at, "strike": msgspec.to_builtins(strike)}
