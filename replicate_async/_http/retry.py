"""Retries: which failed calls may be repeated, how often, and after how long."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

from replicate_async import errors
from replicate_async._http import clock
from replicate_async._http.call import Call, Outcome
from replicate_async._http.options import Settings, max_retries_of
from replicate_async._http.reports import report_retry
from replicate_async._logging import logger

if TYPE_CHECKING:
    import tenacity

T = TypeVar("T")

_MAX_RETRIES = 2
# How long calls are repeated after 429 responses while the API accepts none of their kind, in seconds. A refused create
# has cost nothing, and may have to wait for those of other programs.
_MAX_REFUSED_SECONDS, _MAX_REFUSED_CREATE_SECONDS = 60.0, 600.0
# However long the API asks a call to wait, there are at least this many attempts.
_MIN_REFUSED_ATTEMPTS = 6
# Longer Retry-After values, in seconds, raise instead of waiting.
MAX_RETRY_AFTER = 300.0
_INITIAL_DELAY, _MAX_DELAY = 0.5, 8.0
# Programs that were refused at the same time must not come back at the same time: jitter in seconds for each attempt,
# and at most.
_JITTER_PER_ATTEMPT, _MAX_JITTER = 0.05, 1.0

# RFC 9110, section 9.2.2; QUERY is idempotent as well.
_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "QUERY"})


def is_transient(error: BaseException) -> bool:
    """Return whether an idempotent call that failed with this error is worth repeating."""
    if isinstance(error, errors.APIStatusError):
        return (error.retry_after or 0) <= MAX_RETRY_AFTER and (
            error.status_code in {408, 409, 429} or error.status_code >= 500
        )
    return isinstance(error, errors.APIConnectionError) and not isinstance(error, errors.CreateOutcomeUnknown)


def was_refused(error: BaseException) -> bool:
    """Return whether the API turned a call away, so that nothing has happened."""
    return isinstance(error, errors.APIStatusError) and (
        error.status_code == 429 or (error.status_code == 503 and error.retry_after is not None)
    )


def may_retry(call: Call[Any], error: BaseException) -> bool:
    """Return whether repeating a call can neither bill anyone twice nor change anything twice."""
    if call.abandoned:
        return False
    if isinstance(error, errors.APIResponseValidationError):
        return call.outcome is Outcome.NOT_FOUND
    idempotent = call.request.idempotent
    if idempotent is None:
        idempotent = call.request.method in _IDEMPOTENT_METHODS
    not_carried_out = call.outcome in {Outcome.NOT_SENT, Outcome.NOT_FOUND}
    return is_transient(error) and (idempotent or not_carried_out or was_refused(error))


async def retry(
    call: Call[Any], first_error: errors.APIError, attempt: Callable[[], Awaitable[T]], settings: Settings
) -> tuple[T, int]:
    """Repeat an attempt that failed while that is safe; return its result and the number of retries."""
    max_retries = max_retries_of(settings, call.request.options)
    if max_retries == 0 or not may_retry(call, first_error):
        raise first_error
    error: BaseException = first_error

    # This import takes 25 ms, so it waits for the first failure.
    import tenacity

    policy = settings.retry or tenacity.AsyncRetrying(
        stop=tenacity.stop_after_attempt(1 + _MAX_RETRIES), wait=retry_delay, sleep=clock.current.sleep
    )
    # Callers get the API's error, not tenacity's.
    policy = policy.copy(reraise=True)
    throttles, bucket = int(isinstance(first_error, errors.RateLimitError)), call.bucket
    refused_since = clock.current.monotonic()
    patience = _MAX_REFUSED_CREATE_SECONDS if call.request.billable else _MAX_REFUSED_SECONDS
    if max_retries is not None:
        policy.stop = tenacity.stop_after_attempt(1 + max_retries)
    elif settings.retry is None:

        def stop(state: tenacity.RetryCallState) -> bool:
            # Not the call itself: tenacity's objects refer to each other, and would keep it, with the files in it.
            if isinstance(_error_of(state), errors.RateLimitError):
                accepted_at = bucket.accepted_at if bucket else refused_since
                refused_for = clock.current.monotonic() - max(refused_since, accepted_at)
                return refused_for > patience and state.attempt_number >= _MIN_REFUSED_ATTEMPTS
            return state.attempt_number > _MAX_RETRIES + throttles

        policy.stop = stop
    async for step in policy:
        with step:
            number = step.retry_state.attempt_number
            if number == 1:
                # The attempt that has failed already.
                raise error
            logger.info("retry %d of %s %s after: %s", number - 1, call.request.method, call.request.log_path, error)
            report_retry(settings.hooks, call, number - 1, step.retry_state.idle_for, error)
            # It refers to this frame: another cycle.
            error.__traceback__ = None
            try:
                return await attempt(), number - 1
            except BaseException as next_error:
                error = next_error
                throttles += isinstance(error, errors.RateLimitError)
                # Regardless of the policy, a call that may have been carried out is not repeated.
                if not may_retry(call, error):
                    break
                raise
    raise error


def retry_delay(state: tenacity.RetryCallState) -> float:
    """Return the delay in seconds: the API's own, or exponential; with jitter in both cases."""
    error = _error_of(state)
    retry_after = error.retry_after if isinstance(error, errors.APIStatusError) else None
    if retry_after is not None:
        return retry_after + random.uniform(0, min(_MAX_JITTER, _JITTER_PER_ATTEMPT * state.attempt_number))
    # The exponent is bounded, because a float is.
    return min(_MAX_DELAY, _INITIAL_DELAY * 2.0 ** min(state.attempt_number - 1, 9)) * random.uniform(0.5, 1.0)


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None
