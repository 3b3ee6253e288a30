"""Daemon threads for code that may block forever, so that it does not keep a program from ending."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

T = TypeVar("T")

_END: Any = object()


async def iterate_in_thread(inputs: Iterable[T]) -> AsyncGenerator[T, None]:
    """Iterate in a thread of its own: a daemon, so that an iterator that blocks does not keep a program from ending."""
    loop = asyncio.get_running_loop()
    requests: SimpleQueue[asyncio.Future[T] | None] = SimpleQueue()

    def read() -> None:
        iterator: Iterator[T] | None = None
        while (future := requests.get()) is not None:
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
                loop.call_soon_threadsafe(_settle, future, item, error)

    Thread(target=contextvars.copy_context().run, args=(read,), name="replicate_async inputs", daemon=True).start()
    try:
        while True:
            future: asyncio.Future[T] = loop.create_future()
            requests.put(future)
            if (item := await future) is _END:
                return
            yield item
    finally:
        requests.put(None)


def _settle(future: asyncio.Future[T], item: T, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(item)
    else:
        future.set_exception(error)
