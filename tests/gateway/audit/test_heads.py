"""Signed heads, and their copy."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.audit.heads import BEAT_SECONDS, HEADS, KEY, Exporter, Signer, Unsigned, alone, lines, signed_heads, signer
from gateway.audit.writer import Writer

Opened = Callable[..., Writer]
DAY = 86_400.0


class World:
    """A writer, an exporter and a clock."""

    def __init__(self, root: Path, opened: Opened, copy: Path | None = None) -> None:
        self.now = 1_790_000_000.0
        self.root, self.copy = root, copy
        self.writer = opened()
        made = signer(root, None, make=True)
        assert made is not None
        self.signer = made
        self.exporter = self.another()

    def another(self) -> Exporter:
        """A control process that was started again."""
        return Exporter(self.root, self.signer, self.copy, clock=lambda: self.now)

    def grow(self) -> None:
        """Append, sync, sign."""
        self.writer.append(b'{"t":"x"}')
        self.writer.sync()
        self.now += 1
        assert self.exporter.step()

    def documents(self) -> list[dict[str, object]]:
        return [self.signer.open(line) for _, _, line in lines(self.root / HEADS)]


@pytest.fixture
def world(root: Path, opened: Opened, tmp_path: Path) -> World:
    return World(root, opened, tmp_path / "copy")


def test_a_changed_line_or_one_of_another_key_is_refused() -> None:
    """Whatever of it was changed."""
    ours = Signer(b"k" * 32)
    line = ours.seal({"heads": {"w": [1, "00"]}})
    assert ours.open(line)["heads"] == {"w": [1, "00"]}
    for i in range(len(line)):
        with pytest.raises(Unsigned):
            ours.open(line[:i] + bytes([line[i] ^ 1]) + line[i + 1 :])
    with pytest.raises(Unsigned, match="another key"):
        Signer(b"x" * 32).open(line)


def test_the_key_is_made_once_for_its_owner_alone(root: Path) -> None:
    """And none where it only is looked for."""
    root.mkdir()
    assert signer(root, None) is None
    made = signer(root, None, make=True)
    again = signer(root, None, make=True)
    assert made is not None and again is not None and made.id == again.id
    assert (root / KEY).stat().st_mode & 0o777 == 0o600


def test_a_line_is_written_where_something_moved_and_names_the_one_before(world: World) -> None:
    """Also over a restart, and over half a line that a crash left."""
    world.grow()
    assert not world.exporter.step()
    world.grow()
    path = next((world.root / HEADS).glob("*.jsonl"))
    with path.open("ab") as file:
        file.write(b'{"at":')
    world.exporter = world.another()
    world.grow()
    found = world.documents()
    assert [one["previous"] for one in found] == ["", *(one["signature"] for one in found[:-1])]
    assert signed_heads(found[-1]) == {world.writer.slot.name: world.writer.head}


def test_an_idle_gateway_signs_that_nothing_moved(world: World) -> None:
    """So that what is younger than the last line tells of lines that are gone."""
    world.grow()
    world.now += BEAT_SECONDS - 1
    assert not world.exporter.step()
    world.now += 1
    assert world.exporter.step()
    assert signed_heads(world.documents()[-1]) == {}


async def test_one_signs_at_a_time(world: World) -> None:
    """A command of the shell leaves it to the control process, and that waits for the command."""
    world.writer.append(b"x")
    world.writer.sync()
    with alone(world.root):
        task = asyncio.create_task(world.exporter.run())
        await asyncio.sleep(0.2)
        assert world.documents() == []
    while not world.documents():
        await asyncio.sleep(0.05)
    with alone(world.root) as free:
        assert not free
    task.cancel()
    await asyncio.wait([task])
    world.writer.append(b"x")
    world.writer.sync()
    world.exporter.last()
    assert len(world.documents()) == 2


def test_each_day_names_all_writers(world: World, opened: Opened) -> None:
    """The day before may be dropped."""
    idle = opened()
    idle.sync()
    world.grow()
    world.grow()
    world.now += DAY
    world.grow()
    assert [len(signed_heads(one)) for one in world.documents()] == [2, 1, 2]


def test_what_is_not_on_the_disk_is_not_signed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut would take it, and look like a cut tail."""
    world.grow()
    monkeypatch.setattr(os, "fdatasync", lambda _: (_ for _ in ()).throw(OSError(5, "broken")))
    world.writer.append(b"x")
    assert not world.exporter.step()


def test_the_copy_makes_up_for_what_it_missed(world: World) -> None:
    """And takes nothing where it holds something else."""
    copy = world.copy
    assert copy is not None
    world.grow()
    with pytest.raises(OSError, match="copy"):
        world.exporter.copy()
    copy.mkdir()
    for _ in range(3):
        world.grow()
        world.exporter.copy()
    world.exporter = world.another()
    world.grow()
    world.exporter.copy()
    assert [line for _, _, line in lines(copy)] == [line for _, _, line in lines(world.root / HEADS)]
    own = next((world.root / HEADS).glob("*.jsonl"))
    own.write_bytes(own.read_bytes()[:-10].replace(b"0", b"1"))
    with pytest.raises(OSError, match="changed"):
        world.another().copy()


async def test_what_fails_is_told(world: World, tmp_path: Path) -> None:
    """For the metric, until it works again."""
    (tmp_path / "file").write_text("")
    told: list[int] = []
    world.writer.append(b"x")
    world.writer.sync()
    exporter = Exporter(world.root, world.signer, tmp_path / "file" / "copy", tell=told.append)
    task = asyncio.create_task(exporter.run())
    async with asyncio.timeout(30):
        while 1 not in told:
            await asyncio.sleep(0.05)
        (tmp_path / "file").unlink()
        (tmp_path / "file" / "copy").mkdir(parents=True)
        while told[-1]:
            await asyncio.sleep(0.05)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert list((tmp_path / "file" / "copy").iterdir())
