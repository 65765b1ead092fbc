"""Medians over the rounds, and the tables made of them. No I/O."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

Run = Mapping[str, Any]
"""One run of the load client: its line of JSON, with `target`, `stage` and `round`."""
YARDSTICK = "nginx"
BARE = "direct"

COLUMNS = (
    ("throughput", "rps", "req/s", "{:,.0f}", 1),
    ("throughput", "cpu_us_per_unit", "CPU µs/req", "{:.1f}", 1),
    ("paced", "cpu_us_per_unit", "CPU µs/chunk", "{:.1f}", 1),
    ("paced", "transit_p50_us", "chunk p50 ms", "{:.2f}", 1000),
    ("paced", "transit_p99_us", "chunk p99 ms", "{:.2f}", 1000),
    ("latency", "p50_us", "p50 ms", "{:.2f}", 1000),
    ("latency", "p99_us", "p99 ms", "{:.2f}", 1000),
)
"""Stage, field, heading, format, divisor."""


class Results:
    """All runs of a bench, looked up by target, stage and round."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self.runs = list(runs)
        self._by_key = {(run["target"], run["stage"], run["round"]): run for run in self.runs}
        self.targets = list(dict.fromkeys(run["target"] for run in self.runs))
        self.rounds = sorted({run["round"] for run in self.runs})

    def values(self, target: str, stage: str, field: str) -> list[float]:
        """Return the field of each round in which the target was measured."""
        runs = (self._by_key.get((target, stage, number)) for number in self.rounds)
        return [run[field] for run in runs if run is not None]

    def median(self, target: str, stage: str, field: str) -> float:
        """Return the median over the rounds; NaN where there is none."""
        return _median(self.values(target, stage, field))

    def paired(self, target: str, other: str, stage: str, field: str, of: Callable[[float, float], float]) -> float:
        """Return the median of *of*(target's, other's) taken within each round: noise that both had cancels out."""
        pairs = zip(self.values(target, stage, field), self.values(other, stage, field), strict=False)
        return _median([of(mine, its) for mine, its in pairs if its])

    def added_first_chunk_ms(self, target: str) -> float:
        """Return what *target* adds to the time to the first token, against the engine itself, in ms."""
        return self.paired(target, BARE, "first", "first_p50_us", lambda mine, its: (mine - its) / 1000)

    def errors(self, target: str) -> dict[str, int]:
        """Return all errors by kind, those of warm-up included."""
        kinds: dict[str, int] = {}
        for run in self.runs:
            if run["target"] == target:
                for kind, count in run["errors"].items():
                    kinds[kind] = kinds.get(kind, 0) + count
        return {kind: count for kind, count in kinds.items() if count}

    def summary(self) -> dict[str, dict[str, Any]]:
        """Return each target's figures, for programs."""
        return {target: self._summary_of(target) for target in self.targets}

    def _summary_of(self, target: str) -> dict[str, Any]:
        figures: dict[str, Any] = {
            f"{stage}.{field}": self.median(target, stage, field) for stage, field, *_ in COLUMNS
        }
        figures["first.added_ms"] = self.added_first_chunk_ms(target)
        figures["rss_mb"] = max((run["rss_mb"] for run in self.runs if run["target"] == target), default=0.0)
        figures["errors"] = self.errors(target)
        ratios = {f"{stage}.{field}": self._ratio(target, stage, field) for stage, field, *_ in COLUMNS}
        figures[f"to_{YARDSTICK}"] = {name: ratio for name, ratio in ratios.items() if not math.isnan(ratio)}
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value for name, value in figures.items()
        }

    def _ratio(self, target: str, stage: str, field: str) -> float:
        return self.paired(target, YARDSTICK, stage, field, lambda mine, its: mine / its)

    def table(self) -> str:
        """Return the medians as Markdown."""
        heads = ["target", *(heading for _, _, heading, _, _ in COLUMNS), "+ first token ms", "RSS MB", "errors"]
        return _markdown(heads, [self._row(target) for target in self.targets])

    def _row(self, target: str) -> list[str]:
        figures = self._summary_of(target)
        cells = [_cell(form, figures[f"{stage}.{field}"], over) for stage, field, _, form, over in COLUMNS]
        if target == BARE:
            cells[1] = cells[2] = "–"
        added = "–" if target == BARE else _cell("{:.2f}", figures["first.added_ms"], 1)
        errors = ", ".join(f"{kind} {count}" for kind, count in figures["errors"].items())
        return [target, *cells, added, "–" if target == BARE else f"{figures['rss_mb']:.0f}", errors or "0"]

    def ratios(self) -> str:
        """Return the ratios to nginx as Markdown; empty without nginx."""
        others = [target for target in self.targets if target not in {YARDSTICK, BARE}]
        if YARDSTICK not in self.targets or not others:
            return ""
        rows = [[target, *(f"{self._ratio(target, c[0], c[1]):.2f}" for c in COLUMNS)] for target in others]
        return _markdown([f"÷ {YARDSTICK}", *(heading for _, _, heading, _, _ in COLUMNS)], rows)

    def remarks(self, chunks_per_s: float) -> list[str]:
        """Return what a reader must know before the figures are believed."""
        found = []
        for target in self.targets:
            kept = self.median(target, "paced", "chunks_per_s") / chunks_per_s
            if kept < 0.95:
                found.append(f"{target} passed on only {kept:.0%} of the paced chunks: its core was full.")
        busy = max((self.median(t, "throughput", "harness_cpu") for t in self.targets if t != BARE), default=0.0)
        if busy > 0.9:
            found.append(f"the harness' own core was up to {busy:.0%} busy: the highest req/s is its limit.")
        load = max((run["load_average"] for run in self.runs), default=0.0)
        if load > 2.5:
            found.append(f"the load average reached {load:.1f}: something else was running; trust ratios only.")
        return found


def _median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else math.nan


def _cell(form: str, value: float | None, divisor: float) -> str:
    return "–" if value is None else form.format(value / divisor)


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
