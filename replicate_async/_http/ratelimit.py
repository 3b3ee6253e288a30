"""Rate limits and concurrency limits: how many calls are made, and when."""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf

import msgspec

from replicate_async._http import clock

# The API's documented limits, in calls per minute. They are the first guess after a 429 response.
# https://replicate.com/docs/topics/predictions/rate-limits
_CREATES_PER_MINUTE, _OTHERS_PER_MINUTE = 600.0, 3000.0

# The lowest rate that is tried, in calls per minute: a sixth of what the API documents for accounts low on credit.
_MIN_PER_MINUTE = 1.0

# After this many seconds and calls without a 429 response, the rate grows.
_RECOVERY_SECONDS, _RECOVERY_CALLS = 15.0, 20

# The growth of the rate, as a fraction of the learned rate: per second, and at most per call.
_GROWTH_PER_SECOND, _MAX_GROWTH_PER_CALL = 0.02, 0.01

# The burst that a learned rate allows, in seconds. It makes up for calls that come late.
_BURST_SECONDS = 0.1

# Rounding errors must not make a call wait once more.
_EPSILON = 1e-6


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Maximum numbers of calls per minute. Each allows a burst of one second's worth.

    Attributes:
        creates: Predictions and trainings created per minute; None: the limit is learned from 429 responses.
        others: All other calls per minute; None: the limit is learned from 429 responses.
    """

    creates: float | None = None
    others: float | None = None

    def __post_init__(self) -> None:
        for name in ("creates", "others"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise TypeError(f"{name} must be a number of calls per minute, not {type(value).__name__}")
            if value is not None and not 0 < value < inf:
                raise ValueError(f"{name}={value} must be a positive number of calls per minute")


class TokenBucket:
    """Limits the rate of one kind of call. It is inactive until a 429 response shows that there is a limit.

    It knows no clock: times are seconds that only grow. Clients in several threads share it without a lock: at worst,
    one call too many is made.
    """

    def __init__(self, documented_per_minute: float) -> None:
        self.active: bool = False
        # Responses other than 429 since the rate was last learned.
        self.accepted: int = 0
        self._rate = self._learned_rate = documented_per_minute / 60
        self._min_rate = min(_MIN_PER_MINUTE, documented_per_minute) / 60
        self._max_rate = 100 * documented_per_minute / 60
        self._burst_seconds = _BURST_SECONDS
        self._tokens = 0.0
        self._filled_at = 0.0
        self._blocked_until = -inf
        self._learned_at = -inf

    def set_rate(self, per_minute: float, now: float) -> None:
        """Set an explicit limit, which 429 responses can only lower."""
        self.active = True
        self._rate = self._max_rate = per_minute / 60
        self._min_rate = min(self._min_rate, self._rate)
        self._burst_seconds = 1.0
        self._tokens, self._filled_at = max(1.0, self._rate), now

    def reserve(self, now: float) -> float:
        """Take a token for one call: return 0, or the seconds to wait before the next try."""
        passed, self._filled_at = max(0.0, now - self._filled_at), max(now, self._filled_at)
        if now - self._learned_at > _RECOVERY_SECONDS and self.accepted >= _RECOVERY_CALLS:
            # Additive increase, by a fixed part of the learned rate.
            growth = min(_GROWTH_PER_SECOND * passed, _MAX_GROWTH_PER_CALL)
            self._rate = min(self._max_rate, self._rate + self._learned_rate * growth)
        self._tokens = min(max(1.0, self._burst_seconds * self._rate), self._tokens + passed * self._rate)
        if now < self._blocked_until:
            return self._blocked_until - now
        if self._tokens < 1 - _EPSILON:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0

    def refund(self) -> None:
        """Return the token of a call that was not made."""
        self._tokens += 1

    def on_throttled(self, sent_at: float, now: float, retry_after: float | None) -> None:
        """Learn from a 429 response: block all calls until it allows them, and limit their rate from then on."""
        self._blocked_until = max(self._blocked_until, now + (retry_after or 0.0))
        if sent_at <= self._learned_at:
            # The call was made before the rate was last learned: it shows nothing new.
            return
        if self.active:
            # At both responses less than one token was left. So the API allows what was accepted in between, and at
            # most one more.
            measured = (self.accepted + 1) / (now - self._learned_at) if self.accepted else self._rate / 2
            self._rate = max(self._min_rate, min(measured, 0.95 * self._rate))
        self.active = True
        self.accepted = 0
        self._tokens, self._filled_at, self._learned_at = 0.0, now, now
        self._burst_seconds = _BURST_SECONDS
        self._learned_rate = self._rate


class Limits:
    """The rate limits of one token at one base URL."""

    def __init__(self) -> None:
        self.creates: TokenBucket = TokenBucket(_CREATES_PER_MINUTE)
        self.others: TokenBucket = TokenBucket(_OTHERS_PER_MINUTE)
        self._explicit: RateLimit | None = None

    def set_rates(self, limit: RateLimit) -> None:
        """Set explicit limits for all clients with this token."""
        if limit == self._explicit:
            # A copy of a client sets the same limits again: the tokens that are used up stay used up.
            return
        self._explicit = limit
        now = clock.current.monotonic()
        if limit.creates is not None:
            self.creates.set_rate(limit.creates, now)
        if limit.others is not None:
            self.others.set_rate(limit.others, now)


class RateLimiter:
    """Makes the calls of one event loop wait for tokens of a bucket, first in, first out."""

    def __init__(self, bucket: TokenBucket) -> None:
        self._bucket = bucket
        self._queue: deque[asyncio.Future[None]] = deque()
        self._timer: clock.Timer | None = None

    async def acquire(self) -> None:
        """Wait for a token."""
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        if self._timer is None:
            self._wake_next()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._bucket.refund()
            raise

    def _wake_next(self) -> None:
        self._timer = None
        while self._queue:
            # Canceled waiters stay in the queue until it is their turn.
            if not self._queue[0].done():
                delay = self._bucket.reserve(clock.current.monotonic())
                if delay:
                    self._timer = clock.current.call_later(delay, self._wake_next)
                    return
                self._queue[0].set_result(None)
            self._queue.popleft()


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
        while self._available > 0 and self._queue:
            turn = self._queue.popleft()
            # Canceled waiters stay in the queue until it is their turn.
            if not turn.done():
                self._available -= 1
                turn.set_result(None)


class AdaptiveConcurrencyLimiter(ConcurrencyLimiter):
    """Limits the creates in flight by the latency of the API.

    A few on a fast network make a thousand creates per second. The fewer are in flight, the fewer get a 429 response
    when a limit suddenly takes effect.
    """

    __slots__ = ("_fast_responses", "_fastest", "_slots")

    min_slots: int = 4
    max_slots: int = 16
    # A slot is added after this many fast responses.
    fast_responses_per_slot: int = 25
    # In seconds. Smaller differences are the client's own work and say nothing about the API.
    min_latency: float = 0.01

    def __init__(self) -> None:
        super().__init__(self.min_slots)
        self._slots = self.min_slots
        self._fast_responses = 0
        self._fastest = inf

    def on_throttled(self) -> None:
        """Start again with the minimum after a 429 response."""
        self._resize(self.min_slots)

    def on_response(self, latency: float) -> None:
        """Add slots while more calls in flight don't make the responses slow, and remove slots when they do."""
        latency = max(latency, self.min_latency)
        # The fastest latency is forgotten over time, because networks change.
        self._fastest = min(latency, 1.001 * self._fastest)
        if latency < 2 * self._fastest and self._queue and self._slots < self.max_slots:
            self._fast_responses += 1
            if self._fast_responses == self.fast_responses_per_slot:
                self._resize(self._slots + 1)
        elif latency > 4 * self._fastest and self._slots > self.min_slots:
            self._resize(self._slots - 1)

    def _resize(self, slots: int) -> None:
        self._available += slots - self._slots
        self._slots = slots
        self._fast_responses = 0
