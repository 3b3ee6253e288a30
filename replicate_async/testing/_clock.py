"""Time, as the local server sees it.

Everything here that waits, expires or carries a timestamp asks one clock, so that a virtual one can take the place of
the real one.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import os
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone
from typing import Protocol

import replicate_async._http.clock as clients

_HOPS = 10  # turns of a loop without a stir after which nobody is about to do anything
_SLICES = 10  # of the patience: when the whole process was held up, only one of them is lost
_NOTHING = nullcontext()


def _nothing() -> None:
    """Take note of nothing: real time goes on by itself."""


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

    # What the server tells a clock; the real one runs anyway.

    def attach(self) -> None:
        """Take note that a server runs on this loop."""

    def detach(self) -> None:
        """Take note that it runs no longer."""

    def working(self) -> AbstractContextManager[None]:
        """Return a context manager for what the server does, and is done with only when it sleeps or leaves."""
        return _NOTHING

    def serving(self) -> AbstractContextManager[None]:
        """Return a context manager around what the server does with a request: its client has nothing to do then."""
        return _NOTHING

    def busy(self) -> Callable[[], None]:
        """Take note that a client does something, and return what it calls when that is done."""
        return _nothing

    def stir(self) -> None:
        """Take note that something happens."""


class VirtualClock(Clock):
    """A clock that jumps instead of waiting, for tests of what takes long.

    By itself it goes on to the next moment at which something is due as soon as all that the server runs sleeps on
    this clock: ten minutes take milliseconds. With ``auto=False`` it stands still until ``advance`` is called. Models
    sleep on it with ``await server.clock.sleep(seconds)``; ``startup`` and ``output_delay`` go by it anyway.

    While a server with this clock runs, all clients in this process go by it, too: the pauses of their retries and
    polls, and their time limits. It doesn't go on while a request or an answer is on its way.

    What waits for something else, such as a thread that computes or a real ``asyncio.sleep``, is given ``patience``
    first, in real seconds; then the clock goes on without it.

    Args:
        start: The time at the beginning; by default the real one.
        auto: Whether the clock goes on by itself.
        patience: How long it waits for what doesn't sleep on it.
    """

    def __init__(self, start: datetime | None = None, *, auto: bool = True, patience: float = 0.1) -> None:
        self._start = start or datetime.now(timezone.utc)
        if self._start.tzinfo is None:
            raise ValueError(f"start: expected a time with its zone, got {start}")
        self._seconds = 0.0
        self._limit = float("inf") if auto else 0.0  # up to when it may go by itself
        self._patience = patience
        self._timers: list[tuple[float, bool, int, _VirtualTimer]] = []
        self._lock = threading.Lock()  # of the above, as callers may have loops of their own
        self._count = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.AbstractEventLoop | None = None  # a loop that keeps time no longer
        self._servers = 0
        self._awake = 0  # how many of those that work don't sleep
        self._requests: set[_Token] = set()  # what clients have under way
        self._served = 0  # how many requests the server has, and has not answered
        self._turns: set[_Token] = set()  # what happened in other loops, until its consequences have shown
        self.replaced: clients.Clock | None = None  # what clients went by before
        self._step: asyncio.Handle | None = None

    def now(self) -> datetime:
        """Return the virtual date and time, in UTC."""
        return self._start + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        """Return the virtual seconds since the start."""
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has gone on by so much; works in any loop."""
        worker = _worker.get()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        awake = False

        def wake() -> None:
            nonlocal awake
            if not awake:
                awake = True
                self._change(worker, -1)
                if not waiter.done():
                    waiter.set_result(None)

        timer = self.call_later(seconds, wake)
        self._change(worker, 1)
        try:
            await waiter
        finally:
            timer.cancel()
            wake()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back on the running loop when the clock has gone on by so much."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._settle(self._noted(self._turns))
        return self._add(seconds, callback, loop)

    def busy(self) -> Callable[[], None]:
        """Take note that a client does something; return what it calls when that is done."""
        request = self._noted(self._requests)
        self.stir()
        return lambda: self._settle(request)  # what comes of it may take some turns

    def advance(self, seconds: float) -> Awaitable[None]:
        """Let time pass: everything that is due meanwhile happens, in order and at its own moment.

        ``await`` it where a loop runs. Elsewhere, and so for a server in a thread, it blocks; what it returns then
        need not be awaited.
        """
        if seconds < 0:
            raise ValueError(f"time goes on: expected 0 seconds or more, got {seconds}")
        arrived: Future[None] = Future()
        loop = self._loop
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            if loop is None:
                self._seconds += seconds
                return _Arrived()
            loop.call_soon_threadsafe(self._head_for, seconds, arrived)
            arrived.result()
            return _Arrived()
        if loop is None or loop is running:
            self._head_for(seconds, arrived)
        else:
            loop.call_soon_threadsafe(self._head_for, seconds, arrived)
        return asyncio.wrap_future(arrived)

    def attach(self) -> None:
        """Take note that a server runs on this loop."""
        loop = asyncio.get_running_loop()
        if self._servers and self._loop is not loop:
            raise RuntimeError("this clock belongs to a server that runs in another loop")
        if not self._servers:
            if isinstance(clients.current, VirtualClock):
                raise RuntimeError(
                    "a server with another virtual clock runs in this process, and clients can go by one clock only: "
                    "run one server after the other, or both in one event loop with the same clock"
                )
            self.replaced, clients.current = clients.current, self
        self._loop, self._ended = loop, None
        self._servers += 1

    def detach(self) -> None:
        """Take note that it runs no longer."""
        self._servers -= 1
        if not self._servers:
            self._cancel_step()
            here, self._loop = self._loop, None
            if self.replaced is not None:
                clients.current, self.replaced = self.replaced, None
            with self._lock:
                targets = [timer for _, last, _, timer in self._timers if last]
                loops = [timer.loop for *_, timer in self._timers if timer.callback is not None]
            for timer in targets:  # somebody may be blocked in advance()
                timer.fire()
            others = [loop for loop in loops if loop is not here and not loop.is_closed()]
            self._ended = here if others else None
            for loop in others[:1] or loops[:1]:  # whoever sleeps still keeps time there
                with suppress(RuntimeError):  # unless it has just ended, too
                    loop.call_soon_threadsafe(self._arm, loop)

    @contextmanager
    def _working(self) -> Generator[None]:
        worker = _Worker()
        with self._lock:
            self._awake += 1
        self.stir()
        token = _worker.set(worker)
        try:
            yield
        finally:
            _worker.reset(token)
            with self._lock:
                worker.gone = True
                self._awake -= not worker.sleeping
            self.stir()

    def working(self) -> AbstractContextManager[None]:
        """Return a context manager for what the server does, and is done with only when it sleeps or leaves."""
        return self._working()

    @contextmanager
    def _serving(self) -> Generator[None]:
        self._served += 1
        self.stir()
        try:
            yield
        finally:
            self._served -= 1
            self.stir()

    def serving(self) -> AbstractContextManager[None]:
        """Return a context manager around what the server does with a request: its client has nothing to do then."""
        return self._serving()

    def stir(self) -> None:
        """Start over waiting for the moment when nobody has anything to do."""
        loop = self._loop  # which a server that stops takes away at any time
        if loop is None:
            self._arm(asyncio.get_running_loop())
        elif loop is _running_loop():
            self._arm(loop)
        else:
            with suppress(RuntimeError):  # that loop is gone, and its server with it
                loop.call_soon_threadsafe(self._arm, loop)

    def _noted(self, pending: set[_Token]) -> _Token:
        """Return a token for something that the clock waits for."""
        token = _Token(pending)
        with self._lock:
            pending.add(token)
        return token

    def _settle(self, token: _Token, left: int = _HOPS) -> None:
        """Give the running loop its turns, then wait for the token's thing no longer."""
        if left:
            asyncio.get_running_loop().call_soon(self._settle, token, left - 1)
        else:
            with self._lock:
                token.pending.discard(token)
            self.stir()

    def _change(self, worker: _Worker | None, sleeping: int) -> None:
        """Take note that a worker's task fell asleep, or woke up."""
        if worker is None:
            return
        with self._lock:
            before = worker.sleeping > 0
            worker.sleeping += sleeping
            if not worker.gone:
                self._awake += before - (worker.sleeping > 0)
        self.stir()

    def _add(
        self, seconds: float, callback: Callable[[], None], loop: asyncio.AbstractEventLoop, *, last: bool = False
    ) -> _VirtualTimer:
        timer = _VirtualTimer(callback, loop)
        with self._lock:
            due = self._seconds + max(0.0, seconds)
            heapq.heappush(self._timers, (due, last, next(self._count), timer))
            if last:
                self._limit = max(self._limit, due)
        self.stir()
        return timer

    def _head_for(self, seconds: float, arrived: Future[None]) -> None:
        self._add(seconds, lambda: _arrive(arrived), asyncio.get_running_loop(), last=True)

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if loop is self._ended:  # what stirred there when it still did
            return
        self._cancel_step()
        if self._timers and self._timers[0][0] <= self._limit:
            if self._awake or self._turns or len(self._requests) > self._served:
                self._be_patient(loop, _SLICES)
            else:
                self._step = loop.call_soon(self._hop, loop, _HOPS)

    def _be_patient(self, loop: asyncio.AbstractEventLoop, left: int) -> None:
        if left:
            self._step = loop.call_later(self._patience / _SLICES, self._be_patient, loop, left - 1)
        else:
            with self._lock:  # that was enough, and once is enough
                self._requests.clear()
                self._turns.clear()
            self._move(loop)

    def _cancel_step(self) -> None:
        if self._step is not None:
            self._step.cancel()
            self._step = None

    def _hop(self, loop: asyncio.AbstractEventLoop, left: int) -> None:
        if left:
            self._step = loop.call_soon(self._hop, loop, left - 1)
        else:
            self._move(loop)

    def _move(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on to what is due next."""
        with self._lock:
            timer = None
            while self._timers and self._timers[0][0] <= self._limit and timer is None:
                due, _, _, timer = heapq.heappop(self._timers)
                if timer.callback is None:
                    timer = None
                else:
                    self._seconds = max(self._seconds, due)
        if timer is not None and timer.loop is loop:
            timer.fire()
        elif timer is not None:
            turns = self._noted(self._turns)
            try:
                timer.loop.call_soon_threadsafe(self._fire, timer, turns)
            except RuntimeError:  # whoever slept in that loop is gone with it
                self._turns.discard(turns)
        self._arm(loop)

    def _fire(self, timer: _VirtualTimer, turns: _Token) -> None:
        """Fire a timer in its loop, and let it have its consequences there."""
        timer.fire()
        self._settle(turns)


class _Token:
    """Something that the clock waits for, in one of its sets."""

    def __init__(self, pending: set[_Token]) -> None:
        self.pending = pending


class _Worker:
    """Something that the server does; its tasks may sleep."""

    def __init__(self) -> None:
        self.sleeping = 0
        self.gone = False


_worker: ContextVar[_Worker | None] = ContextVar("replicate_async.testing.worker", default=None)


def _after_fork() -> None:
    """Have the clients of a forked child go by the real time: the server that moves the virtual one isn't there."""
    if isinstance(clients.current, VirtualClock) and clients.current.replaced is not None:
        clients.current = clients.current.replaced


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class _VirtualTimer:
    """A pending callback of a virtual clock."""

    def __init__(self, callback: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self.callback: Callable[[], None] | None = callback
        self.loop = loop

    def cancel(self) -> None:
        """Forget the callback."""
        self.callback = None

    def fire(self) -> None:
        """Call back, once."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class _Arrived:
    """An awaitable that need not be awaited."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


def _arrive(arrived: Future[None]) -> None:
    with suppress(Exception):  # whoever waited has given up
        arrived.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
