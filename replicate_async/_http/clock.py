"""Time as the clients see it: real time, unless the test kit has installed a virtual clock."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime, timezone
from typing import Protocol

from replicate_async._monotonic import monotonic


class Timer(Protocol):
    """A pending callback."""

    def cancel(self) -> None:
        """Drop the callback."""


class Clock(Protocol):
    """The current time, and delays."""

    def now(self) -> datetime:
        """Return the date and time, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return the seconds since some fixed point."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Run a callback on the running loop after a delay."""
        ...

    def busy(self) -> Callable[[], None]:
        """Mark the start of work such as a request, and return the function that marks its end.

        A virtual clock does not jump in between, unless it is the server that waits.
        """
        ...


class _RealClock:
    def now(self) -> datetime:
        return datetime.now(timezone.utc)

    # Without a method of its own, because every call reads the time several times.
    monotonic = staticmethod(monotonic)

    async def sleep(self, seconds: float) -> None:
        import asyncio  # keeps the import of this module light

        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        import asyncio

        return asyncio.get_running_loop().call_later(seconds, callback)

    def busy(self) -> Callable[[], None]:
        return _do_nothing


def _do_nothing() -> None:
    """Mark nothing: real time passes anyway."""


current: Clock = _RealClock()


@contextmanager
def busy() -> Generator[None]:
    """Mark the block as work; see ``Clock.busy``."""
    done = current.busy()
    try:
        yield
    finally:
        done()


# A scope for each of thousands of callers that wait without a limit would take memory for nothing.
_NO_LIMIT = nullcontext()


def time_limit(seconds: float | None) -> AbstractContextManager[None, bool | None]:
    """Leave the block silently after a number of seconds; None: never."""
    return _NO_LIMIT if seconds is None else _time_limit(seconds)


@contextmanager
def _time_limit(seconds: float) -> Generator[None]:
    import anyio

    with anyio.CancelScope() as scope:
        timer = current.call_later(seconds, scope.cancel)
        try:
            yield
        finally:
            timer.cancel()
