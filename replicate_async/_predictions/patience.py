"""Patience: for how long polls may fail before the callers, who wait for what has been paid for, get the error."""

from __future__ import annotations

import msgspec

from replicate_async._http import clock
from replicate_async._http.retry import is_transient
from replicate_async.errors import APIError, APIStatusError, NotFoundError

_MAX_FAILING_SECONDS = 120.0
# The same for an id that the API has not shown yet: its job was just created, or does not exist.
_MAX_MISSING_SECONDS = 2.0


class Patience(msgspec.Struct):
    """Decides whether polls of a job that fail are repeated."""

    # Whether the API has shown the job.
    exists: bool = True
    failing_since: float | None = None

    def on_success(self) -> None:
        """Note that a poll has succeeded."""
        self.exists, self.failing_since = True, None

    def on_failure(self, error: APIError, max_retries: int | None) -> bool:
        """Note that a poll has failed; return whether to poll again."""
        now = clock.current.monotonic()
        self.failing_since = now if self.failing_since is None else self.failing_since
        is_missing = isinstance(error, NotFoundError) and not self.exists
        limit = _MAX_MISSING_SECONDS if is_missing else _MAX_FAILING_SECONDS
        return max_retries != 0 and _may_pass(error) and now - self.failing_since < limit


def _may_pass(error: APIError) -> bool:
    """Return whether the next poll may succeed. It may, unless the API itself has refused this one."""
    # Refusals of the API have a problem document. Proxies respond with a page, or with nothing. A job that was just
    # created may be unknown to some of the API's servers.
    is_refusal = isinstance(error, APIStatusError) and (error.title is not None or error.detail is not None)
    return is_transient(error) or isinstance(error, NotFoundError) or not is_refusal
