"""From blocking code into asyncio: one event loop in one background thread, shared by all blocking clients.

The thread starts with the first call, and is a daemon: a program never waits for it. A call hands its coroutine over
with ``call_soon_threadsafe`` and sleeps on a plain lock, which is the cheapest way there and back.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar, cast

from replicate_async._connections import never_finalize

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Generator

T = TypeVar("T")

_CLEANUP_SECONDS = 1.5  # what an interrupted call, or the end of the program, leaves to coroutines for their cleanup

_AHEAD = 64  # items of an iterator that may wait for their reader

_starting = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None
_exiting = False


def run(awaitable: Awaitable[T]) -> T:
    """Run an awaitable on the background loop and return its result; the caller's thread waits.

    Raises:
        RuntimeError: called from the background loop itself, which would wait for itself for ever.
    """
    loop = _loop_for(awaitable)
    call = _Call(awaitable, loop)
    # The coroutine sees the caller's context variables.
    loop.call_soon_threadsafe(call.start, context=contextvars.copy_context())
    try:
        _wait(call.done)
    except BaseException:
        # Ctrl-C, or what a signal handler raised: stop the coroutine and leave it some time for its cleanup.
        loop.call_soon_threadsafe(call.cancel)
        call.done.acquire(timeout=_CLEANUP_SECONDS)
        raise
    if call.failure is not None:
        try:
            raise call.failure
        finally:
            del call  # an exception that refers to its own frame would live until the next collection
    return cast("T", call.value)


def attribute(fetch: Callable[[], T]) -> T:
    """Return the value of an attribute that has to be fetched; where that fails, the object has no such attribute."""
    try:
        return fetch()
    except Exception as error:
        raise AttributeError(str(error)) from error


class Documentation:
    """A class's docstring, which for its instances is what their method ``documentation`` returns."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __get__(self, instance: Any, owner: type) -> str:
        if instance is None:
            return self._text
        try:
            return str(attribute(instance.documentation))
        except AttributeError:
            return self._text


class _Call:
    """An awaitable on its way to the loop, and its result on the way back."""

    __slots__ = ("awaitable", "done", "failure", "loop", "task", "value")

    def __init__(self, awaitable: Awaitable[Any], loop: asyncio.AbstractEventLoop) -> None:
        self.awaitable = awaitable
        self.loop = loop
        self.task: asyncio.Task[None] | None = None
        self.value: Any = None
        self.failure: BaseException | None = None
        self.done = threading.Lock()
        self.done.acquire()

    def start(self) -> None:
        self.task = self.loop.create_task(self.drive())
        # Not at the end of drive(): a task that is cancelled before its first step never gets there.
        self.task.add_done_callback(self.finish)

    async def drive(self) -> None:
        try:
            self.value = await self.awaitable
        except BaseException as error:  # noqa: BLE001 - SystemExit too: it is the caller's, and would end the loop
            self.failure = error

    def finish(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self.failure = asyncio.CancelledError()
        # At exit only daemon threads can still be waiting: awake, they would print tracebacks.
        if not _exiting:
            self.done.release()

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()


def iterate(source: AsyncIterator[T]) -> Generator[T, None, None]:
    """Iterate an async iterator of the background loop.

    One task drives it from its first to its last item, so that timeouts and cancel scopes inside, which belong to
    tasks, keep working. It runs ahead by some items, which then cost no further hand-over.
    """
    loop = _loop_for(source)
    pump = _Pump(source, loop)
    loop.call_soon_threadsafe(pump.start, context=contextvars.copy_context())
    try:
        while True:
            while pump.ready:
                yield cast("T", pump.ready.popleft())
                if pump.room is not None and len(pump.ready) <= _AHEAD // 2:
                    loop.call_soon_threadsafe(pump.resume)
            if pump.ended and not pump.ready:
                break
            _wait(pump.arrived)
        if pump.failure is not None:
            raise pump.failure
    finally:
        # Left early or interrupted: the source is closed on its loop before this returns.
        if not pump.ended and not _exiting:
            loop.call_soon_threadsafe(pump.cancel)
            if threading.current_thread() is not _thread:  # a collected iterator is closed in any thread
                pump.done.acquire(timeout=_CLEANUP_SECONDS)


class _Pump(_Call):
    """An async iterator, and the items that it is ahead of its reader."""

    __slots__ = ("arrived", "ended", "ready", "room", "source")

    def __init__(self, source: AsyncIterator[Any], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(self.pump(), loop)
        self.source = source
        self.ready: deque[Any] = deque()
        self.room: asyncio.Future[None] | None = None
        self.ended = False
        # Held while there is nothing new to look at.
        self.arrived = threading.Lock()
        self.arrived.acquire()

    async def pump(self) -> None:
        try:
            async for item in self.source:
                self.ready.append(item)
                self.signal()
                if len(self.ready) >= _AHEAD:
                    self.room = self.loop.create_future()
                    # Asked again: the reader may have emptied it before it could see that it is waited for.
                    if len(self.ready) >= _AHEAD:
                        await self.room
                    self.room = None
        finally:
            close = getattr(self.source, "aclose", None)  # async generators have one, other iterators may
            if close is not None:
                await close()

    def finish(self, task: asyncio.Task[None]) -> None:
        super().finish(task)
        self.ended = True
        if not _exiting:
            self.signal()

    def signal(self) -> None:
        # The reader looks at what is ready after each time it gets the lock, so one signal does for many items.
        if self.arrived.locked():
            self.arrived.release()

    def resume(self) -> None:
        if self.room is not None and not self.room.done():
            self.room.set_result(None)


if sys.platform == "win32":

    def _wait(lock: threading.Lock) -> None:
        # There, Ctrl-C does not interrupt a thread that waits for a lock.
        while not lock.acquire(timeout=0.1):
            pass

else:

    def _wait(lock: threading.Lock) -> None:
        lock.acquire()


def _loop_for(awaitable: object) -> asyncio.AbstractEventLoop:
    """Return the background loop, unless the caller is on it."""
    try:
        loop = _loop if _loop is not None else _start()
        if threading.current_thread() is _thread:
            raise RuntimeError(
                "a blocking call was made from replicate_async's own event loop, where it would wait for itself: "
                "use AsyncReplicate there"
            )
    except RuntimeError:
        if asyncio.iscoroutine(awaitable):
            awaitable.close()  # it will never be awaited, and needn't warn of that
        raise
    return loop


def _start() -> asyncio.AbstractEventLoop:
    global _loop, _thread
    with _starting:
        if _loop is None:
            if _exiting:
                raise RuntimeError("the program is ending: no more calls can be made")
            loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_serve, args=(loop,), name="replicate_async", daemon=True)
            _thread.start()
            _loop = loop
        return _loop


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        # As asyncio.run() ends: what is under way is cancelled, then the clients' connections close.
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        if tasks:
            loop.run_until_complete(asyncio.wait(tasks, timeout=_CLEANUP_SECONDS / 2))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


@atexit.register
def _stop() -> None:
    """Let the loop close its connections, but don't wait for it for long."""
    global _exiting, _loop
    _exiting = True
    loop, _loop = _loop, None
    if loop is not None and _thread is not None:
        loop.call_soon_threadsafe(loop.stop)
        _thread.join(_CLEANUP_SECONDS)


def _after_fork() -> None:
    """Start anew in a forked child: the parent's thread isn't here, and its loop's descriptors are the parent's."""
    global _starting, _loop, _thread
    if _loop is not None:
        never_finalize(_loop)
    _starting = threading.Lock()
    _loop = _thread = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
