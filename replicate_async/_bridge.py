"""Runs coroutines for blocking code, on the background loop that all blocking clients share.

A call hands its coroutine to the loop and waits for a plain lock: the cheapest round trip.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
from collections import deque
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from replicate_async import _background as background
from replicate_async._fork import after_fork_in_child, make_immortal
from replicate_async._http.problem import trim_traceback

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

T = TypeVar("T")

# How often a wait checks for Ctrl-C where Ctrl-C doesn't interrupt a lock.
_POLL_SECONDS = 0.1

# How many items an iterator reads ahead of its reader.
_MAX_BUFFERED = 64

_in_flight: set[_Call] = set()

# Calls on their way to the loop; how often the loop has started such calls; and for which of these times it was woken
# last. Only the loop counts, because signal handlers may make calls while another call is being submitted.
_submitted: deque[tuple[contextvars.Context, _Call]] = deque()
_starts, _woken_for = 0, -1


def run(awaitable: Awaitable[T]) -> T:
    """Run an awaitable on the background loop and return its result; the caller's thread waits.

    Raises:
        RuntimeError: the caller runs on the background loop itself, or the program is ending.
    """
    # IPython and pytest leave frames with this variable out of tracebacks.
    __tracebackhide__ = True
    call = _Call(awaitable)
    try:
        call.submit()
        _wait(call.done)
    except BaseException:
        # Ctrl-C, or an exception from a signal handler.
        call.abort()
        raise
    if call.error is not None:
        raise call.take_error()
    return cast("T", call.value)


def close(awaitable: Awaitable[None]) -> None:
    """Run an awaitable that closes something; does nothing once the program is ending.

    By then the shutdown of the loop has closed all connections. ``with`` blocks and finalizers may still end later.
    """
    if background.is_exiting():
        _discard(awaitable)
    else:
        run(awaitable)


class _Call:
    """A call on its way to the loop, and its result on the way back."""

    __slots__ = ("done", "ended", "error", "loop", "source", "task", "value")

    def __init__(self, source: Any) -> None:
        try:
            self.loop = _get_loop()
        except BaseException:
            _discard(source)
            raise
        self.source = source
        self.task: asyncio.Task[None] | None = None
        self.value: Any = None
        self.error: BaseException | None = None
        self.ended = False
        self.done = threading.Lock()
        self.done.acquire()

    def submit(self) -> None:
        global _woken_for
        # The coroutine sees the caller's context variables.
        _submitted.append((contextvars.copy_context(), self))
        # Each wakeup of the loop costs system calls, and one is enough for the calls of many threads.
        next_start = _starts
        if _woken_for != next_start:
            self.call_soon(_start_submitted)
            _woken_for = next_start

    def call_soon(self, callback: Callable[[], object]) -> None:
        try:
            self.loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop has just been closed.
            _reject_call()

    def start(self) -> asyncio.Task[None]:
        # The loop's debug mode reports slow callbacks by the name of their task.
        name: str = getattr(self.source, "__qualname__", type(self.source).__qualname__)
        self.task = task = self.loop.create_task(self.drive(), name=name)
        # A task that is canceled before its first step never runs the end of drive().
        task.add_done_callback(self.finish)
        _in_flight.add(self)
        return task

    async def drive(self) -> None:
        try:
            self.value = await self.work()
        except BaseException as error:  # noqa: BLE001 - SystemExit is the caller's too, and would end the loop
            self.error = error

    async def work(self) -> Any:
        return await self.source

    def finish(self, task: asyncio.Task[None]) -> None:
        _in_flight.discard(self)
        if task.cancelled():
            self.error = asyncio.CancelledError()
            _discard(self.source)
        self.ended = True
        self.done.release()

    def take_error(self) -> BaseException:
        """Return the error to raise, and drop it: the traceback refers to this call, which would be a cycle."""
        if background.is_exiting():
            _hold_daemon()
        error, self.error = cast("BaseException", self.error), None
        return trim_traceback(error)

    def abort(self) -> None:
        """Cancel the call and give it some time for its cleanup. Not to be called on the loop."""
        self.call_soon(self.cancel)
        # If Ctrl-C came together with the result, the lock is taken already and isn't released again.
        if not self.ended:
            self.done.acquire(timeout=background.CLEANUP_SECONDS)

    def cancel(self) -> None:
        _start_submitted()
        # Ctrl-C may come before the call is submitted.
        (self.task or self.start()).cancel()


def _start_submitted() -> None:
    """Start the calls that were submitted. Runs on the loop."""
    global _starts
    _starts += 1
    while _submitted:
        context, call = _submitted.popleft()
        context.run(call.start)


def iterate(source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """Iterate an async generator on the background loop.

    One task drives it from its first to its last item, so that timeouts and cancel scopes inside, which belong to
    tasks, keep working. It reads some items ahead, which saves round trips.
    """
    __tracebackhide__ = True
    call = _IteratorCall(source)
    try:
        call.submit()
        while True:
            while call.items:
                yield call.items.popleft()
                if not call.has_room.is_set() and len(call.items) <= _MAX_BUFFERED // 2:
                    call.call_soon(call.has_room.set)
            if call.ended and not call.items:
                break
            # After a fork, the loop that would bring more items is in the parent process.
            if call.pid != os.getpid():
                raise RuntimeError("this iterator belongs to the process that this one was forked from: begin another")
            _wait(call.news)
        if call.error is not None:
            raise call.take_error()
    finally:
        # Close the source on its loop if the iteration was left early or interrupted.
        if not call.ended and not background.is_exiting() and call.pid == os.getpid():
            # Garbage collection may close an iterator in any thread.
            if background.is_current_thread():
                call.cancel()
            else:
                call.abort()


class _IteratorCall(_Call):
    """An async generator's call, with the items that its reader has not taken yet."""

    __slots__ = ("has_room", "items", "news", "pid")

    def __init__(self, source: AsyncGenerator[Any, None]) -> None:
        super().__init__(source)
        self.pid = os.getpid()
        self.items: deque[Any] = deque()
        self.has_room = asyncio.Event()
        self.has_room.set()
        # Locked while there are no news for the reader.
        self.news = threading.Lock()
        self.news.acquire()

    async def work(self) -> None:
        # If the task is canceled outside of the source, nothing else closes the source.
        async with aclosing(self.source):
            async for item in self.source:
                self.items.append(item)
                self.notify()
                if len(self.items) >= _MAX_BUFFERED:
                    self.has_room.clear()
                    # Check again: the reader may have taken all items before it could see the cleared event.
                    if len(self.items) >= _MAX_BUFFERED:
                        await self.has_room.wait()
                    self.has_room.set()

    def finish(self, task: asyncio.Task[None]) -> None:
        super().finish(task)
        self.notify()

    def notify(self) -> None:
        # One release is enough for many items, because the reader takes all that there are.
        if self.news.locked():
            self.news.release()


def _wait(lock: threading.Lock) -> None:
    """Acquire a lock, however long it takes, unless Ctrl-C interrupts."""
    __tracebackhide__ = True
    # From Python 3.11 on, asyncio.run() turns Ctrl-C into a cancellation of its task, which can't take effect while
    # the task blocks here. On Windows, Ctrl-C doesn't interrupt a thread that waits for a lock.
    task = asyncio.current_task() if asyncio._get_running_loop() else None  # noqa: SLF001
    timeout = _POLL_SECONDS if task is not None or sys.platform == "win32" else -1
    cancelling: Callable[[], int] = getattr(task, "cancelling", int)
    before = cancelling()
    while not lock.acquire(timeout=timeout):
        if cancelling() > before:
            raise asyncio.CancelledError


def _discard(source: object) -> None:
    """Close a coroutine that will never be awaited, so that it doesn't warn."""
    if asyncio.iscoroutine(source):
        source.close()


def _get_loop() -> asyncio.AbstractEventLoop:
    if background.is_exiting():
        _reject_call()
    loop = background.get_loop()
    if background.is_current_thread():
        raise RuntimeError(
            "a blocking call on replicate_async's own event loop would wait for itself: use AsyncReplicate there"
        )
    return loop


def _reject_call() -> NoReturn:
    _hold_daemon()
    raise RuntimeError("the program is ending: no more calls can be made")


def _hold_daemon() -> None:
    """Hold a daemon thread while the program ends: its errors would only be printed at the very end.

    The interpreter stops daemon threads wherever they are, unless the program waits for them.
    """
    if threading.current_thread().daemon:
        threading.Event().wait(background.EXIT_SECONDS)


@after_fork_in_child
def _forget_calls() -> None:
    """Forget the parent's calls in a forked child: finalizing their tasks would print warnings."""
    global _in_flight, _submitted, _woken_for
    make_immortal((_in_flight, _submitted))
    _in_flight, _submitted, _woken_for = set[_Call](), deque[tuple[contextvars.Context, _Call]](), -1
