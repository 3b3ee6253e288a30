"""Calls: a request on its way, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from replicate_async._http import clock
from replicate_async._http.environment import Route
from replicate_async._http.ratelimit import TokenBucket
from replicate_async._http.request import Request

if TYPE_CHECKING:
    import aiohttp
    from multidict import CIMultiDict

T = TypeVar("T")


class Outcome(Enum):
    """What is known about a call. It decides whether the call may be repeated, and whether it may cost something."""

    # No byte of the body was sent: the call waits, or its connection was never ready.
    NOT_SENT = "not sent"
    # The request may have reached the API, and there is no response, or a 5xx.
    UNKNOWN = "unknown"
    # The API turned the request away.
    REFUSED = "refused"
    # The request may have reached the API, but its result was looked for there and does not exist.
    NOT_FOUND = "not found"
    # The API carried the request out.
    RESPONDED = "responded"
    # The API carried the create out, but an identical one, whose response was lost, has taken its result.
    TAKEN = "taken"


class Call(msgspec.Struct, Generic[T], eq=False):
    """A request that is ready to be sent, as often as necessary, and its outcome.

    Attributes:
        request: The request.
        url: Its whole URL.
        headers: All headers.
        body: The encoded body, a function that creates one for each attempt, or None.
        timeout: The timeout of each attempt.
        prefer_wait: For how many seconds the API may hold the response back, whichever header asks for it.
        bucket: The rate limit that applies, or None.
        route: How the host is reached.
        on_demand: Whether the body of the response is left to its reader, not decompressed.
        outcome: What is known about the call.
        sent_at: When the body of the last attempt began to leave, by the client's clock.
        received_at: When the response to the last attempt had arrived, by the client's clock.
        abandoned: Whether the caller has given up, so that the call is not repeated.
        attempts: How often it was sent; counted for hooks only.
        deadline: When the right to send it ends, by the client's clock.
        on_turn: Called whenever a create has waited for its turn to be sent.
    """

    request: Request[T]
    url: str
    headers: CIMultiDict[str]
    body: Any
    timeout: aiohttp.ClientTimeout
    prefer_wait: float
    bucket: TokenBucket | None
    route: Route
    on_demand: bool = False
    outcome: Outcome = Outcome.NOT_SENT
    sent_at: float = 0.0
    received_at: float = 0.0
    abandoned: bool = False
    attempts: int = 0
    deadline: float = inf
    on_turn: Callable[[], None] | None = None

    @property
    def may_exist(self) -> bool:
        """Whether a create may have made something."""
        return self.outcome in {Outcome.UNKNOWN, Outcome.RESPONDED, Outcome.TAKEN}

    def note_sent(self) -> None:
        """Note that the first byte of the body goes out now."""
        now = clock.current.monotonic()
        if now > self.deadline:
            raise ConnectionAbortedError("too late: another process may send it now")
        self.outcome = Outcome.UNKNOWN
        self.sent_at = now
