"""Responses: read to their end but undecoded, or read on demand."""

from __future__ import annotations

import asyncio
import codecs
import os
import re
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import anyio.to_thread
import msgspec

from replicate_async import errors
from replicate_async._http.problem import connection_error, portable_headers, snippet
from replicate_async._http.request import Request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
    from types import TracebackType

    import aiohttp

T = TypeVar("T")
U = TypeVar("U")


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
        decoder = codecs.getincrementaldecoder(charset(self.headers))("replace")
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


async def save(pieces: AsyncIterator[bytes], target: Path) -> Path:
    """Write a file as its pieces arrive. Until it is complete, it doesn't have its name."""
    import secrets

    partial = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        # Opened here: a thread that is still opening it when the caller is cancelled would leave it behind.
        with partial.open("xb") as file:
            async for piece in pieces:
                await anyio.to_thread.run_sync(file.write, piece)
        await anyio.to_thread.run_sync(os.replace, partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return target


class OpenResponse(Generic[T]):
    """An answer whose body is still to be read."""

    __slots__ = ("answer", "elapsed", "request", "retries_taken", "url")

    def __init__(self, request: Request[T], url: str, answer: aiohttp.ClientResponse, elapsed: float) -> None:
        self.request: Request[T] = request
        self.url: str = url
        self.answer: aiohttp.ClientResponse = answer
        self.elapsed: float = elapsed
        self.retries_taken: int = 0

    def mapped(self, function: Callable[[T], U]) -> OpenResponse[U]:
        """Return this answer with a function applied to what its body decodes to."""
        made = OpenResponse(self.request.mapped(function), self.url, self.answer, self.elapsed)
        made.retries_taken = self.retries_taken
        return made


class APIResponse(Generic[T]):
    """An answer of the API, read to its end.

    ``status_code``, ``headers``, ``method`` and ``url`` (with query) say what was answered to which request,
    ``retries_taken`` how many attempts failed before; the body is there as ``read()``, ``text()``, ``json()`` and,
    decoded to what the method usually returns, ``parse()``.
    """

    __slots__ = ("_body", "_elapsed", "_request", "headers", "retries_taken", "status_code", "url")

    def __init__(
        self, request: Request[T], url: str, status_code: int, headers: Mapping[str, str], body: bytes, elapsed: float
    ) -> None:
        self._request = request
        self._body = body
        self._elapsed = elapsed
        self.url: str = url
        self.status_code: int = status_code
        self.headers: Mapping[str, str] = headers
        self.retries_taken: int = 0

    @property
    def method(self) -> str:
        """The request's HTTP method."""
        return self._request.method

    @property
    def elapsed(self) -> timedelta:
        """The time from sending the request (its last attempt) to the end of the answer."""
        return timedelta(seconds=self._elapsed)

    def read(self) -> bytes:
        """Return the body."""
        return self._body

    @property
    def content(self) -> bytes:
        """The body."""
        return self._body

    def text(self) -> str:
        """Return the body as text, in the charset that the answer names, or UTF-8."""
        return self._body.decode(charset(self.headers), "replace")

    def json(self) -> Any:
        """Return the body decoded from JSON, as plain dicts and lists.

        Raises:
            APIResponseValidationError: the body is not JSON.
        """
        return self._decode(Any)

    def parse(self) -> T:
        """Return the body decoded to what the method returns without ``with_raw_response``.

        Raises:
            APIResponseValidationError: the body has another shape.
        """
        value = self._decode(self._request.type)
        return self._request.then(value) if self._request.then else cast("T", value)

    def mapped(self, function: Callable[[T], U]) -> APIResponse[U]:
        """Return this answer with a function applied to what ``parse`` returns."""
        request = self._request.mapped(function)
        made = APIResponse(request, self.url, self.status_code, self.headers, self._body, self._elapsed)
        made.retries_taken = self.retries_taken
        return made

    def _decode(self, as_type: Any) -> Any:
        try:
            return reader(as_type)(self._body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise errors.APIResponseValidationError(
                f"the answer is not {_type_name(as_type)}: {error}; it begins {snippet(self._body)}",
                method=self.method,
                url=self.url,
                status_code=self.status_code,
                headers=portable_headers(self.headers),
                body=self._body,
            ) from error

    def __repr__(self) -> str:
        return f"<APIResponse [{self.status_code}] {self.method} {self.url}>"


def charset(headers: Mapping[str, str]) -> str:
    """Return the charset that an answer names, or UTF-8."""
    named = re.search(r"charset=\"?([\w-]+)", headers.get("Content-Type", ""))
    try:
        b" ".decode(named[1] if named else "utf-8", "replace")
    except LookupError:  # unknown, or a codec that doesn't make text
        return "utf-8"
    return named[1] if named else "utf-8"


@lru_cache(maxsize=256)
def reader(as_type: Any) -> Callable[[bytes], Any]:
    """Return what decodes a body: to ``bytes``, ``str`` and ``None`` as they are, to anything else from JSON."""
    plain: dict[Any, Callable[[bytes], Any]] = {bytes: bytes, str: bytes.decode, None: lambda _: None}
    return plain.get(as_type) or msgspec.json.Decoder(as_type).decode


def _type_name(as_type: Any) -> str:
    return "JSON" if as_type is Any else getattr(as_type, "__name__", None) or str(as_type)
