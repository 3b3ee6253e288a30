"""Calls: a request on its way, and what became of it."""

from __future__ import annotations

import io
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from replicate_async._http.ratelimit import TokenBucket
from replicate_async._http.request import Request

if TYPE_CHECKING:
    import aiohttp
    from multidict import CIMultiDict

T = TypeVar("T")

# Larger bodies are sent as files in memory, because aiohttp writes bytes in one go.
_MAX_BYTES_AT_ONCE = 2**20


class Outcome(Enum):
    """What is known about a call. It decides whether the call may be repeated, and whether it may cost something."""

    # Nothing was sent, or the connection failed before the request could leave.
    NOT_SENT = "not sent"
    # The request may have reached the API, and there is no response, or a 5xx.
    UNKNOWN = "unknown"
    # The API turned the request away.
    REFUSED = "refused"
    # The request may have reached the API, but its result was looked for there and does not exist.
    NOT_FOUND = "not found"
    # The API carried the request out.
    ANSWERED = "answered"


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
        on_demand: Whether the body of the response is left to its reader, not decompressed.
        outcome: What is known about the call.
        sent_at: When the last attempt was sent, by the client's clock.
    """

    request: Request[T]
    url: str
    headers: CIMultiDict[str]
    body: Any
    timeout: aiohttp.ClientTimeout
    prefer_wait: float
    bucket: TokenBucket | None
    on_demand: bool = False
    outcome: Outcome = Outcome.NOT_SENT
    sent_at: float = 0.0

    @property
    def may_exist(self) -> bool:
        """Whether a create may have made something."""
        return self.outcome in {Outcome.UNKNOWN, Outcome.ANSWERED}

    def payload(self) -> Any:
        """Return the body as aiohttp takes it, for one attempt."""
        body = self.body() if callable(self.body) else self.body
        return io.BytesIO(body) if isinstance(body, bytes) and len(body) > _MAX_BYTES_AT_ONCE else body
