"""Rate limits, as the API documents them, and the 429 that they lead to."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ._calls import Problem
from ._clock import Clock

Hint = Literal["header", "body", "detail"]
HINTS: tuple[Hint, ...] = ("header", "body", "detail")

_CREATES = {"predictions.create", "models.predictions.create", "deployments.predictions.create"}
_HAIR = 1e-9  # so that who waited exactly long enough isn't refused for a rounding error

_Rate = Annotated[float, Meta(gt=0)]
_Burst = Annotated[int, Meta(ge=1)]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many requests the server takes; by default what the API documents.

    Attributes:
        creates: Predictions that may be created in a minute; None for any number.
        create_burst: How many of them at once, after a pause.
        others: Other requests in a minute; None for any number.
        other_burst: How many of them at once, after a pause.
    """

    creates: _Rate | None = 600.0
    create_burst: _Burst = 50
    others: _Rate | None = 3000.0
    other_burst: _Burst = 250

    @classmethod
    def of(cls, value: Limits | Mapping[str, Any] | None) -> Limits | None:
        """Return limits that have been checked; ``ValueError`` says what makes no sense."""
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
            self._creates = _Bucket(limits.creates, limits.create_burst, name, clock)
        if limits is not None and limits.others is not None:
            self._others = _Bucket(limits.others, limits.other_burst, "Your rate limit", clock)

    def count(self, operation: str) -> None:
        """Count a request, or raise the API's 429."""
        bucket = self._creates if operation in _CREATES else self._others
        if bucket is not None:
            bucket.take()


class _Bucket:
    """A token bucket."""

    def __init__(self, rate: float, burst: int, name: str, clock: Clock) -> None:
        self._rate, self._burst, self._clock = rate / 60, burst, clock
        self._text = f"{name} is {rate:g} requests per minute with a burst of {burst} requests."
        self._tokens, self._filled = float(burst), clock.monotonic()

    def take(self) -> None:
        now = self._clock.monotonic()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1 - _HAIR:
            seconds = (1 - self._tokens) / self._rate
            raise throttled(max(1, math.ceil(seconds - _HAIR)), self._text)  # the API counts in whole seconds
        self._tokens -= 1


def throttled(seconds: float, limit: str = "", hints: Collection[Hint] = HINTS) -> Problem:
    """Return the API's 429, with those of its hints how long to wait that are asked for."""
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
