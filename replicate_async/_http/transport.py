"""Sends requests through aiohttp: authentication, timeouts, retries, and the queue for connections.

Each layer's name says what it adds::

    call or send -> _send_with_retries -> guard (creates only) -> send_once
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from replicate_async._http import clock
from replicate_async._http.account import AccountState, account_state
from replicate_async._http.body import Body
from replicate_async._http.call import Call, Outcome
from replicate_async._http.concurrency import ConcurrencyLimiter, RateLimited
from replicate_async._http.options import Secret, Settings, check_options, drop_unset_options
from replicate_async._http.problem import status_error, trim_traceback
from replicate_async._http.ratelimit import TokenBucket
from replicate_async._http.reports import AttemptReport
from replicate_async._http.request import (
    Request,
    base_headers,
    encode_body,
    full_url,
    is_valid_url,
    origin,
    prefer_wait_seconds,
)
from replicate_async._http.response import APIResponse, AsyncStreamedResponse, ReadBody
from replicate_async._http.retry import MAX_RETRY_AFTER, retry, was_refused
from replicate_async._http.sessions import LoopSession, SessionPool
from replicate_async._logging import logger, redact_url
from replicate_async.errors import APIConnectionError, APIError, APIStatusError, APITimeoutError
from replicate_async.hooks import Hooks

if TYPE_CHECKING:
    import aiohttp
    from multidict import CIMultiDict

T = TypeVar("T")

_CONNECT_TIMEOUT = 10.0
# In seconds: how long a held response may travel after the API has released it.
_HOLD_MARGIN = 15.0


class Guard(Protocol):
    """Sends creates, so that none is billed twice."""

    async def __call__(self, transport: Transport, call: Call[T], /) -> APIResponse[T]:
        """Make one attempt, and find out what became of it if its response is lost."""
        ...


class Transport:
    """Sends requests with a client's settings. The guard makes the attempts of billable requests."""

    def __init__(self, settings: Settings, pool: SessionPool, guard: Guard | None = None) -> None:
        self.settings: Settings = settings
        self.pool: SessionPool = pool
        self.hooks: Hooks = settings.hooks
        self.guard: Guard | None = guard
        self._api_prefix = settings.base_url + "/"
        self._headers: dict[str | None, CIMultiDict[str]] = {}
        self._account: AccountState | None = None

    def __reduce__(self) -> tuple[type[Transport], tuple[Settings, SessionPool, Guard | None]]:
        # Pickled by configuration, which includes the token.
        return type(self), (self.settings, self.pool, self.guard)

    @property
    def decoding(self) -> Transport:
        """The transport whose ``call`` returns the decoded result."""
        return self

    @property
    def account(self) -> AccountState:
        """The state shared with all clients that have the same token and base URL."""
        if self._account is None:
            settings = self.settings
            self._account = account_state(settings.base_url, settings.find_token(), settings.rate_limit)
        return self._account

    @property
    def account_key(self) -> tuple[str, str | None]:
        """A key that is equal for clients of the same account."""
        return self.settings.base_url, self.settings.token

    @property
    def options_key(self) -> tuple[object, ...]:
        """A key that is equal for clients whose calls are interchangeable."""
        settings = self.settings
        headers, query = settings.default_headers, settings.default_query
        return (
            *(settings.base_url, settings.token, settings.timeout, settings.max_retries, settings.retry, self.hooks),
            tuple(headers.items()) if headers else (),
            tuple(query.items()) if query else (),
        )

    def is_api_url(self, url: str) -> bool:
        """Return whether a URL belongs to the API, so that it may receive the token."""
        try:
            # A URL with credentials of its own gets no others.
            return url.startswith(self._api_prefix) or (
                origin(url) == origin(self._api_prefix) and "@" not in urlsplit(url).netloc
            )
        except ValueError:
            return False

    async def call(self, request: Request[T] | Call[T]) -> T:
        """Send a request, or a prepared call, with retries and return its decoded result.

        Raises:
            APIError: there is no response, or it has an error status, or can't be decoded.
        """
        try:
            call = request if isinstance(request, Call) else self.prepare(request)
            result = (await self._send_with_retries(call)).parse()
        except APIError as error:
            raise trim_traceback(error) from error.__cause__
        if self.hooks.follows:
            self._observe(call, result)
        return result

    async def send(self, request: Request[T] | Call[T]) -> APIResponse[T]:
        """Send a request, or a prepared call, with retries and return its response.

        Raises:
            APIError: there is no response, or it has an error status.
        """
        try:
            call = request if isinstance(request, Call) else self.prepare(request)
            response = await self._send_with_retries(call)
        except APIError as error:
            raise trim_traceback(error) from error.__cause__
        if call.request.billable and self.hooks.follows:
            with suppress(APIError):
                self._observe(call, response.parse())
        return response

    def _observe(self, call: Call[Any], result: object) -> None:
        created_at = call.sent_at if call.request.billable else None
        self.hooks.observe(result, clock.current.monotonic(), created_at=created_at)

    async def open(self, request: Request[T]) -> AsyncStreamedResponse[T]:
        """Send a request with retries and return its response with the body unread.

        Raises:
            APIError: there is no response, or it has an error status.
        """
        if request.billable:
            # Read at once, by the guard: a response that breaks off later would be lost.
            response = await self.send(request)
            body: Body | ReadBody = ReadBody(response)
            return AsyncStreamedResponse(request, body, response.elapsed.total_seconds(), response.retries_taken)
        return AsyncStreamedResponse(request, *await self.open_body(request))

    async def open_body(self, request: Request[Any]) -> tuple[Body, float, int]:
        """Send a request with retries and return the unread body, the elapsed seconds, and the number of retries.

        Raises:
            APIError: there is no response, or it has an error status.
        """
        call = self.prepare(request, on_demand=True)

        async def attempt() -> tuple[Body, float]:
            response, _, elapsed = await self._exchange(call)
            return Body(call, response, self.settings, self._reopen), elapsed

        try:
            return (*await attempt(), 0)
        except APIError as error:
            opened, retries = await retry(call, error, attempt, self.settings)
            return (*opened, retries)

    async def _reopen(self, call: Call[Any]) -> aiohttp.ClientResponse:
        return (await self._exchange(call))[0]

    def prepare(self, request: Request[T], *, on_demand: bool = False) -> Call[T]:
        """Make a request ready to be sent; all that is wrong with it raises here.

        ``on_demand`` leaves the body to its reader: unread and not decompressed, with a timeout between its bytes.
        """
        options, settings = request.options, self.settings
        if options:
            check_options(options)
            options = drop_unset_options(options)
            request = msgspec.structs.replace(request, options=options)
        url = full_url(settings.base_url, request, settings.default_query)
        if not is_valid_url(url):
            # It may come from a response, so this is not a ValueError.
            raise APIConnectionError("the URL is malformed", method=request.method, url=redact_url(url), sent=False)
        body, content_type = encode_body(request)
        is_api = not request.anonymous and self.is_api_url(url)
        headers = self._api_headers(content_type) if is_api else base_headers(content_type)
        extra = options.get("extra_headers")
        if request.headers or extra or on_demand:
            headers = cast("CIMultiDict[str]", headers.copy())  # pyright: ignore[reportUnknownMemberType]
            if on_demand:
                # A range of a compressed body is of no use without the bytes before.
                headers["Accept-Encoding"] = "identity"
            headers.update(request.headers or {})
            headers.update(extra or {})
        prefer_wait = prefer_wait_seconds(headers.get("Prefer"))
        min_seconds = max(prefer_wait, request.min_timeout)
        timeout = _client_timeout(options.get("timeout", settings.timeout), min_seconds, on_demand)
        bucket = None
        if is_api and not request.skips_queue:
            limits = self.account.limits
            is_poll = request.method == "GET" and _ONE_JOB.fullmatch(request.path.removeprefix(settings.base_url))
            bucket = limits.creates if request.billable else limits.polls if is_poll else limits.others
        return Call(request, url, headers, body, timeout, prefer_wait, bucket, self.pool.route(url), on_demand)

    async def _send_with_retries(self, call: Call[T]) -> APIResponse[T]:
        attempt = self.guard if call.request.billable and self.guard else Transport.send_once
        try:
            # The path of most calls, which does not touch the retry machinery.
            return await attempt(self, call)
        except APIError as error:
            response, retries = await retry(call, error, lambda: attempt(self, call), self.settings)
        response.retries_taken = retries
        return response

    async def send_once(self, call: Call[T]) -> APIResponse[T]:
        """Make one attempt and read its response to the end."""
        response, body, elapsed = await self._exchange(call)
        return APIResponse(call.request, call.url, response.status, response.headers, body, elapsed)

    async def _exchange(self, call: Call[Any]) -> tuple[aiohttp.ClientResponse, bytes, float]:
        """Make one attempt when the limits allow it, and note its outcome; the body of an error is always read."""
        request, bucket, session = call.request, call.bucket, self.pool.current()
        # A response that is read on demand keeps no slot, or readers could block all other calls.
        limiter = session.urgent_limiter if request.skips_queue else session.limiter
        sent_at = queued_at = clock.current.monotonic()
        is_open = not bucket or not (bucket.pace or bucket.reserve(sent_at, id(call)))
        if not is_open or not limiter.try_acquire():
            await _wait_in_queue(session, call, limiter, is_open=is_open)
            sent_at = clock.current.monotonic()
        # The time in the queue does not count against the timeout, which starts here.
        call.sent_at = sent_at
        if bucket and call.prefer_wait:
            # It may be held for long, and its response says nothing about how many more may be sent.
            bucket.in_flight.pop(id(call), None)
        report: AttemptReport | None = None
        done = clock.current.busy()
        try:
            # A hook may end the program, or a test.
            report = AttemptReport(self.hooks, call, sent_at - queued_at) if self.hooks.functions else None
            # A client that closes still cancels predictions, but begins nothing new.
            self.pool.check_open(closing=request.skips_queue)
            response, body = await session.exchange(session.session, self.pool.route, call)
        except BaseException as error:
            if report:
                report.failed(error)
            raise
        finally:
            limiter.release()
            if bucket:
                bucket.in_flight.pop(id(call), None)
            done()
        call.received_at = received_at = clock.current.monotonic()
        elapsed, status = received_at - sent_at, response.status
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s %s: %d in %.3f s", request.method, request.log_path, status, elapsed)
        if status >= 300:
            raise _response_error(call, status, response.headers, body, report)
        if report:
            report.responded(status)
        call.outcome = Outcome.RESPONDED
        if bucket:
            _note_accepted(bucket, call, response.headers)
        return response, body, elapsed

    def _api_headers(self, content_type: str | None) -> CIMultiDict[str]:
        """Return the headers of calls to the API, built once; aiohttp copies them."""
        if content_type not in self._headers:
            headers = base_headers()
            headers["Accept"] = "application/json"
            headers["Authorization"] = Secret(f"Bearer {self.settings.find_token()}")
            headers.update(self.settings.default_headers or {})
            if content_type is not None:
                headers["Content-Type"] = content_type
            self._headers[content_type] = headers
        return self._headers[content_type]


def _response_error(
    call: Call[Any], status: int, headers: Mapping[str, str], body: bytes, report: AttemptReport | None
) -> APIStatusError:
    """Return the error for an error status, and note what it says about the call and its rate limit."""
    problem = status_error(call.request.method, call.url, status, headers, body)
    if report:
        report.responded(status, problem)
    if was_refused(problem):
        call.outcome = Outcome.REFUSED
    if call.bucket and status != 429:
        _note_accepted(call.bucket, call, headers)
    # Longer waits are raised to the caller instead of blocking everyone.
    elif (
        call.bucket
        and (problem.retry_after or 0) <= MAX_RETRY_AFTER
        and call.bucket.on_throttled(call.sent_at, call.received_at, problem.retry_after)
    ):
        pace = call.bucket.per_minute
        logger.info("rate limit: %s %s continues at %.0f per minute", call.request.method, call.request.log_path, pace)
    return problem


def _note_accepted(bucket: TokenBucket, call: Call[Any], headers: Mapping[str, str]) -> None:
    """Note what a response says about the rate limit. That of a held response is outdated."""
    remaining = None if call.prefer_wait else headers.get("ratelimit-remaining")
    bucket.on_accepted(call.sent_at, call.received_at, _whole_number(remaining))


def _whole_number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() and len(text) < 10 else None


async def _wait_in_queue(session: LoopSession, call: Call[Any], limiter: ConcurrencyLimiter, *, is_open: bool) -> None:
    """Wait for a token, unless the rate limit is open, and then for a slot."""
    bucket, key = call.bucket, id(call)
    # Creates wait as long as necessary. All others are no use to a caller who has given up.
    max_delay = None if call.request.billable else call.timeout.total
    while True:
        if bucket and not is_open:
            try:
                await session.rate_limiter(bucket).acquire(key, max_delay)
            except RateLimited as error:
                raise APITimeoutError(str(error), method=call.request.method, url=call.url, sent=False) from None
        if limiter.try_acquire():
            return
        try:
            await limiter.acquire()
        except asyncio.CancelledError:
            if bucket:
                bucket.refund(key)
            raise
        # The limit may have been met while this call waited: the slot is for calls that may be made now.
        is_open = not bucket or bucket.is_open(clock.current.monotonic(), key)
        if is_open:
            return
        limiter.release()
        if bucket:
            bucket.refund(key)


# The path of one prediction or training.
_ONE_JOB = re.compile(r"/?(?:predictions|trainings)/[^/?]+")


@lru_cache(maxsize=256)
def _client_timeout(
    timeout: float | aiohttp.ClientTimeout | None, min_seconds: float, on_demand: bool
) -> aiohttp.ClientTimeout:
    """Return a timeout as aiohttp takes it, which leaves the API the time that the call needs."""
    import aiohttp

    if not isinstance(timeout, aiohttp.ClientTimeout):
        connect = None if timeout is None else min(timeout, _CONNECT_TIMEOUT)
        if on_demand:
            # However long the body is, it may take its time as long as bytes arrive.
            timeout = aiohttp.ClientTimeout(total=None, connect=timeout, sock_connect=connect, sock_read=timeout)
        else:
            timeout = aiohttp.ClientTimeout(total=timeout, sock_connect=connect)
    if min_seconds:
        min_seconds += _HOLD_MARGIN
    return aiohttp.ClientTimeout(
        total=max(timeout.total, min_seconds) if timeout.total else None,
        connect=timeout.connect,
        sock_read=max(timeout.sock_read, min_seconds) if timeout.sock_read else None,
        sock_connect=timeout.sock_connect,
        ceil_threshold=timeout.ceil_threshold,
    )
