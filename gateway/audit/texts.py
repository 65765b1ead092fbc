"""Which texts are kept, and in what form."""

import re
from hashlib import sha256
from typing import Literal

from gateway.audit.entries import Text

Keep = Literal["full", "violations", "none"]
Masked = Literal["phone", "id_card", "email"]

PATTERNS: dict[Masked, re.Pattern[str]] = {
    "phone": re.compile(r"(?<!\d)(?:\+?86[- ]?)?1[3-9]\d[- ]?\d{4}[- ]?\d{4}(?!\d)"),
    "id_card": re.compile(r"(?<!\d)\d{6}(?:18|19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{3}[\dXx](?!\d)"),
    "email": re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}"),
}
"""Mainland mobile numbers, resident identity cards (GB 11643-1999), e-mail addresses."""


class Texts:
    """What of a text goes on record: itself, or its length and digest."""

    def __init__(self, keep: Keep, masked: tuple[Masked, ...] = ()) -> None:
        self.keep = keep
        self.patterns = [(PATTERNS[name], f"[{name}]") for name in masked]

    def of(self, text: str, *, violation: bool) -> Text | None:
        """Return what is kept of *text*, which was or was not refused or cut; None of an empty one."""
        if not text:
            return None
        digest = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        if self.keep == "none" or (self.keep == "violations" and not violation):
            return Text(len(text), digest)
        return Text(len(text), digest, self._masked(text))

    def _masked(self, text: str) -> str:
        for pattern, mark in self.patterns:
            text = pattern.sub(mark, text)
        return text
