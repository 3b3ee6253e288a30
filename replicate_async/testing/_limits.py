"""Rate limits, as the API documents them, and the 429 response for requests over a limit."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from ._calls import Problem
from ._faults import HINTS, Hint
from ._operation_names import OperationName
from ._real_clock import Clock

_CREATES: frozenset[OperationName] = frozenset(
    {"predictions.create", "models.predictions.create", "deployments.predictions.create"}
)
# A client that waited exactly long enough must not be refused because of a rounding error.
_EPSILON = 1e-9

_Rate = Annotated[float, Meta(gt=0)]
_Burst = Annotated[int, Meta(ge=1)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many requests the server accepts. The defaults are the limits that the API documents.

    Attributes:
        creates: Predictions that clients may create per minute; None for no limit.
        create_burst: Predictions that clients may create at once.
        others: All other requests per minute; None for no limit.
        other_burst: All other requests at once.
    """

    creates: _Rate | None = 600.0
    create_burst: _Burst = 50
    others: _Rate | None = 3000.0
    other_burst: _Burst = 250

    @classmethod
    def of(cls, value: Limits | Mapping[str, Any] | None) -> Limits | None:
        """Return checked limits; raises ``ValueError`` if a field is invalid."""
        if value is None:
            return None
        fields = msgspec.structs.asdict(value) if isinstance(value, Limits) else value
        try:
            return msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"limits: {error}") from None


class RateLimiter:
    """Counts requests, and refuses those over the limits."""

    def __init__(self, limits: Limits | None, clock: Clock) -> None:
        self.limits = limits
        self._creates = self._others = None
        if limits is not None and limits.creates is not None:
            name = "Your rate limit for creating predictions"
            self._creates = _TokenBucket(limits.creates, limits.create_burst, name, clock)
        if limits is not None and limits.others is not None:
            self._others = _TokenBucket(limits.others, limits.other_burst, "Your rate limit", clock)

    def count(self, operation: str) -> None:
        """Count a request, or raise the API's 429."""
        bucket = self._creates if operation in _CREATES else self._others
        if bucket is not None:
            bucket.take()


class _TokenBucket:
    """A token bucket."""

    def __init__(self, rate: float, burst: int, name: str, clock: Clock) -> None:
        self._tokens_per_second, self._burst, self._clock = rate / 60, burst, clock
        self._description = f"{name} is {rate:g} requests per minute with a burst of {burst} requests."
        self._tokens, self._filled_at = float(burst), clock.monotonic()

    def take(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._tokens_per_second)
        self._filled_at = now
        if self._tokens < 1 - _EPSILON:
            seconds = (1 - self._tokens) / self._tokens_per_second
            # The API gives whole seconds.
            raise throttled(max(1, math.ceil(seconds - _EPSILON)), self._description)
        self._tokens -= 1


def throttled(seconds: float, limit: str = "", hints: Collection[Hint] = HINTS) -> Problem:
    """Return the API's 429; ``hints`` are the places where it says how long to wait."""
    detail = "Request was throttled."
    if limit:
        detail += f" {limit}"
    if "detail" in hints:
        detail += f" Your rate limit resets in ~{seconds:g}s."
    problem = Problem(429, detail)
    if "body" in hints:
        problem.document["retry_after"] = seconds
    if "header" in hints:
        problem.headers = {"Retry-After": f"{seconds:g}"}
    return problem
