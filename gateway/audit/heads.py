"""Signed heads: how far each writer's chain had come at what time.

A chain shows what was changed by somebody who could not recompute it; a signed head shows it of anybody who has not
the key. Every second one line is appended to ``heads/<day>.jsonl``; each names the signature of the line before, so
that no line can be taken out; a line comes every ten seconds though nothing moved, so that records that are younger
than the last one by more tell of lines that were cut off. Signed is what is safe on the disk: a power cut is no cut
tail.
"""

import asyncio
import contextlib
import fcntl
import hmac
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from gateway.audit.segments import Head, began, segments, settled
from gateway.audit.writer import SHANGHAI

log = logging.getLogger(__name__)

HEADS = "heads"
KEY = "signing.key"
LOCK = "heads.lock"
"""Held by who signs: the control process while it runs, else for a moment a command of the shell."""
EVERY_SECONDS = 1.0
BEAT_SECONDS = 10.0
"""Between two lines at most: an idle gateway signs that nothing moved."""
LATE_SECONDS = 30.0
"""Behind its writing, within which a record is signed, with room for a control process that is started again."""
COMPARED_BYTES = 4096
_MARK = b',"signature":"'
_encode = msgspec.json.Encoder(order="deterministic").encode


class Unsigned(Exception):
    """A document is not signed by us, or was changed since."""


class Signer:
    """HMAC-SHA256 with the log's key: who may verify could sign, so the key belongs to few."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self.id = sha256(b"key id:" + secret).hexdigest()[:8]
        """Stands beside each signature; says nothing of the key."""

    def seal(self, document: dict[str, Any]) -> bytes:
        """Return *document* as one line of JSON that ends with its signature."""
        body = _encode({**document, "key": self.id})
        return body[:-1] + _MARK + self._sign(body).encode() + b'"}'

    def open(self, line: bytes) -> dict[str, Any]:
        """Return what `seal` was given, with its ``key`` and ``signature``. Raises `Unsigned`."""
        start, mark, end = line.rpartition(_MARK)
        try:
            document: dict[str, Any] = msgspec.json.decode(line)
        except msgspec.DecodeError:
            raise Unsigned("it is no JSON") from None
        if not mark or not isinstance(document, dict):
            raise Unsigned("it has no signature")
        if document.get("key") != self.id:
            raise Unsigned(f"it is signed with another key ({document.get('key')}, ours is {self.id})")
        if not hmac.compare_digest(self._sign(start + b"}").encode() + b'"}', end):
            raise Unsigned("it was changed, or signed by somebody else")
        return document

    def _sign(self, body: bytes) -> str:
        return hmac.new(self._secret, body, sha256).hexdigest()


def signer(root: Path, secret: str | None, *, make: bool = False) -> Signer | None:
    """Return who signs: with *secret*, else with the key in *root*; *make* one there, or None. Raises `OSError`."""
    if secret is not None:
        return Signer(secret.encode())
    path = root / KEY
    if make and not path.exists():
        draft = root / f".{KEY}-{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        os.write(descriptor, secrets.token_hex(32).encode())
        os.fsync(descriptor)
        os.close(descriptor)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return Signer(path.read_bytes().strip()) if path.exists() else None


def writers(root: Path) -> list[Path]:
    """Return the directories of all writers under *root*."""
    return sorted(path for path in root.glob("*-*") if path.is_dir())


def lines(source: Path) -> Iterator[tuple[Path, int, bytes]]:
    """Yield file, number and text of each whole line of the signed heads in a directory or file, the oldest first."""
    for path in [source] if source.is_file() else sorted(source.glob("*.jsonl")):
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.endswith(b"\n"):
                    yield path, number, line[:-1]


@contextlib.contextmanager
def alone(root: Path) -> Iterator[bool]:
    """Within the block nobody else signs, where it says so; else somebody does. Raises `OSError`."""
    with (root / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def sign(root: Path, secret: str | None) -> None:
    """Sign what a command of the shell has put on record, where no control process does. Raises `OSError`."""
    signing = signer(root, secret, make=True)
    with alone(root) as free:
        if free and signing is not None:
            Exporter(root, signing).step()


class Exporter:
    """Appends the signed heads of all writers under *root*; the control process runs it, alone.

    *copy* is a directory, best on another machine, where the same lines go: who can write here cannot cut them there.
    *tell* is told each second how many of the two, signing and copying, fail.
    """

    def __init__(
        self,
        root: Path,
        signing: Signer,
        copy: Path | None = None,
        clock: Callable[[], float] = time.time,
        tell: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.directory = root / HEADS
        self.failed: str | None = None
        """Why the last try failed."""
        self.copy_failed: str | None = None
        self._root = root
        self._signer = signing
        self._copy = copy
        self._clock = clock
        self._tell = tell
        self._signed: dict[str, int] = {}
        self._known: set[str] = set()
        """Writers that the newest file of lines names."""
        self._refused: set[str] = set()
        self._is_alone = False
        """Whether nobody else can sign."""
        self._day = ""
        self._newest = 0
        """When the last line was signed, Unix milliseconds; 0: there is none."""
        self._previous: str | None = None
        self._copied: dict[str, int] = {}

    async def run(self) -> None:
        """Export every second until cancelled; a copy that hangs holds up nothing but itself."""
        copying: asyncio.Task[None] | None = None
        with contextlib.ExitStack() as held:
            while True:
                await asyncio.to_thread(self._try_step, held)
                if self._copy is not None and (copying is None or copying.done()):
                    copying = asyncio.create_task(asyncio.to_thread(self._try_copy))
                self._tell((self.failed is not None) + (self.copy_failed is not None))
                await asyncio.sleep(EVERY_SECONDS)

    def last(self) -> None:
        """Sign what came since `run` has ended: a gateway that stops in order leaves nothing unsigned."""
        self._previous = None  # a command of the shell may have signed meanwhile
        with contextlib.ExitStack() as held:
            self._is_alone = False
            self._try_step(held)

    def step(self) -> bool:
        """Append one line where a head has moved, or the last one is old; return whether. Raises `OSError`."""
        now = self._clock()
        day = datetime.fromtimestamp(now, UTC).astimezone(SHANGHAI).date().isoformat()
        if self._previous is None:
            self._resume()
        if day != self._day:
            self._signed = {}  # each day's file names all writers: that of an older day may be dropped
        found = {path.name: head for path in writers(self._root) if (head := settled(path)) is not None}
        moved = {
            name: head for name, head in found.items() if head.seq > self._signed.get(name, 0) and self._vouched(name)
        }
        if not (moved or (self._newest and now * 1000 >= self._newest + BEAT_SECONDS * 1000)):
            return False
        heads = {name: [head.seq, head.hash.hex()] for name, head in moved.items()}
        line = self._signer.seal({"at": int(now * 1000), "heads": heads, "previous": self._previous})
        _append(self.directory / f"{day}.jsonl", line + b"\n")
        self._previous, self._newest = _signature(line), int(now * 1000)
        self._day = day
        self._known |= moved.keys()
        self._signed.update({name: head.seq for name, head in moved.items()})
        return True

    def _resume(self) -> None:
        """Find the last line, and whom the newest file names."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        _cut_half_line(self.directory)
        last = last_line(self.directory)
        if last:
            newest = max(self.directory.glob("*.jsonl"))
            with contextlib.suppress(msgspec.DecodeError, LookupError, TypeError, ValueError):  # `verify` tells
                self._newest = int(msgspec.json.decode(last)["at"])
                self._known |= {name for _, _, line in lines(newest) for name in msgspec.json.decode(line)["heads"]}
        self._previous = _signature(last) if last else ""

    def _vouched(self, name: str) -> bool:
        """Return whether a writer may be signed: one that no line names begins behind the last line.

        Else somebody who has the disk but not the key could have his records of former days signed.
        """
        if name in self._known or not self._newest:
            return True
        directory = self._root / name
        made = next((began(directory, first) for first in segments(directory)), float("inf"))
        if made * 1000 >= self._newest - LATE_SECONDS * 1000:
            return True
        if name not in self._refused:
            self._refused.add(name)
            log.error("audit: %s is not signed: its records are older than it, somebody has put it there", name)
        return False

    def copy(self) -> None:
        """Bring the copy to where the lines are; what it missed while it was away is made up for. Raises `OSError`."""
        if self._copy is None:
            return
        for path in sorted(self.directory.glob("*.jsonl")):
            if self._copied.get(path.name) == path.stat().st_size:
                continue
            target = self._copy / path.name
            have = target.stat().st_size if target.exists() else 0
            data = path.read_bytes() if path.name not in self._copied else _rest(path, have)
            if path.name not in self._copied:
                if have and data[max(0, have - COMPARED_BYTES) : have] != _rest(target, max(0, have - COMPARED_BYTES)):
                    raise OSError(f"{target} holds other lines than {path}: one of them was changed")
                data = data[have:]
            if data:
                _append(target, data)
            self._copied[path.name] = have + len(data)

    def _try_step(self, held: contextlib.ExitStack) -> None:
        """Take a step, as soon as no command of the shell signs; the lock goes to *held*."""
        try:
            self._is_alone = self._is_alone or held.enter_context(alone(self._root))
            if self._is_alone:
                self.step()
        except OSError as error:
            if self.failed is None:
                log.error("audit: heads cannot be signed: %s", error)  # noqa: TRY400 - its place says nothing
            self.failed = str(error)
            self._previous = None  # half a line may stand there
        else:
            self.failed = None

    def _try_copy(self) -> None:
        try:
            self.copy()
        except OSError as error:
            if self.copy_failed is None:
                log.error("audit.heads_copy: %s", error)  # noqa: TRY400 - as above
            self.copy_failed = str(error)
        else:
            self.copy_failed = None


def signed_heads(document: dict[str, Any]) -> dict[str, Head]:
    """Return the heads in an opened line."""
    return {name: Head(seq, bytes.fromhex(digest)) for name, (seq, digest) in document["heads"].items()}


def _signature(line: bytes) -> str:
    return line.rpartition(_MARK)[2][:-2].decode()


def last_line(directory: Path) -> bytes:
    """Return the last whole line of the signed heads in *directory*, or nothing."""
    for path in sorted(directory.glob("*.jsonl"), reverse=True):
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1].splitlines()
        if whole:
            return whole[-1]
    return b""


def _cut_half_line(directory: Path) -> None:
    """Cut off what a crash left behind the last whole line."""
    for path in sorted(directory.glob("*.jsonl"))[-1:]:
        data = path.read_bytes()
        if not data.endswith(b"\n"):
            os.truncate(path, data.rfind(b"\n") + 1)


def _rest(path: Path, offset: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read()


def _append(path: Path, data: bytes) -> None:
    """Append *data* and have it on the disk. Raises `OSError`."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if os.write(descriptor, data) < len(data):
            raise OSError(f"{path}: there is no room")
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
