"""An event loop whose time jumps to the next timer, so that hours of waiting take moments and tests are repeatable.

Everything in it uses its time: clients, the local server, and the timeouts of aiohttp.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta, timezone
from typing import Any, TypeVar

import pytest

from replicate_async import _background as background
from replicate_async._http import clock as sdk_clock
from replicate_async.testing import Clock

T = TypeVar("T")

START = datetime(2025, 1, 1, tzinfo=timezone.utc)
# The real seconds that a loopback connection may take.
_SETTLING_SECONDS = 0.001
_STUCK_SECONDS = 10.0


class _Selector(selectors.DefaultSelector):
    """Waits only while something may still arrive from a socket."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """Return the events that are ready; if there are none, advance the time."""
        events = super().select(0)
        if events or (timeout is not None and timeout <= 0):
            return events
        # One of the sockets is the loop's own.
        has_sockets = len(self.get_map()) > 1
        if timeout is None or has_sockets:
            events = super().select(_STUCK_SECONDS if timeout is None else _SETTLING_SECONDS)
        if not events:
            assert timeout is not None, "deadlock: all tasks wait, and there is no timer"
            self.seconds += timeout
        return events


class Simulation(Clock):
    """The clock of a loop, for the clients in it and for a local server."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def now(self) -> datetime:
        """Return the date and time."""
        return START + timedelta(seconds=self.loop.time())

    def monotonic(self) -> float:
        """Return the seconds since the start."""
        return self.loop.time()


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        selector = _Selector()
        super().__init__(selector)
        self._virtual = selector
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Return the seconds since the start."""
        return self._virtual.seconds


def simulate(main: Callable[[Simulation], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine function to its end in virtual time."""
    loop = _Loop()
    clock = Simulation(loop)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sdk_clock, "current", clock)
        # What the background does takes virtual time, too.
        patch.setattr(background, "submit", lambda function: background.keep(loop.create_task(function())))
        try:
            return loop.run_until_complete(_run(main, clock))
        finally:
            loop.close()


async def _run(main: Callable[[Simulation], Coroutine[Any, Any, T]], sim: Simulation) -> T:
    try:
        return await main(sim)
    finally:
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await asyncio.get_running_loop().shutdown_asyncgens()
