"""Measure contenders against each other, and print a table of the results."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from math import inf
from statistics import median
from typing import NamedTuple

OURS = "replicate_async"


class Bound(NamedTuple):
    """A bound on this SDK's time relative to another contender: one of the three fields, or none.

    Attributes:
        against: The other contender.
        faster: The minimum speedup over the other contender.
        cost: The maximum ratio to the other contender's time.
        over: The maximum difference from the other contender's time, in seconds. If inf, the difference is only shown.
    """

    against: str
    faster: float | None = None
    cost: float | None = None
    over: float | None = None

    def check(self, ours: Sequence[float], theirs: Sequence[float]) -> tuple[str, str, bool]:
        """Return the measured value, the required value, and whether the bound holds. Times are paired by round."""
        if self.over is not None:
            measured = median(a - b for a, b in zip(ours, theirs, strict=True))
            factor, unit = (1e6, "us") if self.over < 0.001 else (1e3, "ms")
            required = "" if self.over == inf else f"<= +{self.over * factor:.0f} {unit}"
            return f"{measured * factor:+.0f} {unit}", required, measured <= self.over
        if self.cost is not None:
            measured = median(a / b for a, b in zip(ours, theirs, strict=True))
            return f"{measured:.2f}x its time", f"<= {self.cost:g}x", measured <= self.cost
        measured = median(b / a for a, b in zip(ours, theirs, strict=True))
        required = "" if self.faster is None else f">= {self.faster:g}x"
        return f"{measured:.1f}x as fast", required, measured >= (self.faster or 0)


class Benchmark(NamedTuple):
    """A task for several contenders.

    Attributes:
        title: The title in the table.
        contenders: A function for each contender, which runs the task and returns the seconds per call.
        bounds: The bounds relative to other contenders.
        limit: The absolute maximum for this SDK.
        unit: ``s``, or ``MB`` if the functions return memory instead of time.
    """

    title: str
    contenders: Mapping[str, Callable[[], float]]
    bounds: Sequence[Bound]
    limit: float | None = None
    unit: str = "s"


class Figure(NamedTuple):
    """A measured value and its maximum."""

    name: str
    value: float
    limit: float | None = None


class Scenario(NamedTuple):
    """A task that runs once, and returns several figures."""

    title: str
    run: Callable[[], Sequence[Figure]]


def report(scenario: Scenario) -> bool:
    """Run a scenario, print its rows of the table, and return whether all limits hold."""
    print(f"\n{scenario.title}", flush=True)
    figures = scenario.run()
    for name, value, limit in figures:
        required = "" if limit is None else f"<= {limit:,.4g}"
        verdict = "" if limit is None else "ok" if value <= limit else "MISSED"
        print(f"  {name:<32}{value:>12,.4g}  {'':<16}{required:<12}{verdict}".rstrip(), flush=True)
    return all(limit is None or value <= limit for _, value, limit in figures)


def measure(benchmark: Benchmark, rounds: int) -> bool:
    """Run a benchmark, print its rows of the table, and return whether all bounds hold.

    Each round runs all contenders one after the other, and starts with a different contender. So a slow moment of the
    machine affects all contenders equally. Each ratio is the median of the ratios of all rounds.
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
        measured = required = verdict = ""
        if name != OURS:
            bound = bounds.get(name, Bound(name))
            measured, required, holds = bound.check(times[OURS], times[name])
            verdict = "" if not required else "ok" if holds else "MISSED"
            all_hold = all_hold and holds
        elif benchmark.limit is not None:
            required, holds = f"<= {_format(benchmark.limit, benchmark)}", median(times[OURS]) <= benchmark.limit
            verdict = "ok" if holds else "MISSED"
            all_hold = all_hold and holds
        value = _format(median(times[name]), benchmark)
        print(f"  {name:<32}{value:>12}  {measured:<16}{required:<12}{verdict}".rstrip(), flush=True)
    return all_hold


def _format(value: float, benchmark: Benchmark) -> str:
    return _time(value) if benchmark.unit == "s" else f"{value:,.1f} {benchmark.unit}"


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds < 0.01 else f"{seconds * 1e3:,.0f} ms"
