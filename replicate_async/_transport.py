"""Bytes to the API and back through aiohttp: a session per event loop, timeouts, and repeated attempts."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import warnings
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from replicate_async import _retry, _wire
from replicate_async._arguments import Secret, check_options, check_token
from replicate_async._creates import Ledger
from replicate_async._version import __version__
from replicate_async._wire import APIResponse, Request
from replicate_async.errors import APIConnectionError, APIError, APITimeoutError, ReplicateError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import aiohttp
    import tenacity

    Timeout = float | aiohttp.ClientTimeout | None

T = TypeVar("T")

logger = logging.getLogger("replicate_async")

TOKEN_VARIABLE = "REPLICATE_API_TOKEN"  # noqa: S105 - a name, not a token
DEFAULT_TIMEOUT = 60.0
DEFAULT_MAX_CONNECTIONS = 100
_CONNECT_TIMEOUT = 10.0
_HOLD_MARGIN = 15.0  # what a held answer may take to travel after the server let go of it
_LARGE_BODY = 2**20  # aiohttp wants larger bodies as files, so that they are not written in one go


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a client calls the API; what ``with_options`` changes."""

    base_url: str
    token: str | None = None
    timeout: Any = DEFAULT_TIMEOUT
    max_retries: int | None = None
    default_headers: Any = None
    default_query: Any = None
    retry: Any = None


class _Connections:
    """An aiohttp session and the number of requests that may use it at once, on one event loop."""

    __slots__ = ("_lifetime", "limiter", "session")

    def __init__(self, session: aiohttp.ClientSession, limit: int) -> None:
        self.session = session
        # The connector's own queue grows costly when thousands wait; a semaphore in front of it doesn't.
        self.limiter = asyncio.Semaphore(limit)
        self._lifetime: AsyncGenerator[None, None] | None = None

    async def bind(self) -> None:
        """Close the session when its loop shuts down: loops finalize the async generators that are under way."""
        self._lifetime = _until_shutdown(self.session)
        await self._lifetime.__anext__()

    async def close(self) -> None:
        if self._lifetime is not None:
            await self._lifetime.aclose()


async def _until_shutdown(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await session.close()


class Pool:
    """The connections of a client and of its copies, made on first use in each event loop."""

    def __init__(self, session: aiohttp.ClientSession | None, max_connections: int) -> None:
        self.max_connections = max_connections
        self.session = session
        self.closed = False
        self.ledger = Ledger()
        self._by_loop: dict[asyncio.AbstractEventLoop, _Connections] = {}
        self._proxies: dict[tuple[str, str, int], str | None] = {}

    async def connections(self) -> _Connections:
        """Return the running loop's connections."""
        loop = asyncio.get_running_loop()
        found = self._by_loop.get(loop)
        return found if found is not None else await self._open(loop)

    async def _open(self, loop: asyncio.AbstractEventLoop) -> _Connections:
        if self.closed:
            raise ReplicateError("this client is closed: make a new one, or close it later")
        for other in [other for other in self._by_loop if other.is_closed()]:
            self._by_loop.pop(other, None)
        if self.session is not None:
            if self.session._loop is not loop:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                raise ReplicateError("session= belongs to another event loop: leave it out, and each loop gets its own")
            made = _Connections(self.session, self.max_connections)
        else:
            made = _Connections(_new_session(), self.max_connections)
        self._by_loop[loop] = made  # before the first await, so that a loop never gets two
        if self.session is None:
            await made.bind()
        return made

    def proxy(self, url: str) -> str | None:
        """Return the proxy that the environment names for a URL."""
        origin = _wire.origin(url)
        if origin not in self._proxies:
            self._proxies[origin] = _environment_proxy(*origin)
        return self._proxies[origin]

    async def close(self) -> None:
        """Close the connections of all loops; those of other running loops are closed there, soon."""
        self.closed = True
        here = asyncio.get_running_loop()
        while self._by_loop:
            loop, connections = self._by_loop.popitem()
            if loop is here:
                await connections.close()
            elif loop.is_running():
                asyncio.run_coroutine_threadsafe(connections.close(), loop)

    def __del__(self) -> None:
        # Only a warning: what is left is closed by the loops themselves, when they find the generators dropped.
        if self.session is None and any(not loop.is_closed() for loop in self._by_loop):
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

    return None if proxy_bypass(f"{host}:{port}") else getproxies().get(scheme)


class _Attempt(msgspec.Struct):
    """A request made ready to be sent, as often as it takes."""

    url: str
    headers: dict[str, str]
    body: Any
    timeout: Any


class Transport:
    """Sends requests with a client's settings."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.settings = settings
        self.pool = pool
        self._home = settings.base_url + "/"
        self._headers: dict[str, str] | None = None
        self._timeouts: dict[tuple[Timeout, float], aiohttp.ClientTimeout] = {}

    async def call(self, request: Request[T]) -> T:
        """Send a request and return what its answer decodes to."""
        return (await self.send(request)).parse()

    async def send(self, request: Request[T]) -> APIResponse[T]:
        """Send a request and return its answer; repeat it where that is safe.

        Raises:
            APIError: no answer came, or it was an error status.
        """
        attempt = self._prepare(request)
        if not request.creates:
            return await self._send(request, attempt)
        ledger = self.pool.ledger
        key = ledger.key(request.path, attempt.body)
        ledger.start(key)
        try:
            response = await self._send(request, attempt)
        finally:
            ledger.finish(key)
        ledger.add(response.read())
        return response

    async def _send(self, request: Request[T], attempt: _Attempt) -> APIResponse[T]:
        retries = request.options.get("max_retries", self.settings.max_retries)
        try:
            # The way that most calls go: nothing of the retry machinery is touched before something fails.
            return await self._exchange(request, attempt)
        except APIError as error:
            if retries == 0 or not _retry.repeatable(request, error):
                raise
            first = error
        return await self._repeat(request, attempt, retries, first)

    async def _repeat(
        self, request: Request[T], attempt: _Attempt, retries: int | None, first: APIError
    ) -> APIResponse[T]:
        """Go on after the first failure, for as long as the policy says."""
        import tenacity

        policy: tenacity.AsyncRetrying = self.settings.retry or _retry.default_policy(self.sleep)
        policy = policy.copy(reraise=True)  # callers get the API's error, never tenacity's
        if retries is not None:
            policy.stop = tenacity.stop_after_attempt(1 + retries)
        failure = first
        async for step in policy:
            with step:
                number = step.retry_state.attempt_number
                if number == 1:  # the failure that brought us here
                    raise first
                logger.info("retry %d of %s %s after: %s", number - 1, request.method, request.path, failure)
                try:
                    response = await self._exchange(request, attempt)
                except APIError as error:
                    failure = error
                    # Whatever the policy would like: a call that may have been carried out is not made again.
                    if _retry.repeatable(request, error):
                        raise
                else:
                    response.retries_taken = number - 1
                    return response
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait before the next attempt, or before looking again."""
        await asyncio.sleep(seconds)

    def now(self) -> float:
        """Return a monotonic time in seconds."""
        return asyncio.get_running_loop().time()

    def _prepare(self, request: Request[Any]) -> _Attempt:
        options = request.options
        if options:
            check_options(options)
        url = _wire.full_url(self.settings.base_url, request, self.settings.default_query)
        body, content_type = _wire.full_body(request)
        headers = dict(self._own_headers() if url.startswith(self._home) else _FOREIGN_HEADERS)
        if content_type is not None:
            headers["Content-Type"] = content_type
        if request.headers is not None:
            headers.update(request.headers)
        if extra := options.get("extra_headers"):
            headers.update(extra)
        asked = options.get("timeout", self.settings.timeout)
        timeout = self._timeouts.get((asked, request.hold))
        if timeout is None:
            timeout = self._timeouts[asked, request.hold] = _client_timeout(asked, request.hold)
        return _Attempt(url, headers, body, timeout)

    def _own_headers(self) -> dict[str, str]:
        if self._headers is None:
            token = self.settings.token or os.environ.get(TOKEN_VARIABLE, "").strip()
            if not token:
                raise ReplicateError(
                    f"no API token: set the environment variable {TOKEN_VARIABLE}, or pass bearer_token="
                )
            self._headers = {
                **_FOREIGN_HEADERS,
                "Accept": "application/json",
                "Authorization": Secret(f"Bearer {check_token(token)}"),
                **(self.settings.default_headers or {}),
            }
        return self._headers

    async def _exchange(self, request: Request[T], attempt: _Attempt) -> APIResponse[T]:
        """Make one attempt."""
        import aiohttp

        connections = await self.pool.connections()
        body = attempt.body
        if isinstance(body, bytes) and len(body) > _LARGE_BODY:
            body = io.BytesIO(body)
        # Time in this queue is not the request's: its timeout starts behind it.
        async with connections.limiter:
            started = perf_counter()
            try:
                async with connections.session.request(
                    request.method,
                    attempt.url,
                    data=body,
                    headers=attempt.headers,
                    timeout=attempt.timeout,
                    # A redirected GET loses the token at another origin (aiohttp); anything else isn't sent elsewhere.
                    allow_redirects=request.method == "GET",
                    proxy=self.pool.proxy(attempt.url),
                    raise_for_status=False,
                ) as answer:
                    content = await answer.read()
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
                raise _connection_error(error, request.method, attempt.url) from error
            elapsed = perf_counter() - started
        logger.debug("%s %s: %d in %.3f s", request.method, request.path, answer.status, elapsed)
        if answer.status >= 300:
            raise _wire.status_error(request.method, attempt.url, answer.status, answer.headers, content)
        return APIResponse(request, attempt.url, answer.status, answer.headers, content, elapsed)


_FOREIGN_HEADERS = {"User-Agent": f"replicate-async/{__version__}", "Accept": "*/*"}


def _connection_error(error: Exception, method: str, url: str) -> APIConnectionError:
    """Say what happened to a request, and whether it can have reached the server."""
    import aiohttp

    unsent = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL))
    reason = str(error) or type(error).__name__
    if isinstance(error, asyncio.TimeoutError):
        return APITimeoutError(f"no answer in time: {reason}", method=method, url=url, sent=not unsent)
    what = "no connection" if unsent else "the connection broke"
    return APIConnectionError(f"{what}: {reason}", method=method, url=url, sent=not unsent)


def _client_timeout(asked: Timeout, hold: float) -> aiohttp.ClientTimeout:
    """Translate a timeout; where the server was asked to take its time, it is made long enough for that."""
    import aiohttp

    if not isinstance(asked, aiohttp.ClientTimeout):
        connect = None if asked is None else min(asked, _CONNECT_TIMEOUT)
        asked = aiohttp.ClientTimeout(total=asked, sock_connect=connect)
    least = hold + _HOLD_MARGIN if hold else 0.0
    return aiohttp.ClientTimeout(
        total=max(asked.total, least) if asked.total else None,
        connect=asked.connect,
        sock_read=max(asked.sock_read, least) if asked.sock_read else None,
        sock_connect=asked.sock_connect,
        ceil_threshold=asked.ceil_threshold,
    )
