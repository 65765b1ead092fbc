"""The texts that a keyword library is tried on: JSON lines, ``{"text": …}`` each."""

from pathlib import Path

import msgspec

MOST_TEXT_BYTES = 256 * 1024 * 1024


class TextsInvalid(Exception):
    """The texts to try something on cannot be read, or there are none."""


class _Row(msgspec.Struct):
    text: str


def texts_of(data: bytes) -> list[str]:
    """Return the texts of JSON lines, ``{"text": …}`` each. Raises `TextsInvalid` with the line's number."""
    decoder, texts = msgspec.json.Decoder(_Row), []
    for number, line in enumerate(data.split(b"\n"), 1):
        if line.strip():
            try:
                texts.append(decoder.decode(line).text)
            except msgspec.DecodeError as error:
                raise TextsInvalid(f'line {number} is not {{"text": "…"}}: {error}') from None
    return texts


def read_texts(path: Path) -> list[str]:
    """Return the texts, one at least, of a file of JSON lines. Raises `TextsInvalid` with the file's name."""
    try:
        too_large = path.stat().st_size > MOST_TEXT_BYTES
        texts = [] if too_large else texts_of(path.read_bytes())
    except OSError as error:
        raise TextsInvalid(f"{path}: {error.strerror}") from None
    except TextsInvalid as error:
        raise TextsInvalid(f"{path}: {error}") from None
    if not texts:
        reason = f"has more than {MOST_TEXT_BYTES >> 20} MB" if too_large else "has no texts"
        raise TextsInvalid(f"{path} {reason}")
    return texts


def changed_at(path: Path) -> float:
    """Return when a file of texts was last changed (Unix seconds). Raises `TextsInvalid`."""
    try:
        return path.stat().st_mtime
    except OSError as error:
        raise TextsInvalid(f"{path}: {error.strerror}") from None
