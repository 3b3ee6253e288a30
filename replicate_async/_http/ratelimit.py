"""How many calls are made, and when: what the API allows a token, and lines for those that have to wait."""

from __future__ import annotations

import asyncio
from collections import deque
from math import inf

import msgspec

from replicate_async._http import clock

# What the API documents, in calls a minute: the first guess once a refusal shows that there is a limit.
_CREATES, _OTHERS = 600.0, 3000.0

_LEAST = 1.0  # a sixth of what it documents for accounts that are low on credit: an end of refusals is noticed

_CALM, _CALM_CALLS = 15.0, 20  # seconds, and calls, without a refusal after which more is tried
_GROWTH, _GROWTH_MOST = 0.02, 0.01  # of the rate that was learnt, in a second and with a call
_BURST = 0.1  # seconds' worth that a learnt pace allows at once: what comes late is made up for, but nothing piles up
_EPSILON = 1e-6  # rounding must not make anybody wait once more


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """How many calls a minute a client allows itself, with a second's worth at once.

    Attributes:
        creates: Predictions and trainings created in a minute; None: as many as the API takes.
        others: All other calls in a minute; None: as many as the API takes.
    """

    creates: float | None = None
    others: float | None = None

    def __post_init__(self) -> None:
        for name in ("creates", "others"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
                raise TypeError(f"{name} must be a number of calls a minute, not {type(value).__name__}")
            if value is not None and not 0 < value < inf:
                raise ValueError(f"{name}={value} must be a positive number of calls a minute")


class TokenBucket:
    """How many calls of one kind may be made. Open until a refusal shows that there is a limit; then they are paced.

    It knows no clock: times are seconds that only grow. Clients in several threads share it, and no step of it
    depends on another one's being undone: at worst, a call too many is made.
    """

    def __init__(self, typical: float) -> None:
        self.paced: bool = False
        self.accepted: int = 0  # since the rate was last learnt
        self._rate = self._base = typical / 60
        self._least = min(_LEAST, typical) / 60
        self._most = 100 * typical / 60
        self._burst = _BURST
        self._tokens = 0.0
        self._filled = 0.0
        self._shut_until = -inf
        self._learnt = -inf

    def limit(self, a_minute: float, now: float) -> None:
        """Allow so many, and never more, whatever the API says."""
        self.paced = True
        self._rate = self._most = a_minute / 60
        self._least = min(self._least, self._rate)
        self._burst = 1.0
        self._tokens, self._filled = max(1.0, self._rate), now

    def take(self, now: float) -> float:
        """Take the leave for one call: 0, or the seconds to wait before asking again."""
        passed, self._filled = max(0.0, now - self._filled), max(now, self._filled)
        if now - self._learnt > _CALM and self.accepted >= _CALM_CALLS:
            # Additive increase: always by the same part of the rate that was learnt.
            self._rate = min(self._most, self._rate + self._base * min(_GROWTH * passed, _GROWTH_MOST))
        self._tokens = min(max(1.0, self._burst * self._rate), self._tokens + passed * self._rate)
        if now < self._shut_until:
            return self._shut_until - now
        if self._tokens < 1 - _EPSILON:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0

    def refund(self) -> None:
        """Return what was taken for a call that wasn't made."""
        self._tokens += 1

    def refused(self, sent: float, now: float, retry_after: float | None) -> None:
        """Learn from a refusal of a call made at ``sent``: nobody calls before it says so, and then at a pace."""
        self._shut_until = max(self._shut_until, now + (retry_after or 0.0))
        if sent <= self._learnt:
            return  # made before the last lesson: it teaches nothing new
        if self.paced:
            # At both refusals less than one was left: what was accepted in between, and one more at most, is what the
            # API allows.
            measured = (self.accepted + 1) / (now - self._learnt) if self.accepted else self._rate / 2
            self._rate = max(self._least, min(measured, 0.95 * self._rate))
        self.paced = True
        self.accepted = 0
        self._tokens, self._filled, self._learnt = 0.0, now, now
        self._burst = _BURST
        self._base = self._rate


class Limits:
    """What one token may do at one base URL."""

    def __init__(self) -> None:
        self.creates: TokenBucket = TokenBucket(_CREATES)
        self.others: TokenBucket = TokenBucket(_OTHERS)
        self._explicit: RateLimit | None = None

    def set(self, limit: RateLimit) -> None:
        """Set explicit limits, for all clients with this token."""
        if limit == self._explicit:
            return  # by a copy of the client: what has been used up stays so
        self._explicit = limit
        now = clock.current.monotonic()
        if limit.creates is not None:
            self.creates.limit(limit.creates, now)
        if limit.others is not None:
            self.others.limit(limit.others, now)


class RateLimiter:
    """Lets those of one event loop through as a budget allows, in the order of their arrival."""

    def __init__(self, budget: TokenBucket) -> None:
        self._budget = budget
        self._line: deque[asyncio.Future[None]] = deque()
        self._timer: clock.Timer | None = None

    async def enter(self) -> None:
        """Wait for the leave to make a call."""
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        if self._timer is None:
            self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._budget.refund()
            raise

    def _serve(self) -> None:
        self._timer = None
        while self._line:
            if not self._line[0].done():  # who was cancelled is still in line
                delay = self._budget.take(clock.current.monotonic())
                if delay:
                    self._timer = clock.current.call_later(delay, self._serve)
                    return
                self._line[0].set_result(None)
            self._line.popleft()


class ConcurrencyLimiter:
    """Lets so many in at once; others wait in line, and a place goes straight from who leaves to who is first.

    The connector's own queue grows costly when thousands wait, and so does ``asyncio.Semaphore``, which looks through
    all whom it has woken and who haven't run yet.
    """

    __slots__ = ("_free", "_line")

    def __init__(self, places: int) -> None:
        self._free = places
        self._line: deque[asyncio.Future[None]] = deque()

    def try_acquire(self) -> bool:
        """Take a place if one is free."""
        if self._free <= 0:
            return False
        self._free -= 1
        return True

    async def enter(self) -> None:
        """Take a place when it is one's turn."""
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.leave()  # the turn had come already
            raise

    def leave(self) -> None:
        """Give one's place to who is next."""
        self._free += 1
        while self._free > 0 and self._line:
            turn = self._line.popleft()
            if not turn.done():  # who was cancelled is still in line
                self._free -= 1
                turn.set_result(None)


class AdaptiveConcurrencyLimiter(ConcurrencyLimiter):
    """The line of the creates. How many may be under way at once follows from how fast the API answers.

    A few on a fast network create a thousand a second already. The fewer there are, the fewer are refused when a
    limit shows suddenly.
    """

    __slots__ = ("_answers", "_fastest", "_places")

    least: int = 4
    most: int = 16
    step: int = 25  # quick answers to one more place: of a burst's worth, few are refused when it is used up
    quick: float = 0.01  # seconds: what differs below that is the client's own work, and tells nothing of the API

    def __init__(self) -> None:
        super().__init__(self.least)
        self._places = self.least
        self._answers = 0
        self._fastest = inf

    def refused(self) -> None:
        """Take note of a refusal: begin again with few."""
        self._resize(self.least)

    def learn(self, seconds: float) -> None:
        """Take note of an answer. As long as more at once doesn't make them slow, there may be more."""
        seconds = max(seconds, self.quick)
        self._fastest = min(seconds, 1.001 * self._fastest)  # forgotten with time: networks change
        if seconds < 2 * self._fastest and self._line and self._places < self.most:
            self._answers += 1
            if self._answers == self.step:
                self._resize(self._places + 1)
        elif seconds > 4 * self._fastest and self._places > self.least:
            self._resize(self._places - 1)

    def _resize(self, places: int) -> None:
        self._free += places - self._places
        self._places = places
        self._answers = 0
