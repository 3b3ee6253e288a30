"""Concurrency limits: how many calls are in flight."""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf


class RateLimited(Exception):  # noqa: N818 - the transport makes it the caller's error
    """A call was not sent, because its rate limit lets no call through for longer than its total timeout.

    The time that it spends behind other calls does not count, except with a limit that processes share: that raises if
    the call's own turn comes too late. Creates, and calls without a total timeout, wait as long as necessary.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the API's rate limit lets no call through for {seconds:.0f} s, longer than the timeout")


class ConcurrencyLimiter:
    """Limits the number of calls in flight; the rest wait, first in, first out.

    The queues of aiohttp's connector and of ``asyncio.Semaphore`` are slow with thousands of waiters.
    """

    __slots__ = ("_available", "_queue")

    def __init__(self, slots: int) -> None:
        self._available = slots
        self._queue: deque[asyncio.Future[None]] = deque()

    def try_acquire(self) -> bool:
        """Take a slot if one is available."""
        if self._available <= 0:
            return False
        self._available -= 1
        return True

    async def acquire(self) -> None:
        """Wait for a slot."""
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.release()
            raise

    def release(self) -> None:
        """Hand the slot to the next waiter."""
        self._available += 1
        if self._queue:
            self._wake_next()

    def _wake_next(self) -> None:
        while self._available > 0 and self._queue:
            turn = self._queue.popleft()
            # Canceled waiters stay in the queue until it is their turn.
            if not turn.done():
                self._available -= 1
                turn.set_result(None)


class Slot:
    """A slot of a limiter, which is released once, however often that is asked for."""

    __slots__ = ("_held", "_limiter")

    def __init__(self, limiter: ConcurrencyLimiter) -> None:
        self._limiter = limiter
        self._held = False

    async def acquire(self) -> None:
        """Wait for the slot."""
        if not self._limiter.try_acquire():
            await self._limiter.acquire()
        self._held = True

    def release(self) -> None:
        """Release the slot, if that was not done before."""
        if self._held:
            self._held = False
            self._limiter.release()


class AdaptiveConcurrencyLimiter(ConcurrencyLimiter):
    """Limits the creates in flight by the latency of the API.

    A few are in flight until the first response. If the API says how many more calls may be made, the latency alone
    decides from then on. Otherwise, slots are added with the responses, by a half in each round trip: the fewer are in
    flight, the fewer get a 429 response when a limit suddenly takes effect.
    """

    __slots__ = ("_fastest", "_responses", "_slots")

    first_slots: int = 4
    # From the first response on. A slow start begins with them, also after a 429 response.
    min_slots: int = 16
    max_slots: int = 100
    responses_per_slot: int = 2
    # More creates in flight than this rate takes, by Little's law, would only wait at the API.
    max_per_second: float = 2000.0

    def __init__(self) -> None:
        super().__init__(self.first_slots)
        self._slots = self.first_slots
        self._responses = 0
        self._fastest = inf

    @property
    def has_response(self) -> bool:
        """Whether the API has responded yet."""
        return self._fastest < inf

    def on_throttled(self) -> None:
        """Start again after a 429 response."""
        self._responses = 0
        if self.has_response:
            self._resize(self.min_slots)

    def on_response(self, latency: float, *, slow_start: bool = True) -> None:
        """Add slots, up to what the latency allows. The next ``release`` hands them to the waiters."""
        # The fastest latency is forgotten over time, because networks change.
        self._fastest = min(latency, 1.001 * self._fastest)
        self._responses += 1
        slots = self.max_per_second * self._fastest
        if slow_start:
            slots = min(slots, self.min_slots + self._responses // self.responses_per_slot)
        self._resize(max(self.min_slots, int(min(slots, self.max_slots))))

    def _resize(self, slots: int) -> None:
        self._available += slots - self._slots
        self._slots = slots
