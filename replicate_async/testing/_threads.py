"""Threads: workers that call model functions, and a thread whose event loop runs a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")

_WorkItem = tuple["Future[Any]", Callable[[], Any]]


class WorkerThreads:
    """A pool of daemon threads without a limit; idle threads are reused.

    A limit could deadlock: models may wait for each other, or continue after they were canceled. The standard
    library's pool has a limit, and waits for its threads when the interpreter exits, while a model may sleep for
    minutes.
    """

    def __init__(self) -> None:
        self._queue: SimpleQueue[_WorkItem | None] = SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._threads = 0

    def submit(self, call: Callable[[], T]) -> Future[T]:
        """Call a function in a thread. Only the server's own thread may submit."""
        future: Future[T] = Future()
        if not self._idle.acquire(blocking=False):
            threading.Thread(target=self._work, name="replicate model", daemon=True).start()
            self._threads += 1
        self._queue.put((future, call))
        return future

    async def run(self, call: Callable[[], T]) -> T:
        """Call a function in a thread, and wait; if the caller is canceled, the call continues."""
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
                # A coroutine that awaits the future would take these for its own end, or for that of the program.
                except (StopIteration, GeneratorExit, KeyboardInterrupt) as error:
                    failure = RuntimeError(f"the function raised {error!r}")
                    failure.__cause__ = error
                    future.set_exception(failure)
                except BaseException as error:  # noqa: BLE001  (raised where the future is awaited)
                    future.set_exception(error)
                else:
                    future.set_result(result)
            del work, future, call
            self._idle.release()


class ServerThread:
    """A thread with an event loop, in which an async context manager is entered and left."""

    def __init__(self, server: AbstractAsyncContextManager[Any]) -> None:
        self._server = server
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._error: BaseException | None = None
        ready = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(ready,), name="replicate_async LocalServer", daemon=True
        )
        self._thread.start()
        ready.wait()
        if self._error is not None:
            self._thread.join()
            raise self._error

    def stop(self) -> None:
        """Leave the context manager, and wait for the thread."""
        if self._loop is not None and self._stopping is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()

    def _run(self, ready: threading.Event) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        try:
            await self._server.__aenter__()
            self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        except BaseException as error:  # noqa: BLE001  (raised by the constructor)
            self._error = error
            return
        finally:
            ready.set()
        await self._stopping.wait()
        await self._server.__aexit__(None, None, None)
