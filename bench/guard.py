"""Measure the keyword library: passes over a question, pieces of a stream, building, memory. See README.md.

python bench/guard.py [--entries 20000,100000] [--words FILE] [--texts FILE.jsonl] [--harmless FILE.jsonl]

Without files, terms and texts are made up of common characters. WORDS: one term a line; TEXTS and HARMLESS:
{"text": …} a line. The rows before the calibrated ones are of a library in which every entry holds; those after
calibration on HARMLESS (none: TEXTS) are what an operator's answers meet.
"""

import argparse
import asyncio
import gc
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from keywords.calibration import measure as measured
from keywords.calibration import propose
from keywords.entry import Action, Direction, Entry, faults
from keywords.library import Library
from keywords.matcher import HYPERSCAN, PYAHOCORASICK, literals
from policies.stream_guard import KeywordGuard

COMMON = (
    "的一是不了人我在有他这中大来上个国和地到们时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看"
    "定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美"
    "相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四"
    "神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完"
    "设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运笔试"
)
"""A few hundred of the most frequent characters, in the order of their frequency."""
QUESTION = 500
PIECES = (1, 2, 2, 2, 3, 4)
"""Characters of a stream's chunks, by how often they come."""


def made_up(dice: random.Random, count: int) -> str:
    """Return *count* characters that are as frequent as in Chinese, with clauses and sentences."""
    weights = [1 / (rank + 8) for rank in range(len(COMMON))]
    characters = dice.choices(COMMON, weights, k=count)
    for place in range(9, count, 11):
        characters[place] = dice.choice("，，。")
    return "".join(characters)


def terms(dice: random.Random, count: int, file: Path | None) -> list[str]:
    """Return *count* terms out of *file*, or made up of two to six characters."""
    found = set() if file is None else {line.strip() for line in file.read_text(encoding="utf-8").splitlines()}
    found = {term for term in found if 2 <= len(term) <= 20}
    while len(found) < count:
        found.add("".join(dice.choices(COMMON, k=dice.choice((2, 3, 3, 4, 4, 5, 6)))))
    return dice.sample(sorted(found), count)


def harmless(dice: random.Random, file: Path | None) -> list[str]:
    """Return the texts of *file* as they are, or as many made up, to calibrate on."""
    if file is None:
        return [made_up(dice, 50) for _ in range(7000)]
    return [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()]


def texts(dice: random.Random, file: Path | None) -> list[str]:
    """Return texts of about `QUESTION` characters."""
    if file is None:
        return [made_up(dice, QUESTION) for _ in range(400)]
    whole = "".join(json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines())
    return [whole[start : start + QUESTION] for start in range(0, len(whole) - QUESTION, QUESTION)][:400]


def per_text(call: Callable[[str], object], under: Sequence[str]) -> float:
    """Return the median of microseconds a text, each the best of three."""
    best = []
    for text in under:
        rounds = []
        for _ in range(3):
            began = time.perf_counter_ns()
            call(text)
            rounds.append(time.perf_counter_ns() - began)
        best.append(min(rounds) / 1000)
    return statistics.median(best)


def stream(library: Library, under: Sequence[str], dice: random.Random) -> tuple[list[float], list[int]]:
    """Return microseconds of each piece of streams, and how many characters were held after it."""
    taken, held = [], []
    for text in under:
        guard, at = KeywordGuard(library), 0
        while at < len(text):
            piece = text[at : at + dice.choice(PIECES)]
            at += len(piece)
            began = time.perf_counter_ns()
            step = guard.feed(0, "content", piece)
            taken.append((time.perf_counter_ns() - began) / 1000)
            if step.cut is not None:
                break
            held.append(sum(len(flow.scanner.held) for flow in guard._flows.values()))  # noqa: SLF001 - to be measured
    return sorted(taken), sorted(held)


def calibrated(entries: Sequence[Entry], harmless: Sequence[str]) -> Library:
    """Return the library that `gateway keywords calibrate` would make of a raw list and *harmless* texts.

    What would block masks, so that a stream that is measured goes on behind it.
    """
    raw = [replace(entry, action=Action.OBSERVE) for entry in entries]
    library = Library.build(raw)
    hits = measured(lambda text: {hit.entry.id for hit in library.find(text, Direction.IN)}, harmless)
    proposed = [proposal.applied for proposal in propose(raw, hits)]
    return Library.build(
        [replace(entry, action=Action.MASK) if entry.action is Action.BLOCK else entry for entry in proposed]
    )


async def lag_of_build(entries: Sequence[Entry]) -> tuple[Library, float, float]:
    """Build in a thread; return the library, seconds, and the longest that the event loop was kept waiting, in ms."""
    lags, done = [0.0], asyncio.Event()

    async def watch() -> None:
        while not done.is_set():
            began = time.perf_counter()
            await asyncio.sleep(0.001)
            lags.append(time.perf_counter() - began - 0.001)

    watcher = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    gc.disable()  # as a worker does: a full collection would look at every entry
    began = time.perf_counter()
    library = await asyncio.to_thread(Library.build, entries, rest=lambda: time.sleep(0.002))
    seconds = time.perf_counter() - began
    done.set()
    await watcher
    return library, seconds, max(lags) * 1000


def measure(count: int, options: argparse.Namespace) -> dict[str, str]:
    """Return the figures of a library of *count* entries, in words."""
    dice = random.Random(count)  # noqa: S311 - repeatable
    action = Action.MASK  # masks hold as blocks do, and the measuring goes on behind them
    entries = [Entry(id=n, term=t, risk="A1a", action=action) for n, t in enumerate(terms(dice, count, options.words))]
    entries = [entry for entry in entries if not list(faults(entry))]
    under = texts(dice, options.texts)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    library, seconds, lag = asyncio.run(lag_of_build(entries))
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    gc.freeze()
    layer = library._layers[0]  # noqa: SLF001 - the primary pass alone
    primary = per_text(lambda text: layer.matcher.find(layer.fold.text(text)), under)
    size = statistics.median(len(text.encode()) for text in under)
    other = literals([entry.term for entry in entries], PYAHOCORASICK)
    every = per_text(lambda text: library.find(text, Direction.IN), under)
    taken, held = stream(library, under[:150], dice)
    chosen = calibrated(entries, harmless(dice, options.harmless or options.texts))
    holding = sum(entry.action is Action.MASK for entry in chosen.entries)
    taken_so, held_so = stream(chosen, under[:150], dice)
    return {
        "entries": f"{len(entries):,}",
        f"primary pass ({HYPERSCAN}), MB/s": f"{size / primary:.0f}",
        f"automaton alone: {HYPERSCAN} / {PYAHOCORASICK}, MB/s": (
            f"{size / per_text(layer.matcher.find, under):.0f} / {size / per_text(other.find, under[:40]):.0f}"
        ),
        f"all passes, µs for {QUESTION} characters": f"{every:.0f}",
        "a stream's piece, µs p50 / p99": f"{taken[len(taken) // 2]:.1f} / {taken[len(taken) * 99 // 100]:.1f}",
        "held characters, mean / p99": f"{statistics.mean(held):.2f} / {held[len(held) * 99 // 100]}",
        "calibrated: entries that hold": f"{holding:,}",
        "calibrated: a stream's piece, µs p50 / p99": (
            f"{taken_so[len(taken_so) // 2]:.1f} / {taken_so[len(taken_so) * 99 // 100]:.1f}"
        ),
        "calibrated: held characters, p50 / mean / p99": (
            f"{held_so[len(held_so) // 2]} / {statistics.mean(held_so):.2f} / {held_so[len(held_so) * 99 // 100]}"
        ),
        "built in s, longest wait of the event loop ms": f"{seconds:.1f}, {lag:.1f}",
        "memory, MB": f"{memory:.0f}",
    }


def main() -> None:
    """Measure each size in a process of its own, so that memory is told apart, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", default="20000,100000")
    parser.add_argument("--words", type=Path)
    parser.add_argument("--texts", type=Path)
    parser.add_argument("--harmless", type=Path, help="what to calibrate on, where that is not TEXTS")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one is not None:
        print(json.dumps(measure(options.one, options), ensure_ascii=False))
        return
    columns = []
    for count in options.entries.split(","):
        argv = [sys.executable, __file__, "--one", count]
        argv += ["--words", str(options.words)] if options.words else []
        argv += ["--texts", str(options.texts)] if options.texts else []
        argv += ["--harmless", str(options.harmless)] if options.harmless else []
        done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=True)
        columns.append(json.loads(done.stdout))
    for name in columns[0]:
        print(f"| {name} | {' | '.join(column[name] for column in columns)} |")
        if name == "entries":
            print(f"|---|{'---:|' * len(columns)}")


if __name__ == "__main__":
    main()
