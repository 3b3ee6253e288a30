"""Waiting for tasks of asyncio, and running several at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import anyio

T = TypeVar("T")


async def wait_shielded(task: asyncio.Task[Any]) -> None:
    """Wait for a task that ends soon, and only then raise that the caller was canceled in the meantime."""
    canceled: asyncio.CancelledError | None = None
    # A canceled asyncio.wait() leaves the task alone. The shielded scope protects from anyio's cancellation.
    while not task.done():
        try:
            with anyio.CancelScope(shield=True):
                await asyncio.wait([task])
        except asyncio.CancelledError as error:  # noqa: PERF203 - there are few
            canceled = error
    if canceled is not None:
        raise canceled


def consume_exception(task: asyncio.Task[Any]) -> None:
    """Retrieve a task's exception, so that asyncio does not log it: before Python 3.11, Ctrl-C may end any task."""
    if not task.cancelled():
        task.exception()


async def for_each(function: Callable[[T], Coroutine[Any, Any, None]], items: Sequence[T], max_concurrent: int) -> None:
    """Call a function with each item, up to ``max_concurrent`` at the same time. The first error cancels the others.

    A task group of anyio would leave coroutines behind that were never awaited, if a loop ends before they begin.
    """
    queue = deque(items)

    async def work() -> None:
        while queue:
            await function(queue.popleft())

    tasks = [asyncio.ensure_future(work()) for _ in range(min(max_concurrent, len(items)))]
    if not tasks:
        return
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
            task.add_done_callback(consume_exception)
        with anyio.CancelScope(shield=True):
            await asyncio.wait(tasks)
    errors = [error for task in tasks if not task.cancelled() and (error := task.exception())]
    if errors:
        raise errors[0]
