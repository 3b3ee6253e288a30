"""Threads for plain model functions."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_Work = tuple["Future[Any]", Callable[[], Any]]


class Workers:
    """Threads for as many calls as there are, kept for the next ones, and never outliving the wish to stop.

    There is no limit: models may wait for each other, or be canceled and go on. The standard library's pool has one,
    and waits for its threads when the interpreter ends, while a model may sleep for minutes.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[_Work | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Have a thread make the call; made from one thread only, the server's."""
        future: Future[T] = Future()
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._work, name="replicate model", daemon=True).start()
            self._threads += 1
        self._queue.put((future, call))
        return future

    async def run(self, call: Callable[[], T]) -> T:
        """Make the call in a thread; a caller that is cancelled leaves it behind."""
        return await asyncio.wrap_future(self.submit(call))

    def stop(self) -> None:
        """Let the threads end as soon as they can, without waiting for them."""
        for _ in range(self._threads):
            self._queue.put(None)

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            future, call = work
            if future.set_running_or_notify_cancel():
                try:
                    result = call()
                # These mean something else to whoever awaits: the end of a coroutine, or of the program.
                except (StopIteration, GeneratorExit, KeyboardInterrupt) as error:
                    failure = RuntimeError(f"the function raised {error!r}")
                    failure.__cause__ = error
                    future.set_exception(failure)
                except BaseException as error:  # noqa: BLE001  (whoever awaits the future gets it)
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del work, future, call
            self._idle.release()
