"""Calls of either client, so that one test covers both.

The blocking client runs in another thread, because the server may run in the event loop of the test.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from operator import attrgetter
from typing import Any

import anyio.to_thread

from replicate_async import AsyncReplicate, Replicate
from replicate_async._http.transport import Transport


def transport_of(client: AsyncReplicate | Replicate) -> Transport:
    """Return the transport of a client. Tests that inspect the HTTP layer of a client get it here."""
    return getattr(client, "_async", client)._transport


class Caller:
    """Calls the methods of either client, and those of their results."""

    def __init__(self, client: AsyncReplicate | Replicate) -> None:
        self.client = client
        self.blocking = isinstance(client, Replicate)

    async def __call__(self, method: str, /, *arguments: Any, **options: Any) -> Any:
        """Call a method of the client by its name, such as ``files.get``."""
        return await self.of(attrgetter(method)(self.client), *arguments, **options)

    async def of(self, method: Any, /, *arguments: Any, **options: Any) -> Any:
        """Call a method and return its result."""
        if self.blocking:
            return await anyio.to_thread.run_sync(partial(method, *arguments, **options))
        return await method(*arguments, **options)

    async def all(self, things: Any) -> list[Any]:
        """Return all items of an iterable."""
        if self.blocking:
            return await anyio.to_thread.run_sync(list, things)
        return [thing async for thing in things]

    @asynccontextmanager
    async def entered(self, context: Any) -> AsyncIterator[Any]:
        """Enter a context manager that a method returned."""
        if not self.blocking:
            async with context as value:
                yield value
            return
        value = await anyio.to_thread.run_sync(context.__enter__)
        try:
            yield value
        except BaseException:
            if not await anyio.to_thread.run_sync(context.__exit__, *sys.exc_info()):
                raise
        else:
            await anyio.to_thread.run_sync(context.__exit__, None, None, None)


def calling(kind: str, base_url: str, token: str, **options: Any) -> AbstractAsyncContextManager[Caller]:
    """Open a client (``async`` or ``blocking``), give its caller, and close the client in the end."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Caller]:
        arguments: Any = {"bearer_token": token, "base_url": base_url, **options}
        caller = Caller(AsyncReplicate(**arguments) if kind == "async" else Replicate(**arguments))
        try:
            yield caller
        finally:
            await caller("close")

    return opened()
