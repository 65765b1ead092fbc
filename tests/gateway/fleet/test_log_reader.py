"""An engine's log, read and followed."""

import asyncio
from pathlib import Path

import pytest

from gateway.fleet import log_reader
from gateway.fleet.log_reader import PART_BYTES, followed, part


def test_the_end_begins_with_a_whole_line(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(b"x" * 99 + b"\n" + b"line\n" * 20_000)
    found = part(log, None)
    assert found.data.startswith(b"line\n")
    assert (found.size, found.size) == (found.end, log.stat().st_size)


def test_any_offset_is_read_in_parts(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(bytes(range(256)) * 2_000)
    offset, read = 0, b""
    while (found := part(log, offset)).data:
        assert len(found.data) <= PART_BYTES
        read, offset = read + found.data, found.end
    assert read == log.read_bytes()


def test_a_log_that_was_begun_anew_is_read_from_its_begin(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(b"new\n")
    assert (0, b"new\n") == part(log, 1_000)[:2]
    assert (0, b"", 0) == part(tmp_path / "none", 7)


async def test_each_line_is_an_event_with_the_offset_behind_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is written later comes later, a line that is not ended yet with its end."""
    monkeypatch.setattr(log_reader, "LOOK_SECONDS", 0.01)
    log = tmp_path / "engine.log"
    log.write_bytes(b"one\nt\xc3")
    events = followed(log, 0)
    assert await anext(events) == b"id: 4\ndata: one\n\n"
    with log.open("ab") as file:
        file.write(b"\xb6o\r\nbad \xff\n")
    assert (await anext(events)).decode() == "id: 10\ndata: töo\n\nid: 16\ndata: bad \ufffd\n\n"
    log.write_bytes(b"anew\n")
    assert await anext(events) == b"id: 5\ndata: anew\n\n"
    await events.aclose()


async def test_silence_is_pinged_and_a_follower_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_reader, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(log_reader, "PING_SECONDS", 0.05)
    async with asyncio.timeout(30):
        found = [event async for event in followed(tmp_path / "none", None, seconds=0.2)]
    assert set(found) == {b": ping\n\n"}


async def test_a_line_without_end_comes_in_pieces(tmp_path: Path) -> None:
    log = tmp_path / "engine.log"
    log.write_bytes(b"x" * (PART_BYTES + 10))
    events = followed(log, 0)
    assert (await anext(events)).startswith(b"id: %d\n" % PART_BYTES)
    await events.aclose()
