"""How the processes write their log: one line an event on stderr, never a word of a prompt."""

import logging
import sys


def configure() -> None:
    """Log to stderr with time, level and process."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s[%(process)d]: %(message)s",
    )
    for noisy in ("uvicorn.error", "httpx", "alembic.runtime.migration"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
