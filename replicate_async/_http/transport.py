"""Bytes to the API and back through aiohttp: a session per event loop, timeouts, and repeated attempts."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast, overload

import msgspec

from replicate_async._http import clock, retry
from replicate_async._http.account import AccountState, shared
from replicate_async._http.options import Secret, check_options, check_token
from replicate_async._http.problem import connection_error, status_error, trim_traceback
from replicate_async._http.request import Request, full_body, full_url, hold_of, origin
from replicate_async._http.response import APIResponse, OpenResponse
from replicate_async._predictions import creates
from replicate_async._version import __version__
from replicate_async.errors import (
    APIError,
    RateLimitError,
    ReplicateError,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    import aiohttp
    import tenacity
    import yarl
    from multidict import CIMultiDict

    from replicate_async._http.options import QueryValue
    from replicate_async._http.ratelimit import ConcurrencyLimiter, RateLimit, TokenBucket
    from replicate_async._http.sessions import Connections, Pool

    Timeout = float | aiohttp.ClientTimeout | None

T = TypeVar("T")
U = TypeVar("U")
A = TypeVar("A", "APIResponse[Any]", "OpenResponse[Any]")

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
    rate_limit: RateLimit | None = None


class _PreparedRequest(msgspec.Struct, gc=False):
    """A request made ready to be sent, as often as it takes."""

    url: str
    headers: CIMultiDict[str]
    body: Any
    timeout: Any
    hold: float  # seconds for which the server may keep the answer back, by whichever header
    budget: TokenBucket | None  # None: not limited

    def payload(self) -> Any:
        """Return the body as aiohttp shall have it, for one sending."""
        body = self.body() if callable(self.body) else self.body
        return io.BytesIO(body) if isinstance(body, bytes) and len(body) > _LARGE_BODY else body


class Transport:
    """Sends requests with a client's settings."""

    def __init__(self, settings: Settings, pool: Pool) -> None:
        self.settings: Settings = settings
        self.pool: Pool = pool
        self._api_prefix = settings.base_url + "/"
        self._headers: dict[str | None, CIMultiDict[str]] = {}
        self._shared: AccountState | None = None

    def __reduce__(self) -> tuple[type[Transport], tuple[Settings, Pool]]:
        # By configuration, the token included: what was made of it is made again.
        return type(self), (self.settings, self.pool)

    @property
    def plain(self) -> Transport:
        """The transport whose calls return what answers decode to."""
        return self

    async def call(self, request: Request[T]) -> T:
        """Send a request and return what its answer decodes to; repeat it where that is safe.

        Raises:
            APIError: no answer came, or it was an error status, or can't be decoded.
        """
        try:
            return (await self._send(request)).parse()
        except APIError as error:
            raise trim_traceback(error) from error.__cause__

    async def send(self, request: Request[T]) -> APIResponse[T]:
        """Send a request and return its answer; repeat it where that is safe.

        Raises:
            APIError: no answer came, or it was an error status.
        """
        try:
            return await self._send(request)
        except APIError as error:
            raise trim_traceback(error) from error.__cause__

    async def _send(self, request: Request[T]) -> APIResponse[T]:
        attempt = self._prepare(request)
        once = self._create if request.creates else self._whole
        try:
            # The way that most calls go: nothing of the retry machinery is touched before something fails.
            return await once(request, attempt)
        except APIError as error:
            return await self._retry_request(request, error, lambda: once(request, attempt))

    async def _whole(self, request: Request[T], attempt: _PreparedRequest) -> APIResponse[T]:
        return await self._send_once(request, attempt, whole=True)

    async def _create(self, request: Request[T], attempt: _PreparedRequest) -> APIResponse[T]:
        """Make an attempt at a create; what it made is looked for when that isn't known, so that it is made once."""
        try:
            response = await self._make(request, attempt)
            self.shared.ledger.own(creates.id_of(response))
        except APIError as error:
            return await self._lost(request, error)
        return response

    async def _make(self, request: Request[T], attempt: _PreparedRequest) -> APIResponse[T]:
        """Send a create when there is a place for it, and none is looked for that it could be mistaken for."""
        ledger, key = self.shared.ledger, creates.key_of(request)
        connections = self.pool.here() or await self.pool.open()
        # Those that the server holds take long: they are no measure for how many more it can take.
        line = None if attempt.hold else connections.creates
        if line and not line.try_acquire():
            await line.enter()
        try:
            if ledger.lost:
                await ledger.wait_for_lookup(key)
            ledger.in_flight[id(request)] = key
            response = await self._send_once(request, attempt, whole=True)
            if line:
                line.learn(clock.current.monotonic() - request.sent_at)
        except RateLimitError:
            if line:
                line.refused()
            raise
        finally:
            ledger.in_flight.pop(id(request), None)
            if line:
                line.leave()
        return response

    async def _lost(self, request: Request[T], error: APIError) -> APIResponse[T]:
        """Return what a create has made that got no answer; raise its error again if that is nothing."""
        if retry.was_refused(error):
            request.sent = False
        if not request.sent:
            raise error
        found = await creates.find(self, request, error)
        if found is None:
            request.sent = False
            raise error
        return await creates.fetch(self, request, found, error)

    async def open(
        self, request: Request[T], use: Callable[[OpenResponse[T]], Awaitable[object]] | None = None
    ) -> OpenResponse[T]:
        """Send a request and return its answer as soon as its headers are there; with a use, when that was made of it.

        The use is a part of each attempt: where an answer breaks off, it begins anew with the next one.

        Raises:
            APIError: no answer came, or it was an error status.
        """
        attempt = self._prepare(request)

        async def once() -> OpenResponse[T]:
            opened = await self._send_once(request, attempt, whole=False)
            if use is not None:
                await use(opened)
            return opened

        try:
            return await once()
        except APIError as error:
            return await self._retry_request(request, error, once)

    async def _retry_request(self, request: Request[Any], first: APIError, once: Callable[[], Awaitable[A]]) -> A:
        """Make further attempts after the first has failed, where that is safe."""
        retries = request.options.get("max_retries", self.settings.max_retries)
        if retries == 0 or not retry.repeatable(request, first):
            raise first
        failure: BaseException = first

        import tenacity

        policy: tenacity.AsyncRetrying = self.settings.retry or retry.default_policy(clock.current.sleep)
        policy = policy.copy(reraise=True)  # callers get the API's error, never tenacity's
        refusals = int(isinstance(first, RateLimitError))
        if retries is not None:
            policy.stop = tenacity.stop_after_attempt(1 + retries)
        elif self.settings.retry is None:

            def enough(state: tenacity.RetryCallState) -> bool:
                return state.attempt_number > retry.DEFAULT_MAX_RETRIES + min(refusals, retry.FORGIVEN)

            policy.stop = enough
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
                    refusals += isinstance(error, RateLimitError)
                    # Whatever the policy would like: a call that may have been carried out is not made again.
                    if not retry.repeatable(request, error):
                        break
                    raise
                answer.retries_taken = number - 1
                return answer
        raise failure

    def _prepare(self, request: Request[Any]) -> _PreparedRequest:
        options = request.options
        if options:
            check_options(options)
        url = full_url(self.settings.base_url, request, self.settings.default_query)
        body, content_type = full_body(request)
        home = self.is_api_url(url)
        headers = self._api_headers(content_type) if home else _base_headers(content_type)
        extra = options.get("extra_headers")
        if request.headers or extra:
            headers = cast("CIMultiDict[str]", headers.copy())  # pyright: ignore[reportUnknownMemberType]
            headers.update(request.headers or {})
            headers.update(extra or {})
        asked = options.get("timeout", self.settings.timeout)
        prefer = headers.get("Prefer")
        hold = max(request.hold, hold_of(prefer)) if prefer else request.hold
        timeout = _client_timeout(asked, hold)
        budget = None
        if home and not request.skips_queue:
            budget = self.shared.limits.creates if request.creates else self.shared.limits.others
        return _PreparedRequest(url, headers, body, timeout, hold, budget)

    @property
    def options_key(self) -> tuple[object, ...]:
        """What tells this client's calls from those of copies with other options."""
        settings = self.settings
        headers, query = settings.default_headers, settings.default_query
        return (
            settings.base_url,
            settings.token,
            settings.timeout,
            settings.max_retries,
            settings.retry,
            tuple(headers.items()) if headers else (),
            tuple(query.items()) if query else (),
        )

    @property
    def token(self) -> Secret:
        """The token."""
        token = self.settings.token or Secret(os.environ.get(TOKEN_VARIABLE, "").strip())
        if not token:
            raise ReplicateError(f"no API token: set the environment variable {TOKEN_VARIABLE}, or pass bearer_token=")
        return check_token(token)

    @property
    def shared(self) -> AccountState:
        """What this client shares with others that have its token and base URL."""
        if self._shared is None:
            self._shared = shared(self.settings.base_url, self.token, self.settings.rate_limit)
        return self._shared

    def is_api_url(self, url: str) -> bool:
        """Return whether a URL belongs to the API: whether it may get the token."""
        return url.startswith(self._api_prefix) or origin(url) == origin(self._api_prefix)

    def _api_headers(self, content_type: str | None) -> CIMultiDict[str]:
        """Return what is told to the API with every call; made once, and copied by aiohttp."""
        if content_type not in self._headers:
            headers = _base_headers(None)
            headers["Accept"] = "application/json"
            headers["Authorization"] = Secret(f"Bearer {self.token}")
            headers.update(self.settings.default_headers or {})
            if content_type is not None:
                headers["Content-Type"] = content_type
            self._headers[content_type] = headers
        return self._headers[content_type]

    @overload
    async def _send_once(
        self, request: Request[T], attempt: _PreparedRequest, *, whole: Literal[True]
    ) -> APIResponse[T]: ...

    @overload
    async def _send_once(
        self, request: Request[T], attempt: _PreparedRequest, *, whole: Literal[False]
    ) -> OpenResponse[T]: ...

    async def _send_once(
        self, request: Request[T], attempt: _PreparedRequest, *, whole: bool
    ) -> APIResponse[T] | OpenResponse[T]:
        """Make one attempt when its turn has come; read its answer to the end, or only its headers unless it failed."""
        import aiohttp

        connections = self.pool.here() or await self.pool.open()
        budget = attempt.budget
        # An open stream keeps no place: whoever reads one must not keep others from their calls.
        line = None if request.skips_queue else connections.line
        if (budget and budget.paced) or (line and not line.try_acquire()):
            await _turn(connections, budget, line)
        # Time in those lines is not the request's: its timeout starts here.
        sent_at = request.sent_at = clock.current.monotonic()
        request.sent = True
        done = clock.current.busy()
        try:
            answer = await connections.session.request(
                request.method,
                _target(attempt.url),
                data=attempt.payload(),
                headers=attempt.headers,
                timeout=attempt.timeout,
                # A redirected GET loses the token at another origin (aiohttp); anything else isn't sent elsewhere.
                allow_redirects=request.method == "GET",
                proxy=self.pool.proxy(attempt.url),
                skip_auto_headers=_NO_TYPE if attempt.body is None else None,
                raise_for_status=False,
            )
            status = answer.status
            if status >= 300:
                request.sent = status >= 500
            content = await answer.read() if whole or status >= 300 else b""
        except (
            aiohttp.ClientError,
            OSError,
            asyncio.TimeoutError,
            UnicodeError,
            AttributeError,
            RuntimeError,
        ) as error:
            raise _failure(error, request, attempt.url, connections) from error
        finally:
            if line:
                line.leave()
            done()
        elapsed = clock.current.monotonic() - sent_at
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s: %d in %.3f s", request.method, request.shown, status, elapsed)
        if budget and status != 429:
            budget.accepted += 1  # to the limit, every answer is as good as another
        if status >= 300:
            problem = status_error(request.method, attempt.url, status, answer.headers, content)
            # Long pauses are told to whoever calls, instead of kept by everybody.
            if budget and status == 429 and (problem.retry_after or 0) <= retry.MAX_HINT:
                budget.refused(sent_at, sent_at + elapsed, problem.retry_after)
            raise problem
        if whole:
            return APIResponse(request, attempt.url, status, answer.headers, content, elapsed)
        return OpenResponse(request, attempt.url, answer, elapsed)


async def _turn(connections: Connections, budget: TokenBucket | None, line: ConcurrencyLimiter | None) -> None:
    """Wait for the leave to make a call, where there is a limit, and for a place in a line."""
    allowed = budget is None
    while True:
        if budget and budget.paced and not allowed:
            await connections.gate(budget).enter()
            allowed = True
        try:
            if line and not line.try_acquire():
                await line.enter()
        except asyncio.CancelledError:
            if budget and allowed:
                budget.refund()
            raise
        if allowed or not (budget and budget.paced):
            return
        if line:  # a limit has shown meanwhile: the place is for those who may call
            line.leave()


_ENCODED = re.compile(r"(?:[!#$&-;=?-Z\[\]_a-z~]|%[0-9A-Fa-f]{2})*")
_NO_TYPE = ("Content-Type",)  # of a body that isn't there


@lru_cache(maxsize=1024)
def _target(url: str) -> str | yarl.URL:
    """Return a URL as aiohttp takes it: what is encoded already goes as it is, or its signature may not be valid."""
    import yarl

    return yarl.URL(url, encoded=True) if _ENCODED.fullmatch(url) else url


def _base_headers(content_type: str | None) -> CIMultiDict[str]:
    """Return what may be told to other hosts than the API's."""
    from multidict import CIMultiDict

    headers = CIMultiDict({"User-Agent": f"replicate-async/{__version__}", "Accept": "*/*"})
    if content_type is not None:
        headers["Content-Type"] = content_type
    return headers


def _failure(error: Exception, request: Request[Any], url: str, connections: Connections) -> ReplicateError:
    """Say what happened to a request, and note whether it can have reached the server."""
    if isinstance(error, (AttributeError, RuntimeError)):  # what aiohttp says of a session that was closed meanwhile
        if not connections.session.closed:
            raise error
        return ReplicateError("this client, or its session, is closed")
    failure = connection_error(error, request.method, url)
    request.sent = request.sent and failure.sent
    return failure


@lru_cache(maxsize=256)  # most calls have the same few; uploads have one for each size
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
