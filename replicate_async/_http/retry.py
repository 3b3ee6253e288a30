"""When a failed call is made again: what is safe to repeat, and how long to wait before."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from replicate_async.errors import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    CreateOutcomeUnknown,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import tenacity

    from replicate_async._http.request import Request

DEFAULT_MAX_RETRIES = 2
FORGIVEN = 3  # refusals that don't count as retries, unless somebody says how many there may be
MAX_HINT = 300.0  # a server that asks for a longer pause is better told about than waited for
_INITIAL, _MAX = 0.5, 8.0


def repeatable(request: Request[Any], error: BaseException) -> bool:
    """Whether making the call again can neither bill anyone twice nor change anything twice."""
    if isinstance(error, APIStatusError):
        if (error.retry_after or 0) > MAX_HINT:
            return False
        if was_refused(error):
            return True
        if error.status_code in {408, 409}:
            return request.safe
        return error.status_code >= 500 and (request.safe or _was_looked_for(request))
    if isinstance(error, APIConnectionError):
        return not isinstance(error, CreateOutcomeUnknown) and (
            request.safe or not error.sent or _was_looked_for(request)
        )
    return isinstance(error, APIResponseValidationError) and _was_looked_for(request)


def was_refused(error: BaseException) -> bool:
    """Whether the server turned a call away: nothing has happened."""
    return isinstance(error, APIStatusError) and (
        error.status_code == 429 or (error.status_code == 503 and error.retry_after is not None)
    )


def _was_looked_for(request: Request[Any]) -> bool:
    """Whether a create may have been carried out, and turned out not to have been."""
    return request.creates and not request.sent


def wait(state: tenacity.RetryCallState) -> float:
    """Return the pause in seconds: what the server asked for, else a growing one; never the same for everyone."""
    error = state.outcome.exception() if state.outcome else None
    asked = error.retry_after if isinstance(error, APIStatusError) else None
    if asked is not None:
        return asked + random.uniform(0, min(0.25, 0.1 * asked))
    return min(_MAX, _INITIAL * 2.0 ** (state.attempt_number - 1)) * random.uniform(0.5, 1.0)


def default_policy(sleep: Callable[[float], Awaitable[None]]) -> tenacity.AsyncRetrying:
    """Make the policy that a client uses unless it was given another."""
    import tenacity  # costs 25 ms: loaded when the first call fails, not before

    return tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(1 + DEFAULT_MAX_RETRIES), wait=wait, sleep=sleep, reraise=True
    )
