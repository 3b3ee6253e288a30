"""The clock of a local server. Everything that waits, expires or carries a timestamp uses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timezone
from typing import Protocol, get_args

from replicate_async.types import Time

_NO_CONTEXT = nullcontext()
# In a tuple, where freezegun replaces nothing.
_CLASSES: tuple[type[datetime]] = (get_args(Time)[0],)


def _do_nothing() -> None:
    """Real time passes by itself."""


class Timer(Protocol):
    """A scheduled callback."""

    def cancel(self) -> None:
        """Cancel the callback; does nothing if it has run."""


class Clock:
    """Real time."""

    def now(self) -> datetime:
        """Return the date and time, in UTC."""
        now = datetime.now(timezone.utc)
        # Not of a subclass, which freezegun makes, and which JSON encoders don't know.
        return _CLASSES[0].combine(now.date(), now.timetz())

    def monotonic(self) -> float:
        """Return seconds since an arbitrary point; only differences are meaningful."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back on the running loop after a time."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    # The server and its clients call these hooks. A virtual clock needs them to know when nothing is left to do.

    def attach(self) -> None:
        """Called on its loop when a server starts."""

    def detach(self) -> None:
        """Called when a server stops."""

    def working(self) -> AbstractContextManager[None]:
        """Return a context for work of the server that ends by itself, unless it sleeps on this clock."""
        return _NO_CONTEXT

    def serving(self) -> AbstractContextManager[None]:
        """Return a context in which the server handles a request, while the client waits for the response."""
        return _NO_CONTEXT

    def busy(self) -> Callable[[], None]:
        """Called when a client starts something, such as a request; returns a function to call when it is done."""
        return _do_nothing

    def request_arrived(self) -> None:
        """Called when a request arrives."""
