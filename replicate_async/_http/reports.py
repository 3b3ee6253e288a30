"""Reports requests to the hooks of a client."""

from __future__ import annotations

from typing import Any

from replicate_async._http import clock
from replicate_async._http.call import Call
from replicate_async.errors import APIStatusError
from replicate_async.hooks import Hooks, RequestFailed, RequestRetried, RequestSent, RequestThrottled, ResponseReceived


class AttemptReport:
    """Reports an attempt: that it is sent, and how it ends."""

    def __init__(self, hooks: Hooks, call: Call[Any], queued: float) -> None:
        call.attempts += 1
        self._hooks = hooks
        self._call = call
        request = call.request
        self._sent = RequestSent(method=request.method, url=request.log_path, attempt=call.attempts, queued=queued)
        hooks.emit(self._sent)

    def failed(self, error: BaseException) -> None:
        """Report that no response arrived."""
        failure = error if isinstance(error, Exception) else None
        self._hooks.emit(RequestFailed(request=self._sent, error=failure, seconds=self._seconds()))

    def responded(self, status: int, error: APIStatusError | None = None) -> None:
        """Report that a response arrived."""
        if error is not None and status == 429:
            self._hooks.emit(RequestThrottled(request=self._sent, retry_after=error.retry_after))
        self._hooks.emit(ResponseReceived(request=self._sent, status_code=status, seconds=self._seconds()))

    def _seconds(self) -> float:
        return clock.current.monotonic() - self._call.sent_at


def report_retry(hooks: Hooks, call: Call[Any], number: int, waited: float, error: BaseException) -> None:
    """Report that a call is repeated."""
    method, url = call.request.method, call.request.log_path
    hooks.emit(RequestRetried(method=method, url=url, retry_number=number, waited_so_far=waited, error=error))
