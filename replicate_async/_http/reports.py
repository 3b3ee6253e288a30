"""Reports requests to the hooks of a client."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

from replicate_async._http import clock
from replicate_async._http.call import Call
from replicate_async._http.request import redact_url
from replicate_async.errors import APIStatusError
from replicate_async.hooks import Hooks, RequestFailed, RequestRetried, RequestSent, RequestThrottled, ResponseReceived

T = TypeVar("T")


async def report_attempt(hooks: Hooks, call: Call[Any], queued: float, attempt: Awaitable[T]) -> T:
    """Make an attempt and report how it ends."""
    call.attempts += 1
    url = redact_url(call.request.path)
    sent = RequestSent(method=call.request.method, url=url, attempt=call.attempts, queued=queued)
    hooks.emit(sent)
    status = 200
    try:
        return await attempt
    except APIStatusError as error:
        status = error.status_code
        if status == 429:
            hooks.emit(RequestThrottled(request=sent, retry_after=error.retry_after))
        raise
    except BaseException as error:
        status = 0
        failure = error if isinstance(error, Exception) else None
        hooks.emit(RequestFailed(request=sent, error=failure, seconds=_seconds(call)))
        raise
    finally:
        if status:
            hooks.emit(ResponseReceived(request=sent, status_code=status, seconds=_seconds(call)))


def _seconds(call: Call[Any]) -> float:
    return clock.current.monotonic() - call.sent_at


def report_retry(hooks: Hooks, call: Call[Any], number: int, waited: float, error: BaseException) -> None:
    """Report that a call is repeated."""
    url = redact_url(call.request.path)
    hooks.emit(
        RequestRetried(method=call.request.method, url=url, retry_number=number, waited_so_far=waited, error=error)
    )
