"""Rate limits: when calls are made."""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf

import msgspec

from replicate_async._http import clock
from replicate_async._http.concurrency import RateLimited
from replicate_async._http.pace import SharedPace
from replicate_async._stores import StoreLike

# The API's documented limits, in calls per minute. They are the first guess after a 429 response.
# https://replicate.com/docs/topics/predictions/rate-limits
_CREATES_PER_MINUTE, _OTHERS_PER_MINUTE = 600.0, 3000.0
# Fetching one prediction has a limit of its own, by the headers of its responses.
_POLLS_PER_MINUTE = 60_000.0

# The lowest rate that is tried, in calls per minute: a sixth of what the API documents for accounts low on credit.
_MIN_PER_MINUTE = 1.0

# Accounts low on credit may make a call in this many seconds. A longer Retry-After says nothing about the rate.
_LOW_CREDIT_SECONDS = 10.0

# With fewer remaining calls than this, the pace slows down. Programs that share an account so find a balance.
_FEW_REMAINING = 8

# 429 responses with less than this time between them are one episode. The rate recovers when it has passed.
_EPISODE_SECONDS = 2.0

# After this many seconds and calls without a 429 response, the rate grows.
_GROWTH_AFTER_SECONDS, _GROWTH_AFTER_CALLS = 5.0, 20

# The growth of the rate, as a fraction of the learned rate: per second, and at most per call.
_GROWTH_PER_SECOND, _MAX_GROWTH_PER_CALL = 0.02, 0.01

# The pause in seconds after 429 responses without Retry-After, which doubles.
_MIN_BACKOFF, _MAX_BACKOFF = 0.25, 4.0

# The burst that a learned rate allows, in seconds. It makes up for calls that come late.
_BURST_SECONDS = 0.1

# Rounding errors must not make a call wait once more.
_EPSILON = 1e-6


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Maximum numbers of calls per minute. Each allows a burst of one second's worth.

    Raises ``TypeError`` or ``ValueError`` if a number is not a positive number.

    Attributes:
        creates: Predictions and trainings created per minute; None: the limit is learned from responses.
        others: All other calls per minute; None: the limit is learned from responses. Cancels are not limited.
        store: Shares the limits with all processes that name the same store: the path of an SQLite file, the URL of a
            PostgreSQL database, or a ``JournalStore``, for example that of a journal. None: this process has its own.
            If the store fails, calls are not sent: they are tried again, and then raise ``APIConnectionError``.
    """

    creates: float | None = None
    others: float | None = None
    store: StoreLike | None = None

    def __post_init__(self) -> None:
        for name in ("creates", "others"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise TypeError(f"{name} must be a number of calls per minute, not {type(value).__name__}")
            if value is not None and not 0 < value < inf:
                raise ValueError(f"{name}={value} must be a positive number of calls per minute")


class TokenBucket:
    """Limits one kind of call. It is inactive until a response shows that there is a limit.

    ``remaining`` in the headers of the API is believed first: up to half of these calls are in flight, because other
    programs may use the same account. Further calls follow at a pace that slows down as the remaining calls become few.
    Without these headers, the pace is learned from 429 responses.

    It knows no clock: times are seconds that only grow. Clients in several threads share it without a lock: at worst,
    a few calls too many are made.
    """

    def __init__(self, documented_per_minute: float) -> None:
        self.active: bool = False
        # The pace that processes share, if they do.
        self.pace: SharedPace | None = None
        # The calls in flight, and whether each has taken a token. Threads add and remove theirs by key.
        self.in_flight: dict[int, bool] = {}
        self.accepted_at: float = -inf
        # Calls that may be made at once, by the newest response; None without headers.
        self.remaining: int | None = None
        self._highest_remaining = 0
        self._remaining_since = -inf
        # Responses other than 429 since the rate was last learned.
        self._accepted = 0
        # The rate recovers to the target after an episode of 429 responses.
        self._rate = self._target_rate = self._learned_rate = documented_per_minute / 60
        # What the last Retry-After says is possible.
        self._hinted_rate = 0.0
        self._min_rate = min(_MIN_PER_MINUTE, documented_per_minute) / 60
        self._max_rate = 100 * documented_per_minute / 60
        self._is_explicit = False
        self._burst_seconds = _BURST_SECONDS
        self._tokens = 0.0
        self._filled_at = 0.0
        self._blocked_until = self._throttled_at = self._learned_at = -inf
        # 429 responses without Retry-After in a row.
        self._unhinted = 0

    @property
    def per_minute(self) -> float:
        """The pace of calls that need a token."""
        rate = self._rate
        if self.remaining is not None:
            few = min(_FEW_REMAINING, self._highest_remaining // 2)
            rate = max(self._hinted_rate, rate * min(1.0, (self.remaining + 1) / (few + 1)))
        return 60 * rate

    def set_rate(self, per_minute: float, now: float) -> None:
        """Set an explicit limit, which responses can only lower."""
        self.active = self._is_explicit = True
        self._rate = self._target_rate = self._max_rate = per_minute / 60
        self._min_rate = min(self._min_rate, self._rate)
        self._burst_seconds = 1.0
        self._tokens, self._filled_at = max(1.0, self._rate), now

    def is_open(self, now: float, key: int) -> bool:
        """Return whether a call may be made, or may still be made, without waiting for a token."""
        if not self.active or self.in_flight.get(key):
            return True
        if now < self._blocked_until or self.remaining is None or self._is_explicit:
            return False
        return len(self.in_flight) - (key in self.in_flight) < self.remaining // 2

    def reserve(self, now: float, key: int) -> float:
        """Let a call be made: return 0, or the seconds to wait before the next try."""
        if self.is_open(now, key):
            self.in_flight[key] = False
            return 0.0
        self._recover(now)
        rate = self.per_minute / 60
        passed, self._filled_at = max(0.0, now - self._filled_at), max(now, self._filled_at)
        self._tokens = min(max(1.0, self._burst_seconds * rate), self._tokens + passed * rate)
        if now < self._blocked_until:
            return self._blocked_until - now
        if self._tokens < 1 - _EPSILON:
            return (1 - self._tokens) / rate
        self._tokens -= 1
        self.in_flight[key] = True
        return 0.0

    def blocked_for(self, now: float) -> float:
        """Return the seconds for which no call is made."""
        return max(0.0, self._blocked_until - now)

    def _recover(self, now: float) -> None:
        """Double the rate every second until it is what it was before the 429 responses, then let it grow slowly."""
        if self._rate < self._target_rate:
            calm = now - max(self._filled_at, self._blocked_until, self._throttled_at + _EPISODE_SECONDS)
            if calm > 0:
                self._rate = min(self._target_rate, self._rate * 2 ** min(calm, 1.0))
        elif now - self._learned_at > _GROWTH_AFTER_SECONDS and self._accepted >= _GROWTH_AFTER_CALLS:
            # Additive increase, by a fixed part of the learned rate.
            growth = min(_GROWTH_PER_SECOND * (now - self._filled_at), _MAX_GROWTH_PER_CALL)
            self._rate = self._target_rate = min(self._max_rate, self._rate + self._learned_rate * growth)

    def refund(self, key: int) -> None:
        """Forget a call that was not made."""
        if self.in_flight.pop(key, False):
            self._tokens += 1

    def on_accepted(self, sent_at: float, now: float, remaining: int | None) -> None:
        """Note a response other than 429."""
        self._accepted += 1
        self._unhinted = 0
        self.accepted_at = now
        if remaining is not None:
            self.active = True
            self._note_remaining(sent_at, now, remaining)

    def _note_remaining(self, sent_at: float, now: float, remaining: int) -> None:
        self._highest_remaining = max(self._highest_remaining, remaining)
        # Responses overtake each other: only a call that was sent after the last response shows that there are more.
        if self.remaining is None or sent_at > self._remaining_since:
            self.remaining, self._remaining_since = remaining, now
        self.remaining = min(self.remaining, remaining)

    def on_throttled(self, sent_at: float, now: float, retry_after: float | None) -> bool:
        """Learn from a 429 response: block all calls until it allows them, and limit their rate from then on.

        Returns:
            Whether it begins an episode of 429 responses.
        """
        if self.remaining is not None:
            self._note_remaining(sent_at, now, 0)
        # A call that was made before the rate was last learned shows nothing new.
        is_news = sent_at > self._learned_at
        if retry_after is None:
            self._unhinted += is_news
            retry_after = min(_MAX_BACKOFF, _MIN_BACKOFF * 2.0**self._unhinted) if is_news else 0.0
        self._blocked_until = max(self._blocked_until, now + retry_after)
        if not is_news:
            return False
        is_first = self._learned_at == -inf
        begins_episode = now - self._throttled_at > _EPISODE_SECONDS + retry_after
        if is_first and 1 < retry_after <= _LOW_CREDIT_SECONDS:
            self._rate = max(self._min_rate, min(self._rate, max(1, self._accepted) / retry_after))
        elif self._accepted and not is_first:
            # At both responses less than one token was left. So the API allows what was accepted in between, and at
            # most one more.
            measured = (self._accepted + 1) / (now - self._learned_at)
            self._hinted_rate = min(0.95 * self._rate, 1.0) if retry_after <= 1 else 0.0
            self._rate = max(self._min_rate, self._hinted_rate, min(measured, 0.95 * self._rate))
            if begins_episode or retry_after > 1:
                self._target_rate = self._rate
        self.active = True
        self._accepted = 0
        # There is a token when Retry-After has passed; an explicit limit is kept nevertheless.
        tokens = max(0.0, 1 - self._rate * retry_after)
        self._tokens, self._filled_at = min(self._tokens, tokens) if self._is_explicit else tokens, now
        self._throttled_at = self._learned_at = now
        self._learned_rate = self._rate
        self._burst_seconds = _BURST_SECONDS
        return begins_episode


class Limits:
    """The rate limits of one token at one base URL: one for each kind of call, as the API has them."""

    def __init__(self) -> None:
        self.creates: TokenBucket = TokenBucket(_CREATES_PER_MINUTE)
        # Fetching one prediction or training.
        self.polls: TokenBucket = TokenBucket(_POLLS_PER_MINUTE)
        self.others: TokenBucket = TokenBucket(_OTHERS_PER_MINUTE)
        self._explicit: RateLimit | None = None

    def set_rates(self, limit: RateLimit) -> None:
        """Set explicit limits for all clients with this token."""
        if limit == self._explicit:
            # A copy of a client sets the same limits again: the tokens that are used up stay used up.
            return
        self._explicit = limit
        now = clock.current.monotonic()
        for bucket, name, rate in ((self.creates, "creates", limit.creates), (self.others, "others", limit.others)):
            if rate is not None:
                bucket.set_rate(rate, now)
                bucket.pace = None if limit.store is None else SharedPace(limit.store, name, rate)
        if limit.others is not None:
            # The explicit limit is for both together.
            self.polls = self.others


class RateLimiter:
    """Makes the calls of one event loop wait for tokens of a bucket, first in, first out."""

    def __init__(self, bucket: TokenBucket) -> None:
        self._bucket = bucket
        self._queue: deque[tuple[asyncio.Future[None], int, float | None]] = deque()
        self._shortest_delay = inf
        self._timer: clock.Timer | None = None

    async def acquire(self, key: int, max_delay: float | None = None) -> None:
        """Wait for a token.

        Raises:
            RateLimited: no call can be made for more than ``max_delay`` seconds, or this one can't in a shared limit.
        """
        if self._bucket.pace is not None:
            await self._bucket.pace.wait(max_delay)
        turn = asyncio.get_running_loop().create_future()
        self._queue.append((turn, key, max_delay))
        if max_delay is not None:
            self._shortest_delay = min(self._shortest_delay, max_delay)
        if self._timer is None or self._bucket.blocked_for(clock.current.monotonic()) > self._shortest_delay:
            self._wake_next()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._bucket.refund(key)
            raise

    def _wake_next(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._queue:
            turn, key, _ = self._queue[0]
            # Canceled waiters stay in the queue until it is their turn.
            if not turn.done():
                delay = self._bucket.reserve(clock.current.monotonic(), key)
                if delay > self._shortest_delay:
                    self._turn_away(delay)
                    continue
                if delay:
                    self._timer = clock.current.call_later(delay, self._wake_next)
                    return
                turn.set_result(None)
            self._queue.popleft()

    def _turn_away(self, delay: float) -> None:
        """Raise to the calls that may not wait for so long."""
        for turn, _, max_delay in self._queue:
            if max_delay is not None and max_delay < delay and not turn.done():
                turn.set_exception(RateLimited(delay))
        self._shortest_delay = min(
            (max_delay for turn, _, max_delay in self._queue if max_delay is not None and not turn.done()), default=inf
        )
