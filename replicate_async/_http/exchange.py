"""One exchange over aiohttp: redirects, headers that suit the host, and bodies.

Bodies of errors are read up to 1 MiB, and compressed ones up to 128 MiB after decompression. Others have no limit.

Imported with the first session, because aiohttp takes long.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import quote, urljoin, urlsplit

import aiohttp
import yarl

from replicate_async._http.body import decompress
from replicate_async._http.call import Call, Outcome
from replicate_async._http.environment import Route
from replicate_async._http.payloads import watched_payload
from replicate_async._http.problem import connection_error, portable_headers
from replicate_async._http.request import base_headers, origin
from replicate_async._logging import redact_url
from replicate_async.errors import APIConnectionError, APIResponseValidationError, ReplicateError

if TYPE_CHECKING:
    from multidict import CIMultiDict

FindRoute: TypeAlias = Callable[[str], Route]

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MAX_REDIRECTS = 10
# What another origin may see of a call's headers. All others may be secrets, whatever their names.
_FORWARDED_HEADERS = ("Accept", "Accept-Encoding", "Cache-Control", "If-Range", "Last-Event-ID", "Range")
# For each header, with its name. aiohttp's own limit is 8 kB.
_MAX_HEADER_BYTES = 2**16 + 2**10
# A megabyte can decompress to a gigabyte.
_MAX_DECOMPRESSED_BYTES = 2**27
# The body of an error only explains the status.
_MAX_ERROR_BYTES = 2**20
_CONTENT_TYPE = ("Content-Type",)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# All characters that a URL may have, and "%": what is encoded already stays as it is.
_URL_CHARACTERS = "!#$%&'()*+,/:;=?@[]~"


async def exchange(
    session: aiohttp.ClientSession, find_route: FindRoute, call: Call[Any]
) -> tuple[aiohttp.ClientResponse, bytes]:
    """Send a call and return its response, and its body unless that is read on demand; that of an error is always read.

    A GET follows redirects, but never from https to http.

    Raises:
        APIConnectionError: there is no response. ``call.outcome`` says whether the request left.
        APIResponseValidationError: the decompressed body is too large.
        ReplicateError: the session is closed.
    """
    try:
        response = await _send(session, call, call.url, call.headers, call.route)
        if response.status in _REDIRECTS and call.request.method == "GET":
            response = await _follow_redirects(session, find_route, call, response)
        status = response.status
        if 300 <= status < 500:
            call.outcome = Outcome.REFUSED
        return response, b"" if call.on_demand and status < 300 else await _read_bounded(call, response)
    except (
        *(aiohttp.ClientError, OSError, asyncio.TimeoutError, UnicodeError),
        # aiohttp's errors for a session that was closed in the meantime.
        *(AttributeError, RuntimeError),
    ) as error:
        if isinstance(error, (AttributeError, RuntimeError)):
            if session.closed:
                raise ReplicateError("this client, or its session, is closed") from error
            raise
        raise _connection_failure(error, call) from error


def _connection_failure(error: Exception, call: Call[Any]) -> APIConnectionError:
    """Return the error for a failed connection, and note if the request did not leave."""
    # Not in the frame that raises it: a cycle would keep the call, and the files in it.
    sent = call.outcome is not Outcome.NOT_SENT if isinstance(call.body, bytes) else None
    failure = connection_error(error, call.request.method, call.url, sent=sent)
    if not failure.sent:
        call.outcome = Outcome.NOT_SENT
    return failure


def _send(
    session: aiohttp.ClientSession, call: Call[Any], url: str, headers: CIMultiDict[str], route: Route
) -> Awaitable[aiohttp.ClientResponse]:
    """Send a call to a URL; the response is unread."""
    proxy = route.proxy
    proxy_headers = {"Proxy-Authorization": proxy.authorization} if proxy and proxy.authorization else None
    if proxy_headers and origin(url)[0] == "http":
        # There is no tunnel: the proxy reads the request itself.
        headers = cast("CIMultiDict[str]", headers.copy())  # pyright: ignore[reportUnknownMemberType]
        headers.update(proxy_headers)
    return session.request(
        call.request.method,
        encoded_url(url),
        data=_payload(call),
        headers=headers,
        timeout=call.timeout,
        allow_redirects=False,
        proxy=proxy.url if proxy else None,
        proxy_headers=proxy_headers,
        ssl=route.tls,
        skip_auto_headers=_CONTENT_TYPE if call.body is None else None,
        raise_for_status=False,
        auto_decompress=not call.on_demand,
        max_line_size=_MAX_HEADER_BYTES,
        max_field_size=_MAX_HEADER_BYTES,
    )


def _payload(call: Call[Any]) -> Any:
    """Return a body as aiohttp takes it for the next attempt, which has sent nothing yet."""
    if isinstance(call.body, bytes):
        call.outcome = Outcome.NOT_SENT
        return watched_payload(call.body, call.note_sent)
    # Such a call is never billed, so that it need not be known when it left.
    call.note_sent()
    return call.body() if callable(call.body) else call.body


async def _follow_redirects(
    session: aiohttp.ClientSession, find_route: FindRoute, call: Call[Any], response: aiohttp.ClientResponse
) -> aiohttp.ClientResponse:
    """Return the response that redirects lead to, unread; this one if it names no other place."""
    url, headers = call.url, call.headers
    stranger: aiohttp.ClientSession | None = None
    try:
        for number in count():
            location = response.headers.get("Location")
            if response.status not in _REDIRECTS or not location:
                return response
            response.release()
            if number == _MAX_REDIRECTS:
                break
            target = _redirect_target(url, location)
            if origin(target) != origin(url):
                forwarded = {name: headers[name] for name in _FORWARDED_HEADERS if name in headers}
                headers = base_headers()
                headers.update(forwarded)
                stranger = stranger or _session_for_strangers(session)
            url = target
            response = await _send(stranger or session, call, url, headers, find_route(url))
        raise aiohttp.RedirectClientError(f"more than {_MAX_REDIRECTS} redirects")
    finally:
        if stranger is not None:
            # The connections stay open.
            stranger.detach()


def _session_for_strangers(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """Return a session that shares the connections of another, but not its default headers and cookies."""
    return aiohttp.ClientSession(
        connector=session.connector, connector_owner=False, cookie_jar=aiohttp.DummyCookieJar()
    )


def _redirect_target(url: str, location: str) -> str:
    """Return the URL that a response redirects to, to the letter.

    Raises:
        RedirectClientError: it is not followed.
    """
    try:
        target = location if _SCHEME.match(location) else urljoin(url, location)
        secure_enough = origin(target)[0] == "https" or origin(url)[0] == "http"
        if secure_enough and "@" not in urlsplit(target).netloc:
            return target
    except ValueError:
        pass
    raise aiohttp.RedirectClientError(f"redirected to {redact_url(location)!r}, which is not followed")


@lru_cache(maxsize=1024)
def encoded_url(url: str) -> yarl.URL:
    """Return a URL as aiohttp takes it. What is encoded stays as it is, or a signature might become invalid."""
    if not urlsplit(url).netloc.isascii():
        # Hosts are encoded in a way of their own.
        return yarl.URL(url)
    # aiohttp decodes bytes of a Location that are not UTF-8 to surrogates.
    return yarl.URL(quote(url, safe=_URL_CHARACTERS, errors="surrogateescape"), encoded=True)


async def _read_bounded(call: Call[Any], response: aiohttp.ClientResponse) -> bytes:
    """Return the body of a response; of an error, what can be read of it.

    Raises:
        APIResponseValidationError: the decompressed body is too large.
    """
    if response.status >= 300:
        body = await _read_error(response)
        return decompress(body, response.headers, _MAX_ERROR_BYTES) if call.on_demand else body
    if "Content-Encoding" not in response.headers:
        return await response.read()
    chunks: list[bytes] = []
    size = 0
    try:
        while size <= _MAX_DECOMPRESSED_BYTES and (chunk := await response.content.readany()):
            chunks.append(chunk)
            size += len(chunk)
    finally:
        # This keeps the connection if the whole body was read.
        response.release()
    if size > _MAX_DECOMPRESSED_BYTES:
        raise APIResponseValidationError(
            f"the response is too large: more than {_MAX_DECOMPRESSED_BYTES:,} bytes after decompression",
            method=call.request.method,
            url=call.url,
            status_code=response.status,
            headers=portable_headers(response.headers),
        )
    return b"".join(chunks)


async def _read_error(response: aiohttp.ClientResponse) -> bytes:
    """Return the body of an error. The status is known, so a broken or long body is as good as a whole one."""
    body = bytearray()
    try:
        while len(body) < _MAX_ERROR_BYTES and (chunk := await response.content.read(2**16)):
            body += chunk
    except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
        pass
    finally:
        response.release()
    return bytes(body)
