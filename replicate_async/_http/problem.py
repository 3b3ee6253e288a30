"""What an error status or a failed connection becomes: the errors of this package."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar, cast

import msgspec

from replicate_async import errors
from replicate_async.errors import APIConnectionError, APITimeoutError

ErrorT = TypeVar("ErrorT", bound=BaseException)


def trim_traceback(error: ErrorT) -> ErrorT:
    """Return an error whose traceback starts at the last line of this package, or at the code of others it called."""
    start = entry = error.__traceback__
    while entry is not None:
        if entry.tb_frame.f_globals.get("__name__", "").startswith("replicate_async."):
            start = entry.tb_next or entry
        entry = entry.tb_next
    return error.with_traceback(start)


def connection_error(error: Exception, method: str, url: str) -> APIConnectionError:
    """Say what happened to a request, and whether it can have reached the server."""
    import aiohttp

    # UnicodeError is what the resolver says of a host that can't be.
    unsent = isinstance(
        error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL, UnicodeError)
    )
    # Older versions of aiohttp tell of a body that can't be read only in the cause.
    reasons = dict.fromkeys(str(one) or type(one).__name__ for one in (error, error.__cause__) if one is not None)
    reason = ", ".join(reasons)
    if isinstance(error, asyncio.TimeoutError):
        return APITimeoutError(f"no answer in time: {reason}", method=method, url=url, sent=not unsent)
    what = "no connection" if unsent else "the connection broke"
    return APIConnectionError(f"{what}: {reason}", method=method, url=url, sent=not unsent)


_SNIPPET = 200


def snippet(body: bytes) -> str:
    """Return the beginning of a body, for an error message."""
    text = body[: _SNIPPET * 2].decode("utf-8", "replace").strip()
    return repr(text[:_SNIPPET] + ("..." if len(text) > _SNIPPET or len(body) > _SNIPPET * 2 else ""))


_STATUS_ERRORS: dict[int, type[errors.APIStatusError]] = {
    400: errors.BadRequestError,
    401: errors.AuthenticationError,
    403: errors.PermissionDeniedError,
    404: errors.NotFoundError,
    409: errors.ConflictError,
    422: errors.UnprocessableEntityError,
    429: errors.RateLimitError,
}


def status_error(
    method: str, url: str, status: int, headers: Mapping[str, str], body: bytes, now: datetime | None = None
) -> errors.APIStatusError:
    """Make the error that an answer of 300 or more stands for."""
    try:
        problem = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    fields = cast("dict[str, Any]", problem)
    title, detail = (_problem_text(fields.get(name)) for name in ("title", "detail"))
    reason = ": ".join(text for text in (title, detail) if text) or (snippet(body) if body.strip() else "no details")
    if 300 <= status < 400:
        reason = f"redirected to {headers.get('Location', 'nowhere')!r}, which is not followed"
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
        retry_after=_retry_after(headers, fields, detail, now),
    )


def portable_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return headers that can be pickled with their error, and don't mind the case of names."""
    from multidict import CIMultiDict

    return CIMultiDict(headers)


def _problem_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


_RESETS = re.compile(r"resets in ~?(\d+(?:\.\d+)?)\s*(ms|s|m)?\b")


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0}


def _retry_after(
    headers: Mapping[str, str], problem: Mapping[str, Any], detail: str | None, now: datetime | None
) -> float | None:
    """Return the longest wait in seconds that the answer asks for, in whichever of its places."""
    waits: list[float] = []
    if header := headers.get("Retry-After"):
        try:
            waits.append(float(header))
        except ValueError:
            try:
                then = parsedate_to_datetime(header)
                # The server's own clock, where it says it, is the one that its date is meant for.
                asked = headers.get("Date")
                start = parsedate_to_datetime(asked) if asked else (now or datetime.now(timezone.utc))
                waits.append((then - start).total_seconds())
            except (TypeError, ValueError):
                pass  # an unreadable hint is no hint
    body = problem.get("retry_after")
    if isinstance(body, (int, float)) and -1e9 < body < 1e9:
        waits.append(float(body))
    if match := _RESETS.search(detail or ""):
        waits.append(float(match[1]) * _UNITS[match[2] or "s"])
    waits = [wait for wait in waits if math.isfinite(wait)]
    return max(0.0, *waits) if waits else None
