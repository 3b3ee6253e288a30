"""Rate limits and credit of an account: the headers of each response, and the 429 and 402 of refused requests."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from ._calls import Problem
from ._faults import HINTS, Hint
from ._operation_names import OperationName
from ._real_clock import Clock

_CREATES: frozenset[OperationName] = frozenset(
    {"predictions.create", "models.predictions.create", "deployments.predictions.create"}
)
# Requests that an account without credit can't make.
_BILLABLE: frozenset[OperationName] = frozenset({*_CREATES, "trainings.create"})
# A client that waited exactly long enough must not be refused because of a rounding error.
_EPSILON = 1e-9
# Below this credit, the API reduces the limit for creates.
_LOW_CREDIT_DOLLARS = 5.0
_LOW_CREDIT_RATE, _LOW_CREDIT_BURST = 6.0, 1
_NO_CREDIT = (
    "You have insufficient credit to run this model. Go to https://replicate.com/account/billing#billing to purchase "
    "credit. Once you purchase credit, please wait a few minutes before trying again."
)

_Rate = Annotated[float, Meta(gt=0)]
_Burst = Annotated[int, Meta(ge=1)]
Preset = Literal["default", "low_credit", "no_credit"]


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many requests the server accepts. The defaults are the limits of the API.

    Each kind of request has a limit of its own. Responses say what is left in their headers ``ratelimit-remaining`` and
    ``ratelimit-reset``.

    Attributes:
        creates: Predictions that clients may create per minute; None for no limit.
        create_burst: Predictions that clients may create at once.
        polls: Requests per minute that get one prediction; None for no limit.
        poll_burst: Requests at once that get one prediction.
        others: All other requests per minute; None for no limit.
        other_burst: All other requests at once.
        credit: The credit of the account in dollars. Below 5 dollars, the limit for creates is 6 per minute with a
            burst of 1. At 0, creates get the 402 of the API. None for enough credit.
    """

    creates: _Rate | None = 600.0
    create_burst: _Burst = 50
    polls: _Rate | None = 60_000.0
    poll_burst: _Burst = 60_000
    others: _Rate | None = 3000.0
    other_burst: _Burst = 3000
    credit: Annotated[float, Meta(ge=0)] | None = None

    @classmethod
    def of(cls, value: Limits | Mapping[str, Any] | Preset | None) -> Limits | None:
        """Return checked limits; raises ``ValueError`` if a field is invalid, or if there is no such preset."""
        if value is None:
            return None
        if isinstance(value, str):
            if value not in _PRESETS:
                raise ValueError(f"limits: expected one of {', '.join(_PRESETS)}, got {value!r}")
            return _PRESETS[value]
        fields = msgspec.structs.asdict(value) if isinstance(value, Limits) else value
        try:
            return msgspec.convert(fields, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"limits: {error}") from None


_PRESETS: dict[str, Limits] = {
    "default": Limits(),
    "low_credit": Limits(credit=1.0),
    "no_credit": Limits(credit=0.0),
}


class RateLimiter:
    """Counts requests, and refuses those over the limits."""

    def __init__(self, limits: Limits | None, clock: Clock) -> None:
        self.limits = limits
        # Without limits, the headers are those of the API's limits after a pause.
        values = limits or Limits(create_burst=600)
        rate, burst = values.creates, values.create_burst
        description = "Your rate limit for creating predictions is "
        condition = ""
        if values.credit is not None and values.credit < _LOW_CREDIT_DOLLARS:
            rate, burst = min(rate or _LOW_CREDIT_RATE, _LOW_CREDIT_RATE), _LOW_CREDIT_BURST
            description += "reduced to "
            condition = f" while you have less than ${_LOW_CREDIT_DOLLARS} in credit"
        self._creates = _TokenBucket(rate, burst, description, clock, condition)
        self._polls = _TokenBucket(values.polls, values.poll_burst, "Your rate limit is ", clock)
        self._others = _TokenBucket(values.others, values.other_burst, "Your rate limit is ", clock)

    def count(self, operation: str) -> dict[str, str]:
        """Count a request, and return the headers of its response; raises the API's 429 and 402."""
        is_create = operation in _CREATES
        bucket = self._creates if is_create else self._polls if operation == "predictions.get" else self._others
        if self.limits is None:
            return bucket.headers()
        bucket.take()
        if self.limits.credit == 0 and operation in _BILLABLE:
            raise Problem(402, _NO_CREDIT, title="Insufficient credit")
        return bucket.headers()


class _TokenBucket:
    """A token bucket. Without a rate, it never refuses."""

    def __init__(self, rate: float | None, burst: int, name: str, clock: Clock, condition: str = "") -> None:
        self._tokens_per_second, self._burst, self._clock = (rate or math.inf) / 60, burst, clock
        self._description = f"{name}{rate or 0:g} requests per minute with a burst of {burst} requests{condition}."
        self._tokens, self._filled_at = float(burst), clock.monotonic()

    def take(self) -> None:
        now = self._clock.monotonic()
        elapsed = now - self._filled_at
        self._tokens = min(self._burst, self._tokens + elapsed * self._tokens_per_second) if elapsed else self._tokens
        self._filled_at = now
        if self._tokens < 1 - _EPSILON and self._tokens_per_second < math.inf:
            seconds = self._seconds_until(1)
            problem = throttled(seconds, self._description)
            problem.headers = {**(problem.headers or {}), **_headers(0, seconds)}
            raise problem
        self._tokens -= 1

    def headers(self) -> dict[str, str]:
        """Return what is left, and the seconds until nothing is missing."""
        tokens = min(self._tokens, self._burst - 1)
        return _headers(max(0, math.floor(tokens + _EPSILON)), self._seconds_until(self._burst, tokens))

    def _seconds_until(self, tokens: float, present: float | None = None) -> int:
        """Return when there are enough tokens, in whole seconds, as the API gives them."""
        missing = tokens - (self._tokens if present is None else present)
        return max(1, math.ceil(missing / self._tokens_per_second - _EPSILON))


def _headers(remaining: int, reset_seconds: int) -> dict[str, str]:
    return {"ratelimit-remaining": str(remaining), "ratelimit-reset": str(reset_seconds)}


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
