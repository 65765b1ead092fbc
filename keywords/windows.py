"""Long texts, looked through a window at a time, so that others get their turn between."""

import re
from collections.abc import Iterator

WINDOW = 20_000
"""Characters that are looked through before others get their turn."""
MARGIN = 64
"""More than the fewest characters of any code: a payload that begins in a window is recognised there."""

Step = tuple[str, str]
"""Code and plain text of a payload, or `STEP`."""
STEP = ("", "")
"""Instead of a payload: some work is done."""


def runs(text: str, pattern: re.Pattern[str]) -> Iterator[re.Match[str] | None]:
    """Yield each match of *pattern*, whole however long, and None behind each window."""
    start = 0
    while start < len(text):
        end = start + WINDOW
        for match in pattern.finditer(text, start, end + MARGIN):
            if match.end() < end:
                yield match
            elif match.start() < end and (whole := pattern.match(text, match.start())):
                yield whole
                end = whole.end()
                break
        start = end
        yield None
