"""Measuring contenders next to each other, and the table that comes of it."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from math import inf
from statistics import median
from typing import NamedTuple

OURS = "replicate_async"


class Bound(NamedTuple):
    """What must hold between this SDK and another contender: one of the three, or nothing."""

    against: str
    faster: float | None = None  # at least so many times as fast
    cost: float | None = None  # at most so many times the time
    over: float | None = None  # at most so many seconds more; inf: only to be shown

    def check(self, ours: Sequence[float], theirs: Sequence[float]) -> tuple[str, str, bool]:
        """Return what was found, what is required, and whether it holds; times are paired by round."""
        if self.over is not None:
            found = median(a - b for a, b in zip(ours, theirs, strict=True))
            factor, unit = (1e6, "us") if self.over < 0.001 else (1e3, "ms")
            required = "" if self.over == inf else f"<= +{self.over * factor:.0f} {unit}"
            return f"{found * factor:+.0f} {unit}", required, found <= self.over
        if self.cost is not None:
            found = median(a / b for a, b in zip(ours, theirs, strict=True))
            return f"{found:.2f}x its time", f"<= {self.cost:g}x", found <= self.cost
        found = median(b / a for a, b in zip(ours, theirs, strict=True))
        required = "" if self.faster is None else f">= {self.faster:g}x"
        return f"{found:.1f}x as fast", required, found >= (self.faster or 0)


class Benchmark(NamedTuple):
    """Something that several contenders do; each function does it and returns the seconds that one call took."""

    title: str
    contenders: Mapping[str, Callable[[], float]]
    bounds: Sequence[Bound]
    limit: float | None = None  # what ours must not exceed, whatever others do
    unit: str = "s"  # or MB, where it isn't time that counts


class Figure(NamedTuple):
    """Something that was found, and what it must not exceed."""

    name: str
    value: float
    limit: float | None = None


class Scenario(NamedTuple):
    """Something that is done once, and what was found."""

    title: str
    run: Callable[[], Sequence[Figure]]


def report(scenario: Scenario) -> bool:
    """Run a scenario, print the rows of the table, return whether all limits are kept."""
    print(f"\n{scenario.title}", flush=True)
    figures = scenario.run()
    for name, value, limit in figures:
        required = "" if limit is None else f"<= {limit:,.4g}"
        verdict = "" if limit is None else "ok" if value <= limit else "MISSED"
        print(f"  {name:<32}{value:>12,.4g}  {'':<16}{required:<12}{verdict}".rstrip(), flush=True)
    return all(limit is None or value <= limit for _, value, limit in figures)


def measure(benchmark: Benchmark, rounds: int) -> bool:
    """Measure, print the rows of the table, return whether all bounds hold.

    Each round runs all contenders one after the other, beginning with another one each time, so that a slow moment of
    the machine hits all alike. Ratios are medians of the rounds' own ratios.
    """
    names = list(benchmark.contenders)
    times: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        for shift in range(len(names)):
            name = names[(number + shift) % len(names)]
            gc.collect()
            times[name].append(benchmark.contenders[name]())
    bounds = {bound.against: bound for bound in benchmark.bounds}
    print(f"\n{benchmark.title}")
    all_hold = True
    for name in names:
        found = required = verdict = ""
        if name != OURS:
            bound = bounds.get(name, Bound(name))
            found, required, holds = bound.check(times[OURS], times[name])
            verdict = "" if not required else "ok" if holds else "MISSED"
            all_hold = all_hold and holds
        elif benchmark.limit is not None:
            required, holds = f"<= {_shown(benchmark.limit, benchmark)}", median(times[OURS]) <= benchmark.limit
            verdict = "ok" if holds else "MISSED"
            all_hold = all_hold and holds
        shown = _shown(median(times[name]), benchmark)
        print(f"  {name:<32}{shown:>12}  {found:<16}{required:<12}{verdict}".rstrip(), flush=True)
    return all_hold


def _shown(value: float, benchmark: Benchmark) -> str:
    return _time(value) if benchmark.unit == "s" else f"{value:,.1f} {benchmark.unit}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds < 0.01 else f"{seconds * 1e3:,.0f} ms"
