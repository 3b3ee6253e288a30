"""A rate limit that several processes share through a store."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

from replicate_async._http import clock
from replicate_async._http.concurrency import RateLimited
from replicate_async._http.locks import KeyedLock
from replicate_async._stores import StoreLike, open_store
from replicate_async.errors import APIConnectionError

T = TypeVar("T")

# In seconds: the burst that is allowed, and for how many calls a process reserves slots at once.
_BURST_SECONDS, _MAX_RESERVED_SECONDS = 1.0, 0.5


class SharedPace:
    """Gives calls their slots, first in, first out. The store has the time at which the next slot begins."""

    def __init__(self, store: StoreLike, name: str, per_minute: float) -> None:
        self._store = open_store(store)
        self._is_own = self._store is not store
        self._key = f"limit/{name}"
        self._interval = 60 / per_minute
        self._turns = KeyedLock()
        self._waiting = 0
        # Reserved, by the clock that processes share.
        self._slots: deque[float] = deque()

    async def wait(self, max_delay: float | None) -> None:
        """Wait for a slot.

        Raises:
            RateLimited: it begins in more than ``max_delay`` seconds.
            APIConnectionError: the store failed. What was not sent for that may be tried again.
        """
        if max_delay is not None and self._waiting * self._interval > max_delay:
            raise RateLimited(self._waiting * self._interval)
        self._waiting += 1
        try:
            async with self._turns.hold(self):
                slot = await self._next_slot(max_delay)
                try:
                    if (delay := slot - _now()) > 0:
                        await clock.current.sleep(delay)
                except BaseException:
                    self._slots.appendleft(slot)
                    raise
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Close the store, unless it is the user's own."""
        if self._is_own:
            await self._store.close()

    async def _next_slot(self, max_delay: float | None) -> float:
        # Loops of other threads take some at the same time.
        with suppress(IndexError):
            # Slots that were not used in time are lost, as they are without a store.
            while (slot := self._slots.popleft()) <= _now() - _BURST_SECONDS:
                pass
            return slot
        count = max(1, min(self._waiting, int(_MAX_RESERVED_SECONDS / self._interval)))
        while True:
            value = await _attempt(self._store.get(self._key))
            start = max(float(value or 0), _now() - _BURST_SECONDS)
            if max_delay is not None and start - _now() > max_delay:
                raise RateLimited(start - _now())
            following = repr(start + count * self._interval).encode()
            if await _attempt(self._store.swap(self._key, value, following)):
                self._slots.extend(start + number * self._interval for number in range(1, count))
                return start


async def _attempt(operation: Awaitable[T]) -> T:
    with clock.busy():
        try:
            return await operation
        except (ImportError, TypeError, ValueError):
            # It can't be used at all.
            raise
        except Exception as error:
            raise APIConnectionError(
                f"the store of the rate limit failed: {str(error) or type(error).__name__}", sent=False
            ) from error


def _now() -> float:
    return clock.current.now().timestamp()
