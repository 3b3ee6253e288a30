"""Daemon threads for code that may block forever, so that it does not keep a program from ending."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread, main_thread
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import anyio

T = TypeVar("T")

_END: Any = object()
# Per event loop. Not anyio's own threads: a web framework needs those, and may block all of them while it waits here.
_MAX_THREADS = 32
_limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, anyio.CapacityLimiter] = WeakKeyDictionary()


def running_loop() -> asyncio.AbstractEventLoop:
    """Return the running event loop.

    Raises:
        RuntimeError: there is none.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise RuntimeError(
            "AsyncReplicate needs a running asyncio event loop, as in asyncio.run(main()); under trio, call the "
            "blocking client Replicate in a thread (trio.to_thread.run_sync)"
        ) from None


async def run_in_thread(function: Callable[..., T], *args: object, abandon: bool = True) -> T:
    """Run a function in a daemon thread.

    A caller that is canceled abandons the thread, which may block forever. Otherwise, it waits for the function's end.
    """
    loop = running_loop()
    if (limiter := _limiters.get(loop)) is None:
        limiter = _limiters[loop] = anyio.CapacityLimiter(_MAX_THREADS)
    async with limiter:
        future: asyncio.Future[T] = loop.create_future()
        try:
            _start_thread("replicate_async files", lambda: _report(loop, future, lambda: function(*args)))
        except RuntimeError:
            if main_thread().is_alive():
                raise
            # Python 3.12 starts no thread when the program ends.
            return function(*args)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not (abandon or future.done()):
                with suppress(asyncio.CancelledError), anyio.CancelScope(shield=True):
                    await asyncio.wait([future])
            # If it has ended with an error already, asyncio does not log that from now on.
            future.cancel()
            raise


def _start_thread(name: str, target: Callable[[], None]) -> None:
    Thread(target=contextvars.copy_context().run, args=(target,), name=name, daemon=True).start()


def _report(loop: asyncio.AbstractEventLoop, future: asyncio.Future[T], function: Callable[[], T]) -> None:
    """Call a function and give its result to the future."""
    error: BaseException | None = None
    item: Any = None
    try:
        item = function()
    except (StopIteration, StopAsyncIteration) as stop:
        # Raised by __iter__, for example. Futures and coroutines take the first for their end, and iterations both.
        error = RuntimeError(f"{type(stop).__name__} was raised")
        error.__cause__ = stop
    except BaseException as raised:  # noqa: BLE001 - it is raised to the caller
        error = raised
    # The loop may have been closed.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_settle, future, item, error)


class ThreadIterator(Generic[T]):
    """Iterates in a thread of its own: a daemon, so that an iterator that blocks does not keep a program from ending.

    Not a generator, so that closing it never fails because it is being read.
    """

    def __init__(self, inputs: Iterable[T]) -> None:
        self._loop = running_loop()
        self._requests: SimpleQueue[asyncio.Future[T] | None] = SimpleQueue()
        _start_thread("replicate_async inputs", lambda: self._read(inputs))

    def __aiter__(self) -> ThreadIterator[T]:
        return self

    async def __anext__(self) -> T:
        """Return the next item."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._requests.put(future)
        if (item := await future) is _END:
            raise StopAsyncIteration
        return item

    def close(self) -> None:
        """End the thread, when the iterator has returned."""
        self._requests.put(None)

    def _read(self, inputs: Iterable[T]) -> None:
        iterator: Iterator[T] | None = None

        def next_item() -> T:
            nonlocal iterator
            iterator = iter(inputs) if iterator is None else iterator
            return next(iterator, _END)

        while (future := self._requests.get()) is not None:
            _report(self._loop, future, next_item)


def _settle(future: asyncio.Future[T], item: T, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(item)
    else:
        future.set_exception(error)
