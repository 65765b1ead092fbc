"""The keys of external engines, handed from the control process to the workers of the machine.

They stand in a file of the data directory that this user alone may read: not in the state server, which other machines
share, and not in what is published of the replicas.
"""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from backends.deployment import Deployment


def _file(data_dir: Path) -> Path:
    return data_dir / "engine-keys.json"


def write(data_dir: Path, deployments: Iterable[Deployment]) -> None:
    """Put down the keys of *deployments*, whole or not at all; before what needs them is published."""
    keys = {d.model: d.api_key.get_secret_value() for d in deployments if d.api_key is not None}
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = _file(data_dir).with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(keys, file)
    new.replace(_file(data_dir))


def read(data_dir: Path, known: Mapping[str, str]) -> Mapping[str, str]:
    """Return the keys by model; *known* where no control process has put any down."""
    try:
        found: dict[str, str] = json.loads(_file(data_dir).read_text())
    except FileNotFoundError:
        return known
    return found
