"""What all resources are made of: a transport, and views that return responses instead of decoded results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NoReturn, TypeVar, cast, get_type_hints, overload

from replicate_async._hints import Hinted
from replicate_async._http.call import Call
from replicate_async._http.request import Request
from replicate_async._http.response import APIResponse, AsyncResponseContext, AsyncStreamedResponse, read_response
from replicate_async._http.transport import Transport
from replicate_async._typing import Never

if TYPE_CHECKING:
    from builtins import property as view
    from functools import cached_property as resource
else:

    class resource(cached_property):  # noqa: N801 - a decorator
        """A property that is created once. Of the class, it is the class of its value, as ``create_autospec`` needs."""

        def __get__(self, instance: object, owner: type | None = None) -> Any:
            return get_type_hints(self.func)["return"] if instance is None else super().__get__(instance, owner)

    class view(property):  # noqa: N801 - a decorator
        """A property that is created each time. Of the class, it is the class of its value."""

        def __get__(self, instance: object, owner: type | None = None) -> Any:
            return get_type_hints(self.fget)["return"] if instance is None else super().__get__(instance, owner)


__all__ = ["AsyncResource", "View", "as_raw", "as_streaming", "raw", "resource", "streaming", "view"]

T = TypeVar("T")
C = TypeVar("C")
V = TypeVar("V")


class AsyncResource(Hinted):
    """A group of API operations that share a transport."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport


class View(Generic[V]):
    """A read-only attribute of a resource or client: its view, a new one each time."""

    def __init__(self, view: Callable[[Any], V]) -> None:
        self._view = view
        self.__doc__ = view.__doc__

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[[Any], V]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> V: ...

    def __get__(self, instance: object, owner: type) -> Callable[[Any], V] | V:
        # Of the class, it is the view's class, as ``create_autospec`` needs.
        return self._view if instance is None else self._view(instance)

    def __set__(self, instance: object, value: Never) -> NoReturn:
        raise AttributeError("a view is read-only")


class _ViewTransport(Transport):
    @property
    def decoding(self) -> Transport:
        return Transport(self.settings, self.pool, self.guard)


class _RawTransport(_ViewTransport):
    async def call(self, request: Request[T] | Call[T]) -> T:
        return cast("T", await self.send(request))

    async def open(self, request: Request[T]) -> AsyncStreamedResponse[T]:
        return cast("AsyncStreamedResponse[T]", await read_response(await super().open(request)))


class _StreamingTransport(_ViewTransport):
    async def call(self, request: Request[T] | Call[T]) -> T:
        return cast("T", await self.open(request.request if isinstance(request, Call) else request))


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


async def as_raw(result: Awaitable[T | AsyncStreamedResponse[T]]) -> APIResponse[T]:
    """Give the result of a ``raw`` method its actual type."""
    return cast("APIResponse[T]", await result)


def as_streaming(result: Awaitable[T | AsyncStreamedResponse[T]]) -> AsyncResponseContext[T]:
    """Give the result of a ``streaming`` method its actual type."""
    return AsyncResponseContext(cast("Awaitable[AsyncStreamedResponse[T]]", result))
