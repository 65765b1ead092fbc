"""Regular expressions that never go back into what they have read: the same on every Python 3.11."""

import re
import sys
from typing import AnyStr

RIGHT_FROM = (3, 11, 5)
"""Before, a possessive group matches wrongly once its last repeat fails halfway (CPython issue 106052): too much is
read, or nothing ever ends. Debian 12 has 3.11.2."""
_GROUP = r"(\)(?:[*+?]|\{\d*,\d*\}))\+"


def compiled(pattern: AnyStr, flags: re.RegexFlag = re.RegexFlag.NOFLAG) -> re.Pattern[AnyStr]:
    """Return *pattern*, in which groups may be possessive: nothing behind such a group may need what it has read.

    So greedy ones find the same. On older Pythons they take their place, and some 40 bytes of memory for a character.
    """
    return re.compile(pattern if sys.version_info >= RIGHT_FROM else greedy(pattern), flags)


def greedy(pattern: AnyStr) -> AnyStr:
    """Return *pattern* with its possessive groups greedy."""
    if isinstance(pattern, bytes):
        return re.sub(_GROUP.encode(), rb"\1", pattern)
    return re.sub(_GROUP, r"\1", pattern)
