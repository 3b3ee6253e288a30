"""Raw and streaming responses instead of what calls decode to: the same calls through another transport."""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from replicate_async._http.request import Request
from replicate_async._http.response import APIResponse, AsyncResponseContext, AsyncStreamedResponse
from replicate_async._http.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import NoReturn

    from typing_extensions import Never, Self

T = TypeVar("T")
C = TypeVar("C")
V = TypeVar("V")


class View(Generic[V]):
    """A read-only attribute of a resource or client: its view, a new one each time."""

    def __init__(self, view: Callable[[Any], V]) -> None:
        self._view = view
        self.__doc__ = view.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type) -> V: ...

    def __get__(self, instance: object, owner: type) -> Self | V:
        return self if instance is None else self._view(instance)

    def __set__(self, instance: object, value: Never) -> NoReturn:
        raise AttributeError("a view is read-only")


class _ViewTransport(Transport):
    @property
    def plain(self) -> Transport:
        return Transport(self.settings, self.pool)


class _RawTransport(_ViewTransport):
    async def call(self, request: Request[T]) -> T:
        return cast("T", await self.send(request))


class _StreamingTransport(_ViewTransport):
    async def call(self, request: Request[T]) -> T:
        return cast("T", AsyncStreamedResponse(await self.open(request)))


def raw(calls: C) -> C:
    """Return the same resource or client, with methods that return whole answers whatever their annotations say."""
    return _with(calls, _RawTransport)


def streaming(calls: C) -> C:
    """Return the same resource or client, with methods that return unread answers whatever their annotations say."""
    return _with(calls, _StreamingTransport)


def _with(calls: C, kind: type[Transport]) -> C:
    made = copy(calls)
    before: Transport = vars(calls)["_transport"]
    vars(made)["_transport"] = kind(before.settings, before.pool)
    return made


async def as_raw(answering: Awaitable[T]) -> APIResponse[T]:
    """Tell the type checker what a method of a ``raw`` resource returns."""
    return cast("APIResponse[T]", await answering)


def as_streaming(answering: Awaitable[T]) -> AsyncResponseContext[T]:
    """Tell the type checker what a method of a ``streaming`` resource returns."""
    return AsyncResponseContext(cast("Awaitable[AsyncStreamedResponse[T]]", answering))
