"""Bytes to the API and back through aiohttp: a session per event loop, timeouts, and repeated attempts."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

import msgspec

from replicate_async import _clock, _retry, _wire
from replicate_async._arguments import Secret, check_options, check_token
from replicate_async._version import __version__
from replicate_async._wire import APIResponse, Request
from replicate_async.errors import APIConnectionError, APIError, APITimeoutError, ReplicateError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp
    import tenacity
    from multidict import CIMultiDict

    from replicate_async._arguments import QueryValue
    from replicate_async._connections import Pool

    Timeout = float | aiohttp.ClientTimeout | None

T = TypeVar("T")
U = TypeVar("U")
A = TypeVar("A", "APIResponse[Any]", "Opened[Any]")

logger = logging.getLogger("replicate_async")


def _configure_logging(level: str) -> None:
    """Show this package's log, as the environment's REPLICATE_LOG wants it, unless the program has its own way."""
    if not level:
        return
    logging.basicConfig(format="%(asctime)s %(name)s %(levelname)s %(message)s")
    if level.lower() in {"info", "debug"}:
        logger.setLevel(level.upper())
    else:
        logger.warning("REPLICATE_LOG=%r is neither 'info' nor 'debug'", level)


_configure_logging(os.environ.get("REPLICATE_LOG", "").strip())

TOKEN_VARIABLE = "REPLICATE_API_TOKEN"  # noqa: S105 - a name, not a token
DEFAULT_TIMEOUT = 60.0
_CONNECT_TIMEOUT = 10.0
_HOLD_MARGIN = 15.0  # what a held answer may take to travel after the server let go of it
_LARGE_BODY = 2**20  # aiohttp wants larger bodies as files, so that they are not written in one go


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a client calls the API; what ``with_options`` changes."""

    base_url: str
    token: str | None = None
    timeout: Timeout = DEFAULT_TIMEOUT
    max_retries: int | None = None
    default_headers: Mapping[str, str] | None = None
    default_query: Mapping[str, QueryValue] | None = None
    retry: tenacity.AsyncRetrying | None = None


class _Attempt(msgspec.Struct):
    """A request made ready to be sent, as often as it takes."""

    url: str
    headers: CIMultiDict[str]
    body: Any
    timeout: Any


class Transport:
    """Sends requests with a client's settings."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.settings: Settings = settings
        self.pool: Pool = pool
        self._home = settings.base_url + "/"
        self._headers: dict[str | None, CIMultiDict[str]] = {}
        self._timeouts: dict[tuple[Timeout, float], aiohttp.ClientTimeout] = {}

    def __reduce__(self) -> tuple[type[Transport], tuple[Settings, Pool]]:
        # By configuration, the token included: what was made of it is made again.
        return type(self), (self.settings, self.pool)

    @property
    def plain(self) -> Transport:
        """The transport whose calls return what answers decode to."""
        return self

    async def call(self, request: Request[T]) -> T:
        """Send a request and return what its answer decodes to."""
        return (await self.send(request)).parse()

    async def send(self, request: Request[T]) -> APIResponse[T]:
        """Send a request and return its answer; repeat it where that is safe.

        Raises:
            APIError: no answer came, or it was an error status.
        """
        attempt = self._prepare(request)
        ledger = self.pool.ledger if request.creates else None
        key = request.path, attempt.body
        if ledger:
            ledger.start(key)
        try:
            # The way that most calls go: nothing of the retry machinery is touched before something fails.
            response = await self._exchange(request, attempt, whole=True)
        except APIError as error:
            response = await self._again(request, error, lambda: self._exchange(request, attempt, whole=True))
        finally:
            if ledger:
                ledger.finish(key)
        if ledger:
            ledger.add(response.read())
        return response

    async def open(self, request: Request[T]) -> Opened[T]:
        """Send a request and return its answer as soon as its headers are there.

        Raises:
            APIError: no answer came, or it was an error status.
        """
        attempt = self._prepare(request)
        try:
            return await self._exchange(request, attempt, whole=False)
        except APIError as error:
            return await self._again(request, error, lambda: self._exchange(request, attempt, whole=False))

    async def _again(self, request: Request[Any], first: APIError, once: Callable[[], Awaitable[A]]) -> A:
        """Make further attempts after the first has failed, where that is safe."""
        retries = request.options.get("max_retries", self.settings.max_retries)
        if retries == 0 or not _retry.repeatable(request, first):
            raise first
        failure: BaseException = first

        import tenacity

        policy: tenacity.AsyncRetrying = self.settings.retry or _retry.default_policy(self.sleep)
        policy = policy.copy(reraise=True)  # callers get the API's error, never tenacity's
        if retries is not None:
            policy.stop = tenacity.stop_after_attempt(1 + retries)
        async for step in policy:
            with step:
                number = step.retry_state.attempt_number
                if number == 1:  # the failure that brought us here
                    raise failure
                logger.info("retry %d of %s %s after: %s", number - 1, request.method, request.shown, failure)
                try:
                    answer = await once()
                except BaseException as error:
                    failure = error
                    # Whatever the policy would like: a call that may have been carried out is not made again.
                    if not _retry.repeatable(request, error):
                        break
                    raise
                answer.retries_taken = number - 1
                return answer
        raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait before the next attempt, or before looking again."""
        await _clock.current.sleep(seconds)

    def now(self) -> float:
        """Return a monotonic time in seconds."""
        return _clock.current.monotonic()

    def _prepare(self, request: Request[Any]) -> _Attempt:
        options = request.options
        if options:
            check_options(options)
        url = _wire.full_url(self.settings.base_url, request, self.settings.default_query)
        body, content_type = _wire.full_body(request)
        headers = self._own_headers(content_type) if self.is_home(url) else _foreign_headers(content_type)
        extra = options.get("extra_headers")
        if request.headers or extra:
            headers = cast("CIMultiDict[str]", headers.copy())  # pyright: ignore[reportUnknownMemberType]
            headers.update(request.headers or {})
            headers.update(extra or {})
        asked = options.get("timeout", self.settings.timeout)
        hold = max(request.hold, _wire.hold_of(headers.get("Prefer")))
        timeout = self._timeouts.get((asked, hold))
        if timeout is None:
            timeout = self._timeouts[asked, hold] = _client_timeout(asked, hold)
        return _Attempt(url, headers, body, timeout)

    def is_home(self, url: str) -> bool:
        """Return whether a URL belongs to the API: whether it may get the token."""
        return url.startswith(self._home) or _wire.origin(url) == _wire.origin(self._home)

    def _own_headers(self, content_type: str | None) -> CIMultiDict[str]:
        """Return what is told to the API with every call; made once, and copied by aiohttp."""
        if content_type not in self._headers:
            token = self.settings.token or Secret(os.environ.get(TOKEN_VARIABLE, "").strip())
            if not token:
                raise ReplicateError(
                    f"no API token: set the environment variable {TOKEN_VARIABLE}, or pass bearer_token="
                )
            headers = _foreign_headers(None)
            headers["Accept"] = "application/json"
            headers["Authorization"] = Secret(f"Bearer {check_token(token)}")
            headers.update(self.settings.default_headers or {})
            if content_type is not None:
                headers["Content-Type"] = content_type
            self._headers[content_type] = headers
        return self._headers[content_type]

    @overload
    async def _exchange(self, request: Request[T], attempt: _Attempt, *, whole: Literal[True]) -> APIResponse[T]: ...

    @overload
    async def _exchange(self, request: Request[T], attempt: _Attempt, *, whole: Literal[False]) -> Opened[T]: ...

    async def _exchange(self, request: Request[T], attempt: _Attempt, *, whole: bool) -> APIResponse[T] | Opened[T]:
        """Make one attempt; read its answer to the end, or only the headers unless it is an error."""
        import aiohttp
        import yarl

        connections = self.pool.here() or await self.pool.open()
        # An open stream keeps no place: whoever reads one must not keep others from their calls.
        limiter = None if request.urgent else connections.limiter
        if limiter and not limiter.enter_now():
            await limiter.enter()
        # Time in that line is not the request's: its timeout starts here.
        started = perf_counter()
        done = _clock.current.busy()
        request.sent = True
        try:
            body = attempt.body() if callable(attempt.body) else attempt.body
            if isinstance(body, bytes) and len(body) > _LARGE_BODY:
                body = io.BytesIO(body)
            answer = await connections.session.request(
                request.method,
                # What is encoded already goes as it is: written another way, a signed URL may no longer be valid.
                yarl.URL(attempt.url, encoded=True) if _ENCODED.fullmatch(attempt.url) else attempt.url,
                data=body,
                headers=attempt.headers,
                timeout=attempt.timeout,
                # A redirected GET loses the token at another origin (aiohttp); anything else isn't sent elsewhere.
                allow_redirects=request.method == "GET",
                proxy=self.pool.proxy(attempt.url),
                skip_auto_headers=_NO_TYPE if body is None else None,
                raise_for_status=False,
            )
            status = answer.status
            if status >= 300:
                request.sent = status >= 500
            content = await answer.read() if whole or status >= 300 else b""
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            failure = connection_error(error, request.method, attempt.url)
            request.sent = request.sent and failure.sent
            raise failure from error
        except (AttributeError, RuntimeError) as error:  # what aiohttp says of a session that was closed meanwhile
            if not connections.session.closed:
                raise
            raise ReplicateError("this client, or its session, is closed") from error
        finally:
            done()
            if limiter:
                limiter.leave()
        elapsed = perf_counter() - started
        logger.debug("%s %s: %d in %.3f s", request.method, request.shown, status, elapsed)
        if status >= 300:
            raise _wire.status_error(request.method, attempt.url, status, answer.headers, content)
        if whole:
            return APIResponse(request, attempt.url, status, answer.headers, content, elapsed)
        return Opened(request, attempt.url, answer, elapsed)


_ENCODED = re.compile(r"(?:[!#$&-;=?-Z\[\]_a-z~]|%[0-9A-Fa-f]{2})*")
_NO_TYPE = ("Content-Type",)  # of a body that isn't there


class Opened(Generic[T]):
    """An answer whose body is still to be read."""

    __slots__ = ("answer", "elapsed", "request", "retries_taken", "url")

    def __init__(self, request: Request[T], url: str, answer: aiohttp.ClientResponse, elapsed: float) -> None:
        self.request: Request[T] = request
        self.url: str = url
        self.answer: aiohttp.ClientResponse = answer
        self.elapsed: float = elapsed
        self.retries_taken: int = 0

    def mapped(self, function: Callable[[T], U]) -> Opened[U]:
        """Return this answer with a function applied to what its body decodes to."""
        made = Opened(self.request.mapped(function), self.url, self.answer, self.elapsed)
        made.retries_taken = self.retries_taken
        return made


def _foreign_headers(content_type: str | None) -> CIMultiDict[str]:
    """Return what may be told to other hosts than the API's."""
    from multidict import CIMultiDict

    headers = CIMultiDict({"User-Agent": f"replicate-async/{__version__}", "Accept": "*/*"})
    if content_type is not None:
        headers["Content-Type"] = content_type
    return headers


def connection_error(error: Exception, method: str, url: str) -> APIConnectionError:
    """Say what happened to a request, and whether it can have reached the server."""
    import aiohttp

    unsent = isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL))
    # Older versions of aiohttp tell of a body that can't be read only in the cause.
    reasons = dict.fromkeys(str(one) or type(one).__name__ for one in (error, error.__cause__) if one is not None)
    reason = ", ".join(reasons)
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
