"""Refusals with the status 429, and the rate limits that lead to them."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal

from ._calls import Problem

Hint = Literal["header", "body", "detail"]
HINTS: tuple[Hint, ...] = ("header", "body", "detail")


def throttled(seconds: float, limit: str = "", hints: Collection[Hint] = HINTS) -> Problem:
    """Return the API's 429, with those of its hints how long to wait that are asked for."""
    detail = "Request was throttled."
    wait = max(1, math.ceil(seconds))  # the API counts in whole seconds
    if limit:
        detail += f" {limit}"
    if "detail" in hints:
        detail += f" Your rate limit resets in ~{wait}s."
    problem = Problem(429, detail)
    if "body" in hints:
        problem.document["retry_after"] = wait
    if "header" in hints:
        problem.headers = {"Retry-After": str(wait)}
    return problem
