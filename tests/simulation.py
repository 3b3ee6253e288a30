"""An event loop whose time jumps to whatever is due next, so that hours of waiting take moments, and always the same.

All that runs in it goes by its time: clients, the local server, and the timeouts of aiohttp.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

from replicate_async._http import clock as sdk_clock
from replicate_async.testing import Clock

T = TypeVar("T")

START = datetime(2025, 1, 1, tzinfo=timezone.utc)
_SETTLING = 0.0002  # what a loopback connection may take, in real seconds
_STUCK = 10.0


class _Selector(selectors.DefaultSelector):
    """Doesn't wait where nothing is about to come from a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """Return what is ready now; if nothing is, let the time pass."""
        found = super().select(0)
        if found or (timeout is not None and timeout <= 0):
            return found
        sockets = len(self.get_map()) > 1  # besides the loop's own
        if timeout is None or sockets:
            found = super().select(_STUCK if timeout is None else _SETTLING)
        if not found:
            assert timeout is not None, "everybody waits, and nothing will ever happen"
            self.seconds += timeout
        return found


class Simulation(Clock):
    """The time of a loop, for the clients in it and for a local server."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        """Return the date and time."""
        return START + timedelta(seconds=self._loop.time())

    def monotonic(self) -> float:
        """Return the seconds since the start."""
        return self._loop.time()


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = _Selector()
        super().__init__(selector)
        self._jumping = selector
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return the seconds since the start."""
        return self._jumping.seconds


def simulate(main: Callable[[Simulation], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to its end, with time that jumps."""
    loop = _Loop()
    real, sdk_clock.current = sdk_clock.current, Simulation(loop)
    try:
        return loop.run_until_complete(_run(main, sdk_clock.current))
    finally:
        sdk_clock.current = real
        loop.close()


async def _run(main: Callable[[Simulation], Coroutine[Any, Any, T]], sim: Simulation) -> T:
    try:
        return await main(sim)
    finally:
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_asyncgens()
