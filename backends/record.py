"""What a shim writes of its engine, as an owner to come reads it: who runs, on which port, and how it ended."""

from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from backends.engines.family import Command
from backends.identity import Identity
from backends.shim import RECORD_VERSION, boot


def folder(replica: str) -> str:
    """Return the name of the run directory of *replica*, under that of all."""
    return "".join(c if c.isalnum() or c in "-._" else "_" for c in replica)


class About(msgspec.Struct, frozen=True):
    """What the owner said when it started the engine."""

    replica: str = ""
    port: int = 0
    fingerprint: str = ""
    host: str = "127.0.0.1"


class Record(msgspec.Struct, frozen=True):
    """``process.json``. Fields that a later version adds are passed over."""

    version: int
    boot: str
    shim: Identity
    engine: Identity
    started_at: float
    """Unix time."""
    outlives: bool
    """Whether the engine goes on without an owner; one that does not is ending already."""
    grace_seconds: float = 10.0
    about: About = About()


class End(msgspec.Struct, frozen=True):
    """``exit.json``."""

    code: int | None
    signal: int | None
    ended_at: float
    """Unix time."""

    @property
    def status(self) -> int:
        """The exit status, 128 + n for a signal n."""
        return 128 + self.signal if self.signal is not None else self.code or 0


def read(run_dir: Path) -> Record | None:
    """Return what process.json in *run_dir* says of this run of the machine; None where nothing that is understood."""
    try:
        found = msgspec.json.decode((run_dir / "process.json").read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return None
    return found if found.version == RECORD_VERSION and found.boot == boot() else None


def end(run_dir: Path) -> End | None:
    """Return how the engine ended; None: nobody could write it down."""
    try:
        return msgspec.json.decode((run_dir / "exit.json").read_bytes(), type=End)
    except (OSError, msgspec.DecodeError):
        return None


def fingerprint(command: Command) -> str:
    """Return what stays the same as long as an engine would be started just so: of its argv and environment."""
    environment: Mapping[str, str] = dict(sorted(command.environment.items()))
    return sha256(msgspec.json.encode([command.argv, environment])).hexdigest()[:32]
