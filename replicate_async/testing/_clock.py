"""Virtual time: a clock that jumps to the next timer when the server and its clients are idle."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime, timedelta, timezone

from replicate_async._fork import after_fork_in_child
from replicate_async._http import clock as client_clock

from ._real_clock import Clock, Timer

# The loop is idle after this many turns in which nothing has rescheduled the check.
_IDLE_TICKS = 10
# The patience is spent in slices: when the whole process is suspended, only one of them is lost.
_PATIENCE_SLICES = 10


class VirtualClock(Clock):
    """A clock that jumps instead of waiting, for tests of things that take long.

    The clock jumps to the next timer as soon as everything that the server runs sleeps on this clock: ten minutes take
    milliseconds. With ``auto=False`` it stands still until ``advance`` is called. Models sleep on the clock with
    ``await server.clock.sleep(seconds)``; ``startup`` and ``output_delay`` always use it.

    While a server with this clock runs, all clients in this process use the clock, too: for the delays of their
    retries and polls, and for their time limits. The clock doesn't jump while a request or a response is in transit.

    If the server waits for anything else, such as a thread that computes or a real ``asyncio.sleep``, the clock first
    waits for ``patience`` seconds of real time.

    Args:
        start: The initial time. If omitted, the current time.
        auto: Whether the clock jumps by itself.
        patience: Real seconds without progress after which the clock jumps although something doesn't sleep on it.
            This is what trio's ``MockClock`` calls ``autojump_threshold``.

    Raises:
        ValueError: ``start`` has no time zone.
        RuntimeError: When a server starts: this clock is used in another event loop, or another virtual clock in this
            process.
    """

    def __init__(self, start: datetime | None = None, *, auto: bool = True, patience: float = 0.1) -> None:
        self._start = start or datetime.now(timezone.utc)
        if self._start.tzinfo is None:
            raise ValueError(f"start: expected a time with a time zone, got {start}")
        self._seconds = 0.0
        # The clock may jump by itself up to this time.
        self._limit = float("inf") if auto else 0.0
        self._patience = patience
        # A heap of due time, whether it is the target of advance(), number, and timer.
        self._timers: list[tuple[float, bool, int, _VirtualTimer]] = []
        # Guards the state above, because callers may run other loops.
        self._lock = threading.Lock()
        self._count = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        # The loop of a server that has stopped, when another loop keeps time now.
        self._former_loop: asyncio.AbstractEventLoop | None = None
        self._servers = 0
        # The number of workers that don't sleep.
        self._awake_workers = 0
        # What clients have in progress.
        self._client_activities: set[_Activity] = set()
        # The number of requests that the server handles.
        self._open_requests = 0
        # Timers that fired in other loops, until their consequences have shown.
        self._settling: set[_Activity] = set()
        # The clock that clients used before.
        self.replaced: client_clock.Clock | None = None
        self._pending_check: asyncio.Handle | None = None

    def now(self) -> datetime:
        """Return the virtual date and time, in UTC."""
        return self._start + timedelta(seconds=self._seconds)

    def monotonic(self) -> float:
        """Return the virtual seconds since the start."""
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock has advanced by a number of seconds; works in any loop."""
        worker = _current_worker.get()
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        awake = False

        def wake() -> None:
            nonlocal awake
            if not awake:
                awake = True
                self._add_sleepers(worker, -1)
                if not waiter.done():
                    waiter.set_result(None)

        timer = self.call_later(seconds, wake)
        self._add_sleepers(worker, 1)
        try:
            await waiter
        finally:
            timer.cancel()
            wake()

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call back on the running loop when the clock has advanced by a number of seconds."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._end_when_settled(self._begin(self._settling))
        return self._add_timer(seconds, callback, loop)

    def busy(self) -> Callable[[], None]:
        """Called when a client starts something, such as a request; returns a function to call when it is done."""
        activity = self._begin(self._client_activities)
        self._reschedule()
        return lambda: self._end_when_settled(activity)

    def advance(self, seconds: float) -> Awaitable[None]:
        """Let time pass: every timer that is due meanwhile fires, in order and at its own time.

        ``await`` the call where a loop runs. Elsewhere the call blocks, also for a server in a thread; its result
        need not be awaited then.

        Args:
            seconds: The time that passes.

        Raises:
            ValueError: ``seconds`` is negative.
        """
        if seconds < 0:
            raise ValueError(f"time can't go back: expected 0 seconds or more, got {seconds}")
        reached: Future[None] = Future()
        loop = self._loop
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            if loop is None:
                self._seconds += seconds
                return _Reached()
            loop.call_soon_threadsafe(self._advance_to, seconds, reached)
            reached.result()
            return _Reached()
        if loop is None or loop is running:
            self._advance_to(seconds, reached)
        else:
            loop.call_soon_threadsafe(self._advance_to, seconds, reached)
        return asyncio.wrap_future(reached)

    def attach(self) -> None:
        """Make all clients in this process use this clock. Called on its loop when a server starts."""
        loop = asyncio.get_running_loop()
        if self._servers and self._loop is not loop:
            raise RuntimeError("this clock belongs to a server that runs in another loop")
        if not self._servers:
            if isinstance(client_clock.current, VirtualClock):
                raise RuntimeError(
                    "a server with another virtual clock runs in this process, and clients can use one clock only: "
                    "run one server after the other, or both in one event loop with the same clock"
                )
            self.replaced, client_clock.current = client_clock.current, self
        self._loop, self._former_loop = loop, None
        self._servers += 1

    def detach(self) -> None:
        """Give clients back their clock after the last server. Called when a server stops."""
        self._servers -= 1
        if not self._servers:
            self._cancel_check()
            former, self._loop = self._loop, None
            if self.replaced is not None:
                client_clock.current, self.replaced = self.replaced, None
            with self._lock:
                targets = [timer for _, is_target, _, timer in self._timers if is_target]
                loops = [timer.loop for *_, timer in self._timers if timer.callback is not None]
            # A thread may be blocked in advance().
            for timer in targets:
                timer.fire()
            other_loops = [loop for loop in loops if loop is not former and not loop.is_closed()]
            self._former_loop = former if other_loops else None
            # Tasks may still sleep on the clock: their loop keeps time now, unless it has just ended as well.
            for loop in other_loops[:1] or loops[:1]:
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(self._schedule_check, loop)

    @contextmanager
    def working(self) -> Generator[None]:
        """Return a context for work of the server: the clock waits for it, unless it sleeps on this clock."""
        worker = _Worker()
        with self._lock:
            self._awake_workers += 1
        self._reschedule()
        token = _current_worker.set(worker)
        try:
            yield
        finally:
            _current_worker.reset(token)
            with self._lock:
                worker.ended = True
                self._awake_workers -= not worker.sleepers
            self._reschedule()

    @contextmanager
    def serving(self) -> Generator[None]:
        """Return a context in which the server handles a request, while the client waits for the response."""
        self._open_requests += 1
        self._reschedule()
        try:
            yield
        finally:
            self._open_requests -= 1
            self._reschedule()

    def request_arrived(self) -> None:
        """Called when a request arrives."""
        self._reschedule()

    def _reschedule(self) -> None:
        """Something has happened: check again from the beginning whether everything is idle."""
        # A server that stops in another thread may set self._loop to None at any time.
        loop = self._loop
        if loop is None:
            self._schedule_check(asyncio.get_running_loop())
        elif loop is _running_loop():
            self._schedule_check(loop)
        else:
            # The loop may have ended, together with its server.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._schedule_check, loop)

    def _begin(self, activities: set[_Activity]) -> _Activity:
        """Return a new activity that the clock waits for, in one of the clock's sets."""
        activity = _Activity(activities)
        with self._lock:
            activities.add(activity)
        return activity

    def _end_when_settled(self, activity: _Activity, ticks: int = _IDLE_TICKS) -> None:
        """End an activity after some turns of the running loop, in which its consequences show."""
        if ticks:
            asyncio.get_running_loop().call_soon(self._end_when_settled, activity, ticks - 1)
        else:
            with self._lock:
                activity.activities.discard(activity)
            self._reschedule()

    def _add_sleepers(self, worker: _Worker | None, count: int) -> None:
        """Count the tasks of a worker that sleep on this clock."""
        if worker is None:
            return
        with self._lock:
            slept = worker.sleepers > 0
            worker.sleepers += count
            if not worker.ended:
                self._awake_workers += slept - (worker.sleepers > 0)
        self._reschedule()

    def _add_timer(
        self, seconds: float, callback: Callable[[], None], loop: asyncio.AbstractEventLoop, *, is_target: bool = False
    ) -> _VirtualTimer:
        timer = _VirtualTimer(callback, loop)
        with self._lock:
            due = self._seconds + max(0.0, seconds)
            heapq.heappush(self._timers, (due, is_target, next(self._count), timer))
            if is_target:
                self._limit = max(self._limit, due)
        self._reschedule()
        return timer

    def _advance_to(self, seconds: float, reached: Future[None]) -> None:
        self._add_timer(seconds, lambda: _set_reached(reached), asyncio.get_running_loop(), is_target=True)

    def _schedule_check(self, loop: asyncio.AbstractEventLoop) -> None:
        # A call from when this loop still kept time.
        if loop is self._former_loop:
            return
        self._cancel_check()
        if self._timers and self._timers[0][0] <= self._limit:
            if self._awake_workers or self._settling or len(self._client_activities) > self._open_requests:
                self._wait_patiently(loop, _PATIENCE_SLICES)
            else:
                self._pending_check = loop.call_soon(self._idle_check, loop, _IDLE_TICKS)

    def _wait_patiently(self, loop: asyncio.AbstractEventLoop, slices: int) -> None:
        if slices:
            delay = self._patience / _PATIENCE_SLICES
            self._pending_check = loop.call_later(delay, self._wait_patiently, loop, slices - 1)
        else:
            # The clock waits for each activity once only.
            with self._lock:
                self._client_activities.clear()
                self._settling.clear()
            self._jump(loop)

    def _cancel_check(self) -> None:
        if self._pending_check is not None:
            self._pending_check.cancel()
            self._pending_check = None

    def _idle_check(self, loop: asyncio.AbstractEventLoop, ticks: int) -> None:
        if ticks:
            self._pending_check = loop.call_soon(self._idle_check, loop, ticks - 1)
        else:
            self._jump(loop)

    def _jump(self, loop: asyncio.AbstractEventLoop) -> None:
        """Jump to the timer that is due next, and fire it."""
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
            activity = self._begin(self._settling)
            try:
                timer.loop.call_soon_threadsafe(self._fire, timer, activity)
            except RuntimeError:
                # The loop has ended, and the task that slept in it as well.
                self._settling.discard(activity)
        self._schedule_check(loop)

    def _fire(self, timer: _VirtualTimer, activity: _Activity) -> None:
        """Fire a timer in its own loop, and wait for the consequences there."""
        timer.fire()
        self._end_when_settled(activity)


class _Activity:
    """Something that the clock waits for, in one of the clock's sets."""

    def __init__(self, activities: set[_Activity]) -> None:
        self.activities = activities


class _Worker:
    """Work of the server, whose tasks may sleep on the clock."""

    def __init__(self) -> None:
        self.sleepers = 0
        self.ended = False


_current_worker: ContextVar[_Worker | None] = ContextVar("replicate_async.testing.worker", default=None)


@after_fork_in_child
def _after_fork() -> None:
    """Restore the real clock in a forked child, because the server that moves the virtual one doesn't run there."""
    if isinstance(client_clock.current, VirtualClock) and client_clock.current.replaced is not None:
        client_clock.current = client_clock.current.replaced


class _VirtualTimer:
    """A scheduled callback of a virtual clock."""

    def __init__(self, callback: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self.callback: Callable[[], None] | None = callback
        self.loop = loop

    def cancel(self) -> None:
        """Cancel the callback."""
        self.callback = None

    def fire(self) -> None:
        """Call back, once."""
        callback, self.callback = self.callback, None
        if callback is not None:
            callback()


class _Reached:
    """An awaitable that need not be awaited."""

    def __await__(self) -> Generator[None, None, None]:
        yield from ()


def _set_reached(reached: Future[None]) -> None:
    # The caller of advance() may have been canceled.
    with suppress(Exception):
        reached.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
