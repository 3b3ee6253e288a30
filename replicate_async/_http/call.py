"""Calls: a request on its way, and what became of it."""

from __future__ import annotations

import io
from enum import Enum
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    import aiohttp
    from multidict import CIMultiDict

    from replicate_async._http.ratelimit import TokenBucket
    from replicate_async._http.request import Request

T = TypeVar("T")

# Larger bodies are sent as files in memory, because aiohttp writes bytes in one go.
_MAX_BYTES_AT_ONCE = 2**20


class Outcome(Enum):
    """What is known about a call. It decides whether the call may be repeated, and whether it may cost something."""

    NOT_SENT = "not sent"
    """Nothing was sent, or the connection failed before the request could leave."""
    UNKNOWN = "unknown"
    """The request may have reached the API, and there is no response, or a 5xx."""
    REFUSED = "refused"
    """The API turned the request away."""
    NOT_FOUND = "not found"
    """The request may have reached the API, but its result was looked for there and does not exist."""
    ANSWERED = "answered"
    """The API carried the request out."""


class Call(Generic[T]):
    """A request that is ready to be sent, as often as necessary, and its outcome."""

    __slots__ = ("body", "bucket", "headers", "outcome", "prefer_wait", "request", "sent_at", "timeout", "url")

    def __init__(
        self,
        request: Request[T],
        url: str,
        headers: CIMultiDict[str],
        body: Any,
        timeout: aiohttp.ClientTimeout,
        prefer_wait: float,
        bucket: TokenBucket | None,
    ) -> None:
        self.request: Request[T] = request
        self.url: str = url
        self.headers: CIMultiDict[str] = headers
        self.body: Any = body
        self.timeout: aiohttp.ClientTimeout = timeout
        # Seconds for which the API may hold the response back, whichever header asks for it.
        self.prefer_wait: float = prefer_wait
        # The rate limit that applies, or None.
        self.bucket: TokenBucket | None = bucket
        self.outcome: Outcome = Outcome.NOT_SENT
        # When the last attempt was sent, by the client's clock.
        self.sent_at: float = 0.0

    @property
    def may_exist(self) -> bool:
        """Whether a create may have made something."""
        return self.outcome in {Outcome.UNKNOWN, Outcome.ANSWERED}

    def payload(self) -> Any:
        """Return the body as aiohttp takes it, for one attempt."""
        body = self.body() if callable(self.body) else self.body
        return io.BytesIO(body) if isinstance(body, bytes) and len(body) > _MAX_BYTES_AT_ONCE else body
