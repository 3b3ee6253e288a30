"""Time, as the local server sees it.

Everything here that waits, expires or carries a timestamp asks one clock, so that a clock that jumps can take
the place of the real one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Protocol


class Timer(Protocol):
    """A pending callback."""

    def cancel(self) -> None:
        """Forget the callback; too late is fine."""


class Clock:
    """The real time."""

    def now(self) -> datetime:
        """Return the date and time, in UTC."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return seconds from some fixed point; only differences mean something."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back on the running loop when the time has passed."""
        return asyncio.get_running_loop().call_later(seconds, callback)
