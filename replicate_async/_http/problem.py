"""Errors of a call: what a failed connection or an error status becomes."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import msgspec

from replicate_async import errors
from replicate_async._json import is_dict, is_list
from replicate_async._logging import redact_url

ErrorT = TypeVar("ErrorT", bound=BaseException)

# The number of characters of a body that an error message shows.
_SNIPPET_LENGTH = 200
# The number of characters of a problem that an error message shows.
_MAX_REASON_LENGTH = 2000


def trim_traceback(error: ErrorT) -> ErrorT:
    """Return an error whose traceback starts at the last line of this package, or at the code of others it called."""
    start = entry = error.__traceback__
    while entry is not None:
        if entry.tb_frame.f_globals.get("__name__", "").startswith("replicate_async."):
            start = entry.tb_next or entry
        entry = entry.tb_next
    return error.with_traceback(start)


def connection_error(error: Exception, method: str, url: str, *, sent: bool | None = None) -> errors.APIConnectionError:
    """Return the error for a failed connection.

    Args:
        error: aiohttp's error.
        method: The request's method.
        url: The request's URL.
        sent: Whether the request may have reached the API. None: as far as the error shows.
    """
    import aiohttp

    if sent is None:
        # The resolver raises UnicodeError for an invalid host.
        sent = not isinstance(
            error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL, UnicodeError)
        )
    # Older versions of aiohttp name the reason for an unreadable body only in the cause. An error without a connection
    # has the text of its cause.
    cause = None if isinstance(error, aiohttp.ClientConnectorError) else error.__cause__
    chain = [link for link in (error, cause) if link is not None]
    reason = ", ".join(dict.fromkeys(str(link) or type(link).__name__ for link in chain))
    if isinstance(error, asyncio.TimeoutError):
        missing = "response" if sent else "connection"
        return errors.APITimeoutError(f"no {missing} in time: {reason}", method=method, url=url, sent=sent)
    summary = "the connection broke" if sent else "no connection"
    if isinstance(error, aiohttp.RedirectClientError):
        summary = "no response"
    return errors.APIConnectionError(f"{summary}: {reason}", method=method, url=url, sent=sent)


def snippet(body: bytes) -> str:
    """Return the beginning of a body, for an error message."""
    text = body[: _SNIPPET_LENGTH * 2].decode("utf-8", "replace").strip()
    cut = len(text) > _SNIPPET_LENGTH or len(body) > _SNIPPET_LENGTH * 2
    return repr(text[:_SNIPPET_LENGTH] + ("..." if cut else ""))


def portable_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return case-insensitive headers that can be pickled."""
    from multidict import CIMultiDict

    return CIMultiDict(headers)


_STATUS_ERRORS: dict[int, type[errors.APIStatusError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    402: errors.PaymentRequiredError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    422: errors.UnprocessableEntityError,
    429: errors.RateLimitError,
}


def status_error(method: str, url: str, status: int, headers: Mapping[str, str], body: bytes) -> errors.APIStatusError:
    """Return the error for a response with a status of 300 or more.

    Source: https://replicate.com/docs/reference/http#errors (RFC 9457 problem documents)
    """
    try:
        problem = msgspec.json.decode(body)
        members: dict[str, Any] = problem if is_dict(problem) else {}
        title, detail = (_problem_text(members.get(name)) for name in ("title", "detail"))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        members, title, detail = {}, None, None
    invalid_fields = members.get("invalid_fields")
    reason = ": ".join(filter(None, (title, detail)))[:_MAX_REASON_LENGTH] or (
        snippet(body) if body.strip() else "no details"
    )
    if 300 <= status < 400:
        reason = f"redirected to {redact_url(headers.get('Location', 'nowhere'))!r}, which is not followed"
    default = errors.InternalServerError if status >= 500 else errors.APIStatusError
    return _STATUS_ERRORS.get(status, default)(
        f"{status} {reason}",
        method=method,
        url=url,
        status_code=status,
        headers=portable_headers(headers),
        body=body,
        title=title,
        detail=detail,
        invalid_fields=[field for field in invalid_fields if is_dict(field)] if is_list(invalid_fields) else [],
        retry_after=_retry_after(headers, members.get("retry_after"), detail),
    )


def _problem_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else msgspec.json.encode(value).decode()


def parse_date(text: str | None) -> datetime | None:
    """Return the time that a header says, in UTC; None if it is no time, or so far away that it is wrong."""
    try:
        time = parsedate_to_datetime(text or "")
        time = time if time.tzinfo else time.replace(tzinfo=timezone.utc)
        return time.astimezone(timezone.utc) if 1970 < time.year < 9999 else None
    except (TypeError, ValueError, OverflowError):
        return None


_RESETS = re.compile(r"resets in ~?(\d+(?:\.\d+)?)\s*(ms|s|m)?\b")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def _retry_after(headers: Mapping[str, str], member: object, detail: str | None) -> float | None:
    """Return the longest wait in seconds that a response asks for: in its header, its body or its text."""
    waits: list[float] = []
    if header := headers.get("Retry-After"):
        try:
            waits.append(float(header))
        except ValueError:
            # The date is meant for the server's own clock.
            start = parse_date(headers["Date"]) if "Date" in headers else datetime.now(timezone.utc)
            if (until := parse_date(header)) and start:
                waits.append((until - start).total_seconds())
    if isinstance(member, (int, float)) and -1e9 < member < 1e9:
        waits.append(float(member))
    if match := _RESETS.search(detail or ""):
        waits.append(float(match[1]) * _UNITS[match[2] or "s"])
    waits = [wait for wait in waits if math.isfinite(wait)]
    return max(0.0, *waits) if waits else None
