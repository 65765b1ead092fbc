"""The records of the audit log: what stands in the segments, as canonical JSON.

Field names are short where they come with every turn. Times are Unix milliseconds. An empty or default field is left
out. A turn has two records: `Accepted` before its first byte leaves, `Finished` before its last.
"""

from typing import Any

import msgspec

from policies.strikes import State

FORMAT = 1
"""Of the segments; a reader that meets a higher one stops."""


class Text(msgspec.Struct, frozen=True, omit_defaults=True):
    """A text, or what stands for it where it is not kept."""

    chars: int
    sha256: str
    """`gateway.audit.texts.digest`: of the masked text. Older records have that of the text as it came."""
    text: str | None = None


class Found(msgspec.Struct, frozen=True, omit_defaults=True, array_like=True):
    """One piece of evidence: `policies.verdict.Evidence`."""

    stage: str
    what: str
    start: int = 0
    end: int = 0


class Decision(msgspec.Struct, frozen=True, omit_defaults=True):
    """A verdict with its reasons."""

    action: str
    risk: str | None = None
    evidence: tuple[Found, ...] = ()


class Strike(msgspec.Struct, frozen=True, omit_defaults=True):
    """What counting an utterance did. *seq* 0: it was not counted yet, since the state server was away."""

    at: int
    seq: int = 0
    event: str = ""
    before: State = State()
    after: State = State()


class Struck(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who was suspended, so that whoever is to be told of it need not look for the begin of the turn."""

    person: str
    tenant: str = ""
    user: str = ""


class Record(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="t", kw_only=True):
    """What every record has: when it was written."""

    at: int


class Segment(Record, frozen=True, omit_defaults=True, tag="segment", kw_only=True):
    """The first record of a segment file."""

    writer: str
    format: int = FORMAT


class Torn(Record, frozen=True, omit_defaults=True, tag="torn", kw_only=True):
    """A writer that was killed in the middle of a record left these bytes, which were cut off."""

    bytes: int
    sha256: str


class Accepted(Record, frozen=True, omit_defaults=True, tag="accepted", kw_only=True):
    """A turn has begun."""

    id: str
    """The content id."""
    route: str
    key: str
    tenant: str = ""
    person: str = ""
    """Opaque id of the person; empty: nobody is named."""
    user: str = ""
    """The person's name as the client sent it."""
    address: str = ""
    model: str = ""
    replica: str = ""
    stream: bool = False
    library: str = ""
    """Version of the keyword library that judged."""
    policy: str = ""
    """Digest of the settings that decide."""
    digest: str = ""
    """Of the model or adapter, where known."""
    words: Text | None = None
    """The newest words."""
    verdict: Decision | None = None
    """None: clean."""
    counts: str = ""
    """``violation`` or ``clean``: what the strike rule is told; empty: nothing."""
    utterance: str = ""
    """Name of the normalised words; one utterance counts once."""


class Judged(Record, frozen=True, omit_defaults=True, tag="judged", kw_only=True):
    """The judge has refused an utterance after its turn was accepted; written before it is counted."""

    id: str
    verdict: Decision
    person: str = ""
    counts: str = ""
    utterance: str = ""


class Finished(Record, frozen=True, omit_defaults=True, tag="finished", kw_only=True):
    """A turn has ended."""

    id: str
    outcome: str
    status: int = 200
    finish_reason: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    first_token_ms: float | None = None
    total_ms: float | None = None
    verdict: Decision | None = None
    """Where it is another than that of `Accepted`: a judge's, or of an answer that was cut."""
    observed: tuple[Found, ...] = ()
    strike: Strike | None = None
    struck: Struck | None = None
    """Whom the strike suspended."""
    words: Text | None = None
    """The newest words with their text, where only the end of the turn showed that it is to be kept."""
    answer: Text | None = None


class Person(Record, frozen=True, omit_defaults=True, tag="person", kw_only=True):
    """What somebody did about a person; written before it is done, and `Applied` says that it was."""

    person: str
    kind: str
    """``suspend``, ``lift``, ``uphold``; ``ban``, ``unban``, ``exempt``, ``unexempt``; ``alias``, ``unalias``.

    ``suspended``: by the rule, as a replay of the log found; then *strike* says since when, and the standing."""
    strike: Strike
    """The moment; without an `id` also what it did."""
    by: str = ""
    reason: str = ""
    until: int = 0
    """Of what ends by itself; `policies.strikes.UNTIL_LIFTED`: no end is set."""
    id: str = ""
    alias: str = ""
    """The id that stands for the person."""


class Applied(Record, frozen=True, omit_defaults=True, tag="applied", kw_only=True):
    """What `Person` says is done, or cannot be done now (event ``pending``) and will be."""

    id: str
    person: str
    strike: Strike


class Admin(Record, frozen=True, omit_defaults=True, tag="admin", kw_only=True):
    """What an admin did, or read. A change has two: one before it is carried out, one that says how it ended."""

    admin: str
    """Name of the admin; ``shell:`` and the user of the operating system; empty: nobody who is known."""
    action: str
    target: str = ""
    details: dict[str, Any] = {}
    id: str = ""
    """Joins the two records."""
    role: str = ""
    address: str = ""
    outcome: str = ""
    """``ok``, ``failed`` or ``denied``; empty: it is about to be carried out, or was only read."""
    status: int = 0
    """HTTP status of the answer; 0: it did not come by HTTP, or is not answered yet."""


class Appeal(Record, frozen=True, omit_defaults=True, tag="appeal", kw_only=True):
    """A person asks staff to look at a refusal or a suspension again."""

    id: str
    key: str
    tenant: str
    person: str
    user: str
    text: str
    """Kept whatever `audit.texts` says: it was written to staff."""
    due: int
    """Until when staff are to decide, in Unix milliseconds."""
    address: str = ""
    content_id: str = ""
    found: tuple[Found, ...] = ()
    """What the keyword library noticed in the text; nothing follows from it."""


class Complaint(Record, frozen=True, omit_defaults=True, tag="complaint", kw_only=True):
    """Somebody complains about a content; *person* and *user* are empty where nobody is named."""

    id: str
    key: str
    tenant: str
    content_id: str
    kind: str
    due: int
    person: str = ""
    user: str = ""
    text: str = ""
    contact: str = ""
    address: str = ""
    found: tuple[Found, ...] = ()


AnyRecord = Segment | Torn | Accepted | Judged | Finished | Person | Applied | Admin | Appeal | Complaint

_encoder = msgspec.json.Encoder(order="deterministic")
_decoder = msgspec.json.Decoder(AnyRecord)


def encode(record: AnyRecord) -> bytes:
    """Return the bytes that are stored, hashed and never written anew."""
    return _encoder.encode(record)


def decode(data: bytes) -> AnyRecord:
    """Return the record of stored bytes. Raises `msgspec.ValidationError` or `msgspec.DecodeError`."""
    found: AnyRecord = _decoder.decode(data)
    return found
