"""Raw and streaming responses: the same calls through a transport that returns responses."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, TypeVar, cast

from replicate_async._http.call import Call
from replicate_async._http.request import Request
from replicate_async._http.response import APIResponse, AsyncResponseContext, AsyncStreamedResponse
from replicate_async._http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")
C = TypeVar("C")


class _ViewTransport(Transport):
    @property
    def plain(self) -> Transport:
        return Transport(self.settings, self.pool, self.guard)


class _RawTransport(_ViewTransport):
    async def call(self, request: Request[T] | Call[T]) -> T:
        return cast("T", await self.send(request))


class _StreamingTransport(_ViewTransport):
    async def call(self, request: Request[T] | Call[T]) -> T:
        return cast("T", await self.open(request))


def raw(calls: C) -> C:
    """Return a resource or client whose methods return whole responses, despite their annotations."""
    return _with_transport(calls, _RawTransport)


def streaming(calls: C) -> C:
    """Return a resource or client whose methods return unread responses, despite their annotations."""
    return _with_transport(calls, _StreamingTransport)


def _with_transport(calls: C, kind: type[Transport]) -> C:
    view = copy(calls)
    transport: Transport = vars(calls)["_transport"]
    vars(view)["_transport"] = kind(transport.settings, transport.pool, transport.guard)
    return view


async def as_raw(result: Awaitable[T]) -> APIResponse[T]:
    """Give the result of a ``raw`` method its actual type."""
    return cast("APIResponse[T]", await result)


def as_streaming(result: Awaitable[T]) -> AsyncResponseContext[T]:
    """Give the result of a ``streaming`` method its actual type."""
    return AsyncResponseContext(cast("Awaitable[AsyncStreamedResponse[T]]", result))
