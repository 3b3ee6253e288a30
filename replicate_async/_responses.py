"""Answers as they come: read on demand, or whole but undecoded, instead of what a method usually returns."""

from __future__ import annotations

import asyncio
import codecs
import os
from copy import copy
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from replicate_async import _wire
from replicate_async._fileio import save
from replicate_async._transport import OpenResponse, Transport, connection_error
from replicate_async._wire import APIResponse, Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from types import TracebackType

T = TypeVar("T")
U = TypeVar("U")
C = TypeVar("C")


class AsyncStreamedResponse(Generic[T]):
    """An answer of the API whose body is read when it is asked for.

    It is closed once it is read to its end, or left.
    """

    def __init__(self, opened: OpenResponse[T]) -> None:
        self._opened = opened
        self._answer = opened.answer
        self._body: bytes | None = None
        self._left = False
        self.status_code: int = opened.answer.status
        """The HTTP status."""
        self.headers: Mapping[str, str] = opened.answer.headers
        """The headers, whose names may be asked for in any case."""
        self.url: str = opened.url
        """The URL that was asked for, with its query."""
        self.method: str = opened.request.method
        """The HTTP method of the request."""
        self.retries_taken: int = opened.retries_taken
        """How many attempts of the request failed before."""

    @property
    def elapsed(self) -> timedelta:
        """The time from sending the request (its last attempt) to the answer's headers."""
        return timedelta(seconds=self._opened.elapsed)

    @property
    def is_closed(self) -> bool:
        """Whether the body was read to its end, or the answer left."""
        return self._left

    async def iter_bytes(self, chunk_size: int = 65536) -> AsyncGenerator[bytes, None]:
        """Yield the body in chunks as they arrive.

        Args:
            chunk_size: The most bytes that a chunk has.

        Raises:
            APIConnectionError: the connection broke before the end.
        """
        import aiohttp

        if self._body is not None:
            for start in range(0, len(self._body), chunk_size):
                yield self._body[start : start + chunk_size]
            return
        content = self._answer.content
        try:
            while chunk := await content.read(chunk_size):
                yield chunk
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise connection_error(error, self.method, self.url) from error
        finally:
            await self.close()

    async def iter_text(self, chunk_size: int = 65536) -> AsyncGenerator[str, None]:
        """Yield the body as text, in chunks as they arrive.

        Args:
            chunk_size: The most bytes that a chunk is made of.

        Raises:
            APIConnectionError: the connection broke before the end.
        """
        decoder = codecs.getincrementaldecoder(_wire.charset(self.headers))("replace")
        async for chunk in self.iter_bytes(chunk_size):
            if text := decoder.decode(chunk):
                yield text
        if text := decoder.decode(b"", final=True):
            yield text

    async def iter_lines(self) -> AsyncGenerator[str, None]:
        """Yield the body's lines, without their ends, as they arrive.

        Raises:
            APIConnectionError: the connection broke before the end.
        """
        begun: list[str] = []  # of a line, which may come in any number of pieces
        async for text in self.iter_text():
            ended = text.split("\n")
            rest = ended.pop()
            for end in ended:
                begun.append(end)
                yield "".join(begun).removesuffix("\r")
                begun.clear()
            begun.append(rest)
        rest = "".join(begun)
        if rest:
            yield rest

    async def read(self) -> bytes:
        """Return the body.

        Raises:
            APIConnectionError: the connection broke before the end.
        """
        if self._body is None:
            self._body = b"".join([chunk async for chunk in self.iter_bytes()])
        return self._body

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the body to a file as it arrives. An incomplete file never has the name.

        Args:
            path: The file to write; one that exists is replaced.

        Returns:
            The file's path.

        Raises:
            OSError: the file can't be written.
            APIConnectionError: the connection broke before the end.
        """
        return await save(self.iter_bytes(), Path(path))

    async def text(self) -> str:
        """Return the body as text, in the charset that the answer names, or UTF-8."""
        return (await self._whole()).text()

    async def json(self) -> Any:
        """Return the body decoded from JSON, as plain dicts and lists.

        Raises:
            APIResponseValidationError: the body is not JSON.
        """
        return (await self._whole()).json()

    async def parse(self) -> T:
        """Return the body decoded to what the method usually returns.

        Raises:
            APIResponseValidationError: the body has another shape.
        """
        return (await self._whole()).parse()

    def mapped(self, function: Callable[[T], U]) -> AsyncStreamedResponse[U]:
        """Return this answer with a function applied to what ``parse`` returns."""
        return AsyncStreamedResponse(self._opened.mapped(function))

    async def _whole(self) -> APIResponse[T]:
        opened = self._opened
        body = await self.read()
        return APIResponse(opened.request, self.url, self.status_code, self.headers, body, opened.elapsed)

    async def close(self) -> None:
        """Leave the answer; a body that wasn't read to its end is lost, and its connection closed."""
        self._left = True
        self._answer.release()  # closes the connection, unless all was read

    def __repr__(self) -> str:
        return f"<{type(self).__name__} [{self.status_code}] {self.method} {self.url}>"


class AsyncResponseContext(Generic[T]):
    """An answer that is about to come, as a context manager: entering it opens the answer, leaving it closes it."""

    def __init__(self, opening: Awaitable[AsyncStreamedResponse[T]]) -> None:
        self._opening = opening
        self._response: AsyncStreamedResponse[T] | None = None

    async def __aenter__(self) -> AsyncStreamedResponse[T]:
        """Send the request and return its answer, unread."""
        self._response = await self._opening
        return self._response

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the answer."""
        if self._response is not None:
            await self._response.close()

    def mapped(self, function: Callable[[T], U]) -> AsyncResponseContext[U]:
        """Return this context with a function applied to what ``parse`` returns."""

        async def opening() -> AsyncStreamedResponse[U]:
            return (await self._opening).mapped(function)

        return AsyncResponseContext(opening())


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
