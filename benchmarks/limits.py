"""Rate limits in situations: the client against a simulated API, in virtual time.

The table shows, for each latency, the time relative to the least possible one and the percentage of refused creates.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks._table import Figure, Scenario

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "helpers"))

from simulated_api import ApiLimit, Result, SimulatedApi, run_all
from simulation import Simulation, simulate

LATENCIES = (0.0, 0.05, 0.2, 0.8)


class Situation(NamedTuple):
    """Runs of five seconds each, and what the limits on their time and on refused creates (in percent) are."""

    title: str
    per_minute: float
    burst: int
    count: int
    processes: int = 1
    trouble: dict[str, Any] = {}  # noqa: RUF012 - it is never changed
    headers: bool = True
    ratio: float | None = 1.1
    refused: float | None = 1.0

    def simulate(self, latency: float) -> Result:
        """Return what the situation comes to."""
        random.seed(0)
        return simulate(partial(self._run, latency))

    async def _run(self, latency: float, sim: Simulation) -> Result:
        api = SimulatedApi(
            sim, latency, creates=ApiLimit(self.per_minute / 60, self.burst, headers=self.headers), **self.trouble
        )
        return await run_all(sim, api, self.count, processes=self.processes)

    def figures(self) -> list[Figure]:
        """Return the rows of the table."""
        figures: list[Figure] = []
        for latency in LATENCIES:
            result = self.simulate(latency)
            prefix = f"{latency * 1000:3.0f} ms: "
            if self.trouble:
                [(_, end)] = self.trouble.get("hogs") or self.trouble["storms"]
                # The allowed pace is ten per second.
                figures.append(Figure(prefix + "90 % of pace missing", 9 - result.api.pace(end + 10, end + 16), 0))
            else:
                figures.append(Figure(prefix + "ratio to least time", result.ratio, self.ratio))
            figures.append(Figure(prefix + "% of creates refused", 100 * result.refused, self.refused))
            if result.failed:
                figures.append(Figure(prefix + "failed runs", result.failed, 0))
        return figures


HOG = Situation(
    "another program hogs the limit from 5 to 20 s", 600, 60, 400, trouble={"hogs": [(5, 20)]}, refused=None
)
SITUATIONS = [
    Situation("1,000 runs, 600 per minute, burst of 600", 600, 600, 1000),
    Situation("300 runs, 600 per minute, burst of 60", 600, 60, 300),
    Situation("300 runs, 600 per minute, burst of 10", 600, 10, 300),
    Situation("1,000 runs, burst of 600, no headers", 600, 600, 1000, headers=False, refused=12),
    Situation("300 runs, burst of 60, no headers", 600, 60, 300, headers=False, refused=12),
    Situation("300 runs, burst of 10, no headers", 600, 10, 300, headers=False, refused=12),
    Situation("20 runs, 6 per minute, burst of 1", 6, 1, 20, ratio=1.15, refused=None),
    Situation("10 processes with one run each, 6 per minute", 6, 1, 1, processes=10, ratio=1.3, refused=None),
    Situation("2 processes with 10 runs each, 6 per minute", 6, 1, 10, processes=2, ratio=1.3, refused=None),
    HOG,
    HOG._replace(title=f"{HOG.title}, no headers", headers=False),
    HOG._replace(title="a storm of 429 responses from 5 to 15 s", trouble={"storms": [(5, 15)]}),
    HOG._replace(title="a storm from 5 to 15 s, no headers", trouble={"storms": [(5, 15)]}, headers=False),
]


def benchmarks(url: str) -> Iterator[Scenario]:  # noqa: ARG001 - nothing is sent
    """Yield the scenarios of this module."""
    for situation in SITUATIONS:
        figures: Callable[[], list[Figure]] = situation.figures
        yield Scenario(situation.title, figures)
