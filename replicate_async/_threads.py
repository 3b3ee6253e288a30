"""Daemon threads for code that may block forever, so that it does not keep a program from ending."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Iterable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_END: Any = object()


class ThreadIterator(Generic[T]):
    """Iterates in a thread of its own: a daemon, so that an iterator that blocks does not keep a program from ending.

    Not a generator, so that closing it never fails because it is being read.
    """

    def __init__(self, inputs: Iterable[T]) -> None:
        self._loop = asyncio.get_running_loop()
        self._requests: SimpleQueue[asyncio.Future[T] | None] = SimpleQueue()
        run = contextvars.copy_context().run
        Thread(target=run, args=(self._read, inputs), name="replicate_async inputs", daemon=True).start()

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
        while (future := self._requests.get()) is not None:
            error: BaseException | None = None
            item: Any = _END
            try:
                iterator = iter(inputs) if iterator is None else iterator
                item = next(iterator, _END)
            except StopIteration as stop:
                # Raised by __iter__, for example. Futures, like coroutines, do not accept it.
                error = RuntimeError("the inputs raised StopIteration")
                error.__cause__ = stop
            except BaseException as raised:  # noqa: BLE001 - it is raised to the reader
                error = raised
            # The loop may have been closed.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(_settle, future, item, error)


def _settle(future: asyncio.Future[T], item: T, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(item)
    else:
        future.set_exception(error)
