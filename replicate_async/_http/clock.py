"""Time, as the clients see it: the real one, unless the test kit has put a virtual clock in its place."""

from __future__ import annotations

import time
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class Timer(Protocol):
    """A pending callback."""

    def cancel(self) -> None:
        """Forget the callback."""


class Clock(Protocol):
    """What waits."""

    def now(self) -> datetime:
        """Return the date and time, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds from some fixed point."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back on the running loop when the time has passed."""
        ...

    def busy(self) -> Callable[[], None]:
        """Take note that a client does something, such as a request, and return what it calls when that is done.

        Until then a virtual clock doesn't jump, unless it is the server that waits.
        """
        ...


class _RealClock:
    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        import asyncio  # not for those who only want to know the time

        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        import asyncio

        return asyncio.get_running_loop().call_later(seconds, callback)

    def busy(self) -> Callable[[], None]:
        return _nothing


def _nothing() -> None:
    """Take note of nothing: real time goes on by itself."""


current: Clock = _RealClock()


@contextmanager
def busy() -> Generator[None]:
    """Take note that a client does something in the block; see ``Clock.busy``."""
    done = current.busy()
    try:
        yield
    finally:
        done()


@contextmanager
def time_limit(seconds: float | None) -> Generator[None]:
    """Leave the block, quietly, when the time has passed; None: never."""
    import anyio

    with anyio.CancelScope() as scope:
        timer = None if seconds is None else current.call_later(seconds, scope.cancel)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()
