"""Checks the whole log: each writer's chain, and the signed heads against it. Streams: memory does not grow with it."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from heapq import merge
from pathlib import Path
from typing import Any

import msgspec

from gateway.audit.heads import HEADS, LATE_SECONDS, Signer, Unsigned, last_line, lines, signed_heads, writers
from gateway.audit.retention import dropped
from gateway.audit.segments import began, segment, segments
from gateway.audit.slots import NODE
from gateway.audit.walk import Checked, Fault, Line, Walk

UNSIGNED_SECONDS = 60.0
"""Within which a gateway that runs has made its key and signed its first heads."""


@dataclass
class Report:
    """What `verify` found."""

    writers: dict[str, Checked] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    head_lines: int = 0
    signed_until: int | None = None
    """When the newest line was signed, Unix ms: what was done later may have been cut off."""
    signatures: bool = False
    """Whether they were checked: there is a key."""

    @property
    def ok(self) -> bool:
        """Whether everything is as it was written."""
        return not self.faults

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {"ok": self.ok, **asdict(self)}


def verify(root: Path, signing: Signer | None, heads: tuple[Path, ...]) -> Report:
    """Check all writers under *root* against the signed lines in *heads*: the log's own directory, and copies.

    A copy may be a directory or a file of lines. Safe beside a gateway that writes, and beside retention. Blocks for
    about 5 µs a record. Raises `OSError`.
    """
    report = Report(signatures=signing is not None)
    walks = {path.name: Walk(path, signing) for path in writers(root)}
    for walk in walks.values():
        _check_dropped(walk, signing, report)
    _check_key(root, signing, heads, report)
    absent: set[str] = set()
    ends: dict[Path, int] = {}
    for document in merge(*(_opened(path, signing, report, ends) for path in heads), key=lambda one: one["at"]):
        line = _line(document, report.signed_until)
        report.signed_until = max(line.at, report.signed_until or 0)
        for name, head in signed_heads(document).items():
            if name in walks:
                walks[name].compare(head, line)
            elif name not in absent:
                absent.add(name)
                report.faults.append(Fault("writer", f"is gone: record {head.seq} of it was signed", name))
    _check_copies(root / HEADS, heads, ends, report)
    for name, walk in walks.items():
        walk.finish(report.signed_until, _now())
        report.writers[name] = walk.found
        if walk.fault is not None:
            report.faults.append(walk.fault)
    return report


def _now() -> int:
    return time.time_ns() // 1_000_000


def _line(document: dict[str, Any], newest: int | None) -> Line:
    """Return when a line was written. Before the very first one there was nothing that should have been signed."""
    at = document["at"]
    if newest is None:
        return Line(at, at if document["previous"] == "" else None)
    return Line(at, min(newest, at))


def _is_older(root: Path, seconds: float) -> bool:
    """Return whether there are records under *root* that must have been signed for since."""
    firsts = [(path, first) for path in writers(root) for first in segments(path)[:1]]
    return any(
        time.time() - min(began(path, first), segment(path, first).stat().st_mtime) > seconds for path, first in firsts
    )


def _check_key(root: Path, signing: Signer | None, heads: tuple[Path, ...], report: Report) -> None:
    """See that there is what a gateway makes at its start: a name, writers, a key, lines."""
    signed = any(next(lines(path), None) for path in heads)
    older = _is_older(root, UNSIGNED_SECONDS)
    if not writers(root) and not signed:
        report.faults.append(Fault("writer", "there is none: the log was removed"))
    elif not (root / NODE).exists():
        text = "the file that names the writers here is gone: who starts next is another gateway to the database"
        report.faults.append(Fault("writer", text, file=str(root / NODE)))
    if signing is None and (signed or older):
        report.faults.append(Fault("line", "there is no key: no signature can be checked"))
    if not signed and older and heads:
        report.faults.append(Fault("line", "there are records and not one signed head: they were removed"))


def _check_copies(own: Path, heads: tuple[Path, ...], ends: dict[Path, int], report: Report) -> None:
    """See that each copy is there, and knows no line that is gone from the log's *own*."""
    for path in heads:
        if path == own:
            continue
        if path not in ends:
            if own in ends and _now() - _first_at(own) > LATE_SECONDS * 1000:
                report.faults.append(Fault("copy", "this copy of the heads is not there, or empty", file=str(path)))
        elif ends[path] > ends.get(own, 0) and ends[path] > _last_at(own):  # it may have grown meanwhile
            text = "this copy of the heads has lines that are gone from the log's own"
            report.faults.append(Fault("copy", text, file=str(path)))


def _first_at(directory: Path) -> int:
    return _at(next((line for _, _, line in lines(directory)), b""))


def _last_at(directory: Path) -> int:
    return _at(last_line(directory))


def _at(line: bytes) -> int:
    """Return when a line was signed, by its own account; 0: that cannot be read."""
    try:
        return int(msgspec.json.decode(line)["at"])
    except (msgspec.DecodeError, KeyError, TypeError, ValueError):
        return 0


def _check_dropped(walk: Walk, signing: Signer | None, report: Report) -> None:
    try:
        dropped(walk.directory, signing)
    except (Unsigned, msgspec.DecodeError, KeyError, ValueError) as error:
        text = f"the note of what retention dropped cannot be believed: {error}"
        report.faults.append(Fault("dropped", text, walk.directory.name))


def _opened(path: Path, signing: Signer | None, report: Report, ends: dict[Path, int]) -> Iterator[dict[str, Any]]:
    """Yield the signed documents of *path*; report each line that is not as it was signed, one for each file.

    *ends* has, by path, when its newest line was signed.
    """
    previous: str | None = None
    blamed: Path | None = None
    for file, number, line in lines(path):
        report.head_lines += 1
        ends.setdefault(path, 0)
        try:
            document = signing.open(line) if signing is not None else msgspec.json.decode(line)
            signed_heads(document)  # without a key it is anybody's
            signature, at = document["signature"], int(document["at"])
            why = "" if previous in {None, document["previous"]} else "does not follow the line before it"
        except (Unsigned, msgspec.DecodeError, KeyError, ValueError, TypeError, AttributeError) as error:
            why = f"cannot be believed: {error}"
            previous = None
        else:
            previous = signature
            ends[path] = max(ends[path], at)
            yield document
        if why and blamed != file:
            blamed = file
            report.faults.append(Fault("line", f"line {number} of the signed heads {why}", file=str(file), seq=number))
