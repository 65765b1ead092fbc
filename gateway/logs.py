"""How the processes write their log: one line an event on stderr, never a word of a prompt."""

import logging
import sys
from typing import TextIO

FORMAT = "%(asctime)s %(levelname)s %(name)s[%(process)d]: %(message)s"
CLEAR_LINE = "\r\x1b[K"


def configure() -> None:
    """Log to stderr with time, level and process."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.INFO,
        format=line_format(sys.stderr),
    )
    for noisy in ("uvicorn.error", "httpx", "alembic.runtime.migration"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def line_format(stream: TextIO) -> str:
    """Return the format of a line; on a terminal it first clears the progress that any of the processes may show."""
    return f"{CLEAR_LINE if stream.isatty() else ''}{FORMAT}"
