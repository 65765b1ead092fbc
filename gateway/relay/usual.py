"""What the ordinary chunks of one stream have in common: all but their text.

Engines write chunk after chunk alike, and JSON is read from left to right: two events that are the same up to where a
string begins, and the same from where it ends, are the same document but for that string. So once one chunk has been
parsed whole, those like it need no more than their string decoded: a tenth of the time.
"""

import json

import msgspec

from gateway.relay import chunks
from gateway.relay.chunks import Choice, ModelName

_text = msgspec.json.Decoder(str).decode
_encoded = msgspec.json.Encoder().encode
_STAND_IN = "\u2063stand-in\u2063"
"""What no engine says; put in the place of a chunk's text, it proves that the place is the right one."""
_ENCODED = msgspec.json.encode(_STAND_IN)


class Usual:
    """The bytes around the text of a stream's ordinary chunks, as events with their ``data:`` and blank line."""

    __slots__ = ("_head", "_length", "_new_head", "_new_tail", "_tail", "channel", "index", "same")

    def __init__(self, index: int, channel: str, head: bytes, tail: bytes, renamed: tuple[bytes, bytes]) -> None:
        self.index = index
        self.channel = channel
        self._head, self._tail = head, tail
        self._length = len(head)
        self._new_head, self._new_tail = renamed
        self.same = (head, tail) == renamed
        """Whether the client gets these events as they came."""

    def text(self, event: bytes) -> str | None:
        """Return the text of *event* if it is like the others, else None."""
        if not (event.startswith(self._head) and event.endswith(self._tail)):
            return None
        try:
            return _text(event[self._length : -len(self._tail)])
        except (msgspec.DecodeError, UnicodeDecodeError):  # more than one string, or none
            return None

    def saying(self, text: str) -> bytes:
        """Return an event like the others with *text*, under the name that the client asked for."""
        return self._new_head + _encoded(text) + self._new_tail

    def renamed(self, event: bytes) -> bytes:
        """Return *event*, which is like the others, under the name that the client asked for."""
        return self._new_head + event[self._length : -len(self._tail)] + self._new_tail


def learn(payload: bytes, choice: Choice, name: ModelName, model: str | None) -> Usual | None:
    """Return what chunks like *payload* have in common, or None where its text cannot be told from the rest.

    *choice* is the payload's only choice, *model* the engine's name in it.
    """
    said = list(chunks.texts(choice))
    if len(said) != 1 or choice.finish_reason:
        return None
    channel, text = said[0]
    head, tail = _around(payload, channel, text)
    proof = head + _ENCODED + tail
    if _said(proof) != [(choice.index, channel, _STAND_IN)]:
        return None
    new_head, found, new_tail = name.restore(proof, model).partition(_ENCODED)
    if not found:
        return None
    renamed = (b"data: " + new_head, new_tail + b"\n\n")
    return Usual(choice.index, channel, b"data: " + head, tail + b"\n\n", renamed)


def _around(payload: bytes, channel: str, text: str) -> tuple[bytes, bytes]:
    """Return what stands before and after *text*, where it seems to stand."""
    field = channel.rpartition(".")[2].encode()
    for blank in (b"", b" "):
        for spelled in (msgspec.json.encode(text), json.dumps(text).encode()):
            head, found, tail = payload.partition(b'"%b":%b%b' % (field, blank, spelled))
            if found:
                return head + found.removesuffix(spelled), tail
    return b"", b""


def _said(payload: bytes) -> list[tuple[int, str, str]]:
    """Return choice, channel and text of all that *payload* says; nothing where it is no chunk."""
    try:
        found = chunks.decode(payload).choices
    except msgspec.DecodeError:
        return []
    return [(choice.index, *said) for choice in found or () for said in chunks.texts(choice)]
