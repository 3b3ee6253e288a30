"""Connections to the API: an aiohttp session for each event loop, closed with the client or with its loop."""

from __future__ import annotations

import asyncio
import os
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from replicate_async._http.fork import make_immortal
from replicate_async._http.locks import KeyedLock
from replicate_async._http.ratelimit import AdaptiveConcurrencyLimiter, ConcurrencyLimiter, RateLimiter, TokenBucket
from replicate_async._http.request import origin as url_origin
from replicate_async._predictions.uploads import Uploads
from replicate_async.errors import ReplicateError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    import aiohttp

    from replicate_async._predictions.requests import ModelRef
    from replicate_async.types import Prediction

DEFAULT_MAX_CONNECTIONS = 100
_HELD_AT_MOST = 16


_open: set[Connections] = set()


def _after_fork() -> None:
    for connections in _open:
        make_immortal(connections)
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Connections:
    """An aiohttp session and the number of requests that may use it at once, on one event loop."""

    __slots__ = ("_gates", "_lifetime", "creates", "held", "left", "line", "max_held", "pid", "pollers", "session")

    def __init__(self, session: aiohttp.ClientSession, limit: int) -> None:
        self.session: aiohttp.ClientSession = session
        self.pid: int = os.getpid()
        self.line: ConcurrencyLimiter = ConcurrencyLimiter(limit)
        self.creates: AdaptiveConcurrencyLimiter = AdaptiveConcurrencyLimiter()
        self.held: int = 0  # creates whose answers the API keeps back until they are done
        self.max_held: int = max(1, min(_HELD_AT_MOST, limit // 4))
        self.pollers: WeakValueDictionary[object, Any] = WeakValueDictionary()
        # Gives up what is under way when the client is closed, such as by an exception in an iteration that is left.
        self.left: set[Callable[[], Awaitable[None]]] = set()
        self._gates: dict[TokenBucket, RateLimiter] = {}
        self._lifetime: AsyncGenerator[None, None] | None = None

    def gate(self, budget: TokenBucket) -> RateLimiter:
        """Return this loop's way through a budget."""
        if budget not in self._gates:
            self._gates[budget] = RateLimiter(budget)
        return self._gates[budget]

    async def bind(self) -> None:
        """Close the session when its loop shuts down: loops finalize the async generators that are under way."""
        # Until it is dropped, nothing of it can be garbage: finalized in the midst of a cycle, aiohttp makes noise.
        _open.add(self)
        self._lifetime = _until_shutdown(self.session)
        await self._lifetime.__anext__()

    async def close(self) -> None:
        if self._lifetime is not None:
            await self._lifetime.aclose()
        _open.discard(self)

    def drop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Leave the rest to the loop, which finalizes the generator that keeps the session."""
        _open.discard(self)
        if self._lifetime is not None and loop.is_closed():
            # Nobody has shut its generators down. Without a loop there is nothing to wait for.
            with suppress(StopIteration):
                self.session.close().send(None)


async def _until_shutdown(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await session.close()


class Pool:
    """The connections of a client and of its copies, made on first use in each event loop."""

    def __init__(
        self, session: aiohttp.ClientSession | None, max_connections: int, *, to_be_closed: bool = False
    ) -> None:
        self.to_be_closed: bool = to_be_closed  # by a caller, who is warned if it isn't
        self.max_connections: int = max_connections
        self.session: aiohttp.ClientSession | None = session
        self.closed: bool = False
        self.uploads: Uploads = Uploads()
        self.schemas: dict[tuple[object, ...], tuple[dict[str, Any], Prediction | None]] = {}
        self.latest: dict[tuple[object, ...], tuple[ModelRef, float]] = {}
        self.locks: KeyedLock = KeyedLock()
        self._by_loop: dict[asyncio.AbstractEventLoop, Connections] = {}
        self._proxies: dict[tuple[str, str, int], str | None] = {}

    def here(self) -> Connections | None:
        """Return the running loop's connections, once there are any."""
        return self._by_loop.get(asyncio.get_running_loop())

    async def open(self) -> Connections:
        """Make the running loop's connections."""
        loop = asyncio.get_running_loop()
        if self.closed:
            raise ReplicateError("this client is closed: make a new one, or close it later")
        # Other threads' loops come and go meanwhile: each of them is dropped by the one that takes it out.
        for other in list(self._by_loop):
            if other.is_closed() and (left := self._by_loop.pop(other, None)) is not None:
                left.drop(other)
        if self.session is not None:
            if self.session._loop is not loop:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                raise ReplicateError("session= belongs to another event loop: leave it out, and each loop gets its own")
            # What its own connector would make wait is made to wait here, where that isn't the request's time.
            limit = self.session.connector.limit if self.session.connector else 0
            made = Connections(self.session, min(self.max_connections, limit or self.max_connections))
        else:
            made = Connections(_new_session(), self.max_connections)
        self._by_loop[loop] = made  # before the first await, so that a loop never gets two
        if self.session is None:
            await made.bind()
        return made

    def proxy(self, url: str) -> str | None:
        """Return the proxy that the environment names for a URL."""
        origin = url_origin(url)
        if origin not in self._proxies:
            self._proxies[origin] = _environment_proxy(*origin)
        return self._proxies[origin]

    async def close(self) -> None:
        """Close the connections of all loops; those of other running loops are closed there, soon."""
        here = asyncio.get_running_loop()
        if (mine := self._by_loop.get(here)) is not None:
            await asyncio.gather(*[give_up() for give_up in mine.left])
        self.closed = True
        while True:
            try:
                loop, connections = self._by_loop.popitem()
            except KeyError:  # other threads may have taken some of them
                return
            if connections.pid != os.getpid():
                continue
            if loop is here:
                await connections.close()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(connections.close(), loop)
            else:
                connections.drop(loop)

    def __reduce__(self) -> tuple[type[Pool], tuple[None, int]]:
        # A copy in another process, or by deepcopy, makes connections of its own. It may belong to a page, which
        # nobody can close.
        return Pool, (None, self.max_connections)

    def __del__(self) -> None:
        # At its very end the interpreter clears this module; the loops have closed what was open by then.
        if os is None:
            return
        # Only a warning: what is left is closed by the loops themselves, when they find the generators dropped.
        mine = {loop: one for loop, one in self._by_loop.items() if one.pid == os.getpid()}
        for loop, connections in mine.items():
            connections.drop(loop)
        if self.to_be_closed and self.session is None and any(not loop.is_closed() for loop in mine):
            warnings.warn(
                "a Replicate client was dropped without being closed: use 'with', or call close()",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )


def _new_session() -> aiohttp.ClientSession:
    import aiohttp  # costs 150 ms: loaded with the first request, not before

    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=True,
    )


def _environment_proxy(scheme: str, host: str, port: int) -> str | None:
    # aiohttp's own trust_env reads the environment and ~/.netrc again for each request, and a netrc entry would
    # replace the token.
    from urllib.request import getproxies, proxy_bypass

    proxy = None if proxy_bypass(f"{host}:{port}") else getproxies().get(scheme)
    if proxy and "://" not in proxy:
        proxy = f"http://{proxy}"  # as it is customary to write
    if proxy and not proxy.startswith(("http://", "https://")):
        kind = proxy.partition("://")[0]
        raise ValueError(f"the environment's {scheme}_proxy is of the kind {kind}: only HTTP proxies can be used")
    return proxy
