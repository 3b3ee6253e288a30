"""Connection pools: one aiohttp session for each event loop, closed with the client or with its loop."""

from __future__ import annotations

import asyncio
import os
import socket
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, cast

from replicate_async._fork import after_fork_in_child, make_immortal
from replicate_async._http.concurrency import ConcurrencyLimiter
from replicate_async._http.environment import Route, environment_route
from replicate_async._http.ratelimit import RateLimiter, TokenBucket
from replicate_async._http.request import origin
from replicate_async._http.state import StateOwner
from replicate_async._threads import run_in_thread, running_loop
from replicate_async._typing import aiohttp
from replicate_async.errors import ReplicateError

DEFAULT_MAX_CONNECTIONS = 100

# Keeps sessions from becoming garbage before their loop ends: aiohttp prints a warning when one is finalized.
_open_sessions: set[LoopSession] = set()


@after_fork_in_child
def _abandon_sessions() -> None:
    for session in _open_sessions:
        make_immortal(session)
    _open_sessions.clear()


class LoopSession(StateOwner):
    """An aiohttp session on one event loop, and the limits of its calls."""

    def __init__(self, session: aiohttp.ClientSession, max_connections: int) -> None:
        super().__init__()
        # It imports aiohttp, which takes long.
        from replicate_async._http.exchange import exchange

        self.session: aiohttp.ClientSession = session
        self.exchange = exchange
        self.pid: int = os.getpid()
        self.max_connections: int = max_connections
        self.limiter: ConcurrencyLimiter = ConcurrencyLimiter(max_connections)
        # For calls that must not wait for others, such as cancels.
        self.urgent_limiter: ConcurrencyLimiter = ConcurrencyLimiter(max_connections)
        # Called and awaited before the client closes, for example to cancel the predictions of runs in progress.
        self.on_close: set[Callable[[], Awaitable[None]]] = set()
        self._rate_limiters: dict[TokenBucket, RateLimiter] = {}
        self._lifetime: AsyncGenerator[None, None] | None = None

    def rate_limiter(self, bucket: TokenBucket) -> RateLimiter:
        """Return this loop's queue for a bucket."""
        if bucket not in self._rate_limiters:
            self._rate_limiters[bucket] = RateLimiter(bucket)
            if bucket.pace is not None:
                self.on_close.add(bucket.pace.close)
        return self._rate_limiters[bucket]

    def close_with_loop(self) -> None:
        """Close the session when its loop shuts down, because loops finalize the async generators in progress."""
        _open_sessions.add(self)
        self._lifetime = _until_shutdown(self.session, self.on_close)
        with suppress(StopIteration):
            self._lifetime.__anext__().send(None)

    async def close(self) -> None:
        """Close the session, unless it is the user's own."""
        if self._lifetime is not None:
            # The loop may end the generator at the same time.
            await self.session.close()
            with suppress(RuntimeError):
                await self._lifetime.aclose()
        _open_sessions.discard(self)

    def drop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the loop close the session, when it finalizes the generator that keeps it open."""
        _open_sessions.discard(self)
        if self._lifetime is not None and loop.is_closed():
            # The loop was closed without shutting its generators down. Closing has nothing left to wait for.
            with suppress(StopIteration):
                self.session.close().send(None)


async def _until_shutdown(
    session: aiohttp.ClientSession, on_close: set[Callable[[], Awaitable[None]]]
) -> AsyncGenerator[None, None]:
    # Not a method, whose generator would be in a cycle with its owner: the loop closes what is dropped at once.
    try:
        yield
    finally:
        try:
            # Iterators that were left half read are closed at the same time, and cancel what they have begun.
            await _call_all(on_close)
        finally:
            await session.close()


async def _call_all(functions: set[Callable[[], Awaitable[None]]]) -> None:
    """Call all functions at the same time, and wait for all of them; the first error is raised."""
    results = await asyncio.gather(*[function() for function in functions], return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


class SessionPool(StateOwner):
    """The sessions of a client and its copies, created on first use in each event loop."""

    def __init__(
        self, session: aiohttp.ClientSession | None, max_connections: int, *, warn_unclosed: bool = False
    ) -> None:
        super().__init__()
        self.closed: bool = False
        self._session = session
        self._max_connections = max_connections
        self._warn_unclosed = warn_unclosed
        self._by_loop: dict[asyncio.AbstractEventLoop, LoopSession] = {}
        self._routes: dict[tuple[str, str, int], Route] = {}

    def current(self) -> LoopSession:
        """Return the running loop's session, opened on first use.

        Raises:
            ReplicateError: the client is closed, or ``session=`` belongs to another event loop.
        """
        loop = running_loop()
        session = self._by_loop.get(loop)
        return self._open(loop) if session is None else session

    def check_open(self, *, closing: bool = False) -> None:
        """Raise ReplicateError if the client is closed; ``closing`` allows the calls that are a part of closing."""
        if self.closed and not closing:
            raise ReplicateError("this client is closed: create another one, or close it later")

    def _open(self, loop: asyncio.AbstractEventLoop) -> LoopSession:
        self.check_open()
        # Other threads do the same at the same time: a session is dropped by the thread that pops it.
        for closed_loop in [key for key in list(self._by_loop) if key.is_closed()]:
            if (dropped := self._by_loop.pop(closed_loop, None)) is not None:
                dropped.drop(closed_loop)
        if self._session is None:
            session = LoopSession(_new_session(), self._max_connections)
            session.close_with_loop()
        else:
            if self._session._loop is not loop:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                raise ReplicateError("session= belongs to another event loop: omit it, and each loop gets its own")
            # A call that waits for the user's own connector would spend its timeout there.
            limit = self._session.connector.limit if self._session.connector else 0
            session = LoopSession(self._session, min(self._max_connections, limit or self._max_connections))
        self._by_loop[loop] = session
        return session

    def route(self, url: str) -> Route:
        """Return how to reach a URL's host; see ``environment_route``."""
        key = origin(url)
        if key not in self._routes:
            self._routes[key] = environment_route(*key, has_tls=self._session is not None)
        return self._routes[key]

    async def close(self) -> None:
        """Close the sessions of all loops; those of other running loops are closed there, soon."""
        current_loop = running_loop()
        self.closed = True
        for loop, session in [*self._by_loop.items()]:
            if loop is current_loop:
                await self._close(loop, session)
            elif loop.is_running() and session.pid == os.getpid():
                asyncio.run_coroutine_threadsafe(self._close(loop, session), loop)
            elif self._by_loop.pop(loop, None) is not None and session.pid == os.getpid():
                session.drop(loop)

    async def _close(self, loop: asyncio.AbstractEventLoop, session: LoopSession) -> None:
        try:
            await _call_all(session.on_close)
        finally:
            # Another call may have closed it in the meantime.
            if self._by_loop.pop(loop, None) is not None:
                await session.close()

    def __reduce__(self) -> tuple[type[SessionPool], tuple[None, int]]:
        # A copy, in another process or by deepcopy, opens sessions of its own. It does not warn if it is not closed,
        # because it may belong to a page, which cannot be closed.
        return SessionPool, (None, self._max_connections)

    def __del__(self) -> None:
        # At the very end, the interpreter clears this module. By then the loops have closed their sessions.
        if os is None:
            return
        sessions = {loop: session for loop, session in self._by_loop.items() if session.pid == os.getpid()}
        for loop, session in sessions.items():
            session.drop(loop)
        if self._warn_unclosed and self._session is None and any(not loop.is_closed() for loop in sessions):
            warnings.warn(
                "a Replicate client was dropped without being closed: use 'with', or call close()",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )


def _new_session() -> aiohttp.ClientSession:
    # This import takes 150 ms, so it waits for the first request.
    import aiohttp

    # aiodns needs no threads.
    in_threads = aiohttp.DefaultResolver is aiohttp.ThreadedResolver
    resolver = aiohttp.ThreadedResolver(cast("Any", _ResolverThreads)) if in_threads else None
    connector = aiohttp.TCPConnector(limit=0, resolver=resolver)
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


class _ResolverThreads:
    """What aiohttp's resolver calls of its event loop, whose own threads may all wait for this client."""

    @staticmethod
    async def getaddrinfo(*args: Any, **options: Any) -> Any:
        return await run_in_thread(partial(socket.getaddrinfo, *args, **options))

    @staticmethod
    async def getnameinfo(*args: Any) -> Any:
        return await run_in_thread(socket.getnameinfo, *args)
