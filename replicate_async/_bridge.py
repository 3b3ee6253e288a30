"""From blocking code into asyncio: one event loop in one background thread, shared by all blocking clients.

The thread starts with the first call, and is a daemon: a program never waits for it. A call hands its coroutine over
with ``call_soon_threadsafe`` and sleeps on a plain lock, which is the cheapest way there and back.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
from collections import deque
from contextlib import aclosing, suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from replicate_async._http.fork import after_fork_in_child, make_immortal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator

T = TypeVar("T")

_CLEANUP_SECONDS = 1.2  # what an interrupted call, or the end of the program, leaves to coroutines for their cleanup

_POLL_SECONDS = 0.1  # between two looks, where a wait for a lock isn't interrupted

_AHEAD = 64  # items of an iterator that may wait for their reader

_starting = threading.Lock()
_loop: asyncio.AbstractEventLoop | None = None
_thread: threading.Thread | None = None
_under_way: set[_Call] = set()
_exiting = False


def run(awaitable: Awaitable[T]) -> T:
    """Run an awaitable on the background loop and return its result; the caller's thread waits.

    Raises:
        RuntimeError: called from the background loop itself, which would wait for itself for ever.
    """
    call = _Call(awaitable, _loop_for(awaitable))
    try:
        # The coroutine sees the caller's context variables.
        _tell(call.loop, call.start, contextvars.copy_context())
        _wait(call.done)
    except BaseException:
        # Ctrl-C, or what a signal handler raised: stop the coroutine and leave it some time for its cleanup.
        call.abort()
        raise
    if call.failure is not None:
        raise call.failed()
    return cast("T", call.value)


def close(awaitable: Awaitable[None]) -> None:
    """Run what closes something; at the very end of the program nothing is left to be closed, and nothing is done.

    The end of the loop has closed all connections. ``with`` blocks and finalizers that come after it are no errors.
    """
    if _exiting:
        _forget(awaitable)
    else:
        run(awaitable)


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

    __slots__ = ("awaitable", "done", "ended", "failure", "loop", "name", "task", "value")

    def __init__(self, awaitable: Awaitable[Any], loop: asyncio.AbstractEventLoop, of: object = None) -> None:
        self.awaitable = awaitable
        # What the loop's debug mode calls it when it holds up the others.
        self.name: str = getattr(of or awaitable, "__qualname__", type(awaitable).__qualname__)
        self.loop = loop
        self.task: asyncio.Task[None] | None = None
        self.value: Any = None
        self.failure: BaseException | None = None
        self.ended = False
        self.done = threading.Lock()
        self.done.acquire()

    def start(self) -> None:
        self.task = self.loop.create_task(self.drive(), name=self.name)
        # Not at the end of drive(): a task that is cancelled before its first step never gets there.
        self.task.add_done_callback(self.finish)
        _under_way.add(self)

    async def drive(self) -> None:
        try:
            self.value = await self.awaitable
        except BaseException as error:  # noqa: BLE001 - SystemExit too: it is the caller's, and would end the loop
            self.failure = error

    def finish(self, task: asyncio.Task[None]) -> None:
        _under_way.discard(self)
        if task.cancelled():
            self.failure = asyncio.CancelledError()
            _forget(self.awaitable)
        self.ended = True
        # At exit only daemon threads can still be waiting: awake, they would print tracebacks.
        if not _exiting:
            self.done.release()

    def failed(self) -> BaseException:
        """Give up the error, with only the end of its way: the line that failed, or what it called of others' code."""
        # Who raises it is in its traceback: if that kept it too, it would live until the next garbage collection.
        error, self.failure = cast("BaseException", self.failure), None
        end = entry = error.__traceback__
        while entry is not None:
            if entry.tb_frame.f_globals.get("__name__", "").startswith("replicate_async."):
                end = entry.tb_next or entry
            entry = entry.tb_next
        return error.with_traceback(end)

    def abort(self) -> None:
        """Cancel it, from any thread but the loop's, and leave it some time for its cleanup."""
        _tell(self.loop, self.cancel)
        # A result that came together with Ctrl-C has been taken, and doesn't come again.
        if not self.ended:
            self.done.acquire(timeout=_CLEANUP_SECONDS)

    def cancel(self) -> None:
        if self.task is None:  # Ctrl-C came before it was handed over
            self.start()
        if self.task is not None:
            self.task.cancel()


def iterate(source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """Iterate an async generator of the background loop.

    One task drives it from its first to its last item, so that timeouts and cancel scopes inside, which belong to
    tasks, keep working. It runs ahead by some items, which then cost no further hand-over.
    """
    pump = _Pump(source, _loop_for(source))
    try:
        _tell(pump.loop, pump.start, contextvars.copy_context())
        while True:
            while pump.ready:
                yield cast("T", pump.ready.popleft())
                if pump.room is not None and len(pump.ready) <= _AHEAD // 2:
                    _tell(pump.loop, pump.resume)
            if pump.ended and not pump.ready:
                break
            # After a fork the loop that would bring more is in the other process.
            if pump.pid != os.getpid():
                raise RuntimeError("this iterator belongs to the process that this one was forked from: begin another")
            _wait(pump.arrived)
        if pump.failure is not None:
            raise pump.failed()
    finally:
        # Left early or interrupted: the source is closed on its loop before this returns.
        if not pump.ended and not _exiting and pump.pid == os.getpid():
            if threading.current_thread() is _thread:  # a collected iterator is closed in any thread
                pump.cancel()
            else:
                pump.abort()


class _Pump(_Call):
    """An async generator, and the items that it is ahead of its reader."""

    __slots__ = ("arrived", "pid", "ready", "room", "source")

    def __init__(self, source: AsyncGenerator[Any, None], loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(self.pump(), loop, source)
        self.source = source
        self.pid = os.getpid()
        self.ready: deque[Any] = deque()
        self.room: asyncio.Future[None] | None = None
        # Held while there is nothing new to look at.
        self.arrived = threading.Lock()
        self.arrived.acquire()

    async def pump(self) -> None:
        async with aclosing(self.source):  # when it is cancelled here, it is not in the source
            async for item in self.source:
                self.ready.append(item)
                self.signal()
                if len(self.ready) >= _AHEAD:
                    self.room = self.loop.create_future()
                    # Asked again: the reader may have emptied it before it could see that it is waited for.
                    if len(self.ready) >= _AHEAD:
                        await self.room
                    self.room = None

    def finish(self, task: asyncio.Task[None]) -> None:
        super().finish(task)
        if not _exiting:
            self.signal()

    def signal(self) -> None:
        # The reader looks at what is ready after each time it gets the lock, so one signal does for many items.
        if self.arrived.locked():
            self.arrived.release()

    def resume(self) -> None:
        if self.room is not None and not self.room.done():
            self.room.set_result(None)


def _wait(lock: threading.Lock) -> None:
    """Wait for a lock as long as it takes, or until Ctrl-C."""
    # asyncio.run() takes Ctrl-C for itself and cancels its task (from Python 3.11 on), which can't notice while it
    # waits here; on Windows, Ctrl-C doesn't interrupt a thread that waits for a lock.
    task = asyncio.current_task() if asyncio._get_running_loop() else None  # noqa: SLF001
    timeout = _POLL_SECONDS if task is not None or sys.platform == "win32" else -1
    cancelling: Callable[[], int] = getattr(task, "cancelling", int)
    before = cancelling()
    while not lock.acquire(timeout=timeout):
        if cancelling() > before:
            raise asyncio.CancelledError


def _loop_for(awaitable: object) -> asyncio.AbstractEventLoop:
    """Return the background loop, unless the caller is on it."""
    try:
        loop = _loop or _start()
        if threading.current_thread() is _thread:
            raise RuntimeError(
                "a blocking call was made from replicate_async's own event loop, where it would wait for itself: "
                "use AsyncReplicate there"
            )
    except BaseException:
        _forget(awaitable)
        raise
    return loop


def _forget(awaitable: object) -> None:
    if asyncio.iscoroutine(awaitable):
        awaitable.close()  # it will never be awaited, and needn't warn of that


def _start() -> asyncio.AbstractEventLoop:
    if _exiting:
        _refuse()
    # Not a Future: a signal handler that interrupts this, and makes a call itself, would hold the Future's lock all the
    # while, and the thread would wait for it.
    started: SimpleQueue[asyncio.AbstractEventLoop | BaseException] = SimpleQueue()
    # The threads that its coroutines start to read files are daemons too, then: none of them is waited for.
    threading.Thread(target=_serve, args=(started,), name="replicate_async", daemon=True).start()
    found = started.get()
    if isinstance(found, BaseException):
        raise found
    return found


def _refuse() -> NoReturn:
    if threading.current_thread().daemon:
        # Python will stop it wherever it is: an error would be printed by a program that has come to its end.
        threading.Event().wait()
    raise RuntimeError("the program is ending: no more calls can be made")


def _tell(
    loop: asyncio.AbstractEventLoop, callback: Callable[[], None], context: contextvars.Context | None = None
) -> None:
    """Call something on the loop, soon."""
    try:
        loop.call_soon_threadsafe(callback, context=context)
    except RuntimeError:  # it has just been closed
        _refuse()


def _serve(started: SimpleQueue[asyncio.AbstractEventLoop | BaseException]) -> None:
    """Make the loop, unless there is one already, and run it."""
    global _loop, _thread
    # Many may start one at the same time. The lock is only taken here, never in the main thread: there a signal
    # handler would wait for what it has interrupted.
    try:
        with _starting:
            loop = _loop or asyncio.new_event_loop()
            mine = _loop is None
            if mine:
                _loop, _thread = loop, threading.current_thread()
    except BaseException as error:  # noqa: BLE001 - such as that there are too many open files: it is the caller's
        started.put(error)
        return
    started.put(loop)
    if not mine:
        return
    asyncio.set_event_loop(loop)
    while not _exiting:
        # A task that a coroutine has started may raise SystemExit, but this is the loop of all others too.
        with suppress(SystemExit, KeyboardInterrupt):
            loop.run_forever()
    # As asyncio.run() ends: what is under way is cancelled, then the clients' connections close.
    tasks = asyncio.all_tasks(loop)
    for task in tasks:
        task.cancel()
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=_CLEANUP_SECONDS / 2))
    # What has not ended by then can't be closed any more, and nobody is there who could do anything about it.
    loop.set_exception_handler(lambda _loop, _context: None)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def stop() -> None:
    """Let the loop close its connections, but don't wait for it for long."""
    global _exiting, _loop
    _exiting = True
    loop, _loop = _loop, None
    if loop is not None and _thread is not None:
        loop.call_soon_threadsafe(loop.stop)
        _thread.join(_CLEANUP_SECONDS)


@after_fork_in_child
def _after_fork() -> None:
    """Start anew in a forked child: the parent's thread isn't here, and its loop's descriptors are the parent's."""
    global _starting, _loop, _thread, _under_way
    # Finalized, the loop would close what the parent uses, and tasks that are under way would make noise.
    make_immortal((_loop, _under_way))
    _starting = threading.Lock()  # whoever held it isn't here either
    _loop = _thread = None
    _under_way = set()
