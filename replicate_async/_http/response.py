"""Responses: read in full but not decoded, or read on demand."""

from __future__ import annotations

import asyncio
import codecs
import io
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import msgspec

from replicate_async._files import save_chunks
from replicate_async._http.problem import connection_error, portable_headers, snippet
from replicate_async._http.request import Request
from replicate_async.errors import APIResponseValidationError

if TYPE_CHECKING:
    import aiohttp

T = TypeVar("T")
U = TypeVar("U")


class APIResponse(Generic[T]):
    """A response of the API, read in full.

    ``status_code``, ``headers``, ``method`` and ``url`` (with its query) describe the exchange, ``retries_taken`` is
    the number of retries before it. The body is available as ``read()``, ``text()``, ``json()`` and, decoded to the
    type that the method usually returns, ``parse()``.
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
        """The time between sending the last attempt and the end of the response."""
        return timedelta(seconds=self._elapsed)

    def read(self) -> bytes:
        """Return the body."""
        return self._body

    @property
    def content(self) -> bytes:
        """The body."""
        return self._body

    def text(self) -> str:
        """Return the body as text, in the charset of the response, or UTF-8."""
        return self._body.decode(_charset(self.headers), "replace")

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
        value = self._decode(self._request.response_type)
        return self._request.transform(value) if self._request.transform else cast("T", value)

    def map(self, function: Callable[[T], U]) -> APIResponse[U]:
        """Return this response with a function applied to the result of ``parse``."""
        request = self._request.map(function)
        mapped = APIResponse(request, self.url, self.status_code, self.headers, self._body, self._elapsed)
        mapped.retries_taken = self.retries_taken
        return mapped

    def _decode(self, response_type: Any) -> Any:
        try:
            return decoder_for(response_type)(self._body)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            name = getattr(response_type, "__name__", None) or str(response_type)
            raise APIResponseValidationError(
                f"the response is not {'JSON' if response_type is Any else name}: {error}; "
                f"it begins {snippet(self._body)}",
                method=self.method,
                url=self.url,
                status_code=self.status_code,
                headers=portable_headers(self.headers),
                body=self._body,
            ) from error

    def __repr__(self) -> str:
        return f"<APIResponse [{self.status_code}] {self.method} {self.url}>"


def _charset(headers: Mapping[str, str]) -> str:
    """Return the charset that a response names, or UTF-8."""
    match = re.search(r"charset=\"?([\w-]+)", headers.get("Content-Type", ""))
    name = match[1] if match else "utf-8"
    try:
        b" ".decode(name, "replace")
    except LookupError:
        # The charset is unknown, or is a codec that does not decode to text.
        return "utf-8"
    return name


@lru_cache(maxsize=256)
def decoder_for(response_type: Any) -> Callable[[bytes], Any]:
    """Return the function that decodes a body to a type: ``bytes``, ``str``, None, or anything else from JSON."""
    decoders: dict[Any, Callable[[bytes], Any]] = {bytes: bytes, str: bytes.decode, None: lambda _: None}
    return decoders.get(response_type) or msgspec.json.Decoder(response_type).decode


class AsyncStreamedResponse(Generic[T]):
    """A response of the API whose body is read on demand.

    It is closed when it has been read to its end, or by ``close``.
    """

    def __init__(self, request: Request[T], url: str, response: aiohttp.ClientResponse, elapsed: float) -> None:
        self._request = request
        self._response = response
        self._elapsed = elapsed
        self._body: bytes | None = None
        self._closed = False
        self.status_code: int = response.status
        """The HTTP status."""
        self.headers: Mapping[str, str] = response.headers
        """The headers; their names are case-insensitive."""
        self.url: str = url
        """The requested URL, with its query."""
        self.method: str = request.method
        """The HTTP method of the request."""
        self.retries_taken: int = 0
        """The number of retries before this response."""

    @property
    def elapsed(self) -> timedelta:
        """The time between sending the last attempt and the headers of the response."""
        return timedelta(seconds=self._elapsed)

    @property
    def is_closed(self) -> bool:
        """Whether the body was read to its end, or the response was closed."""
        return self._closed

    async def iter_bytes(self, chunk_size: int = 65536) -> AsyncGenerator[bytes, None]:
        """Yield the body in chunks as they arrive.

        Args:
            chunk_size: The maximum size of a chunk, in bytes.

        Raises:
            APIConnectionError: the connection broke before the end.
        """
        read = self._reader()
        try:
            while chunk := await read(chunk_size):
                yield chunk
        finally:
            await self.close()

    async def iter_text(self, chunk_size: int = 65536) -> AsyncGenerator[str, None]:
        """Yield the body as text, in chunks as they arrive.

        Args:
            chunk_size: The maximum size of a chunk, in bytes before decoding.

        Raises:
            APIConnectionError: the connection broke before the end.
        """
        read, decoder = self._reader(), self._text_decoder()
        try:
            while chunk := await read(chunk_size):
                if text := decoder.decode(chunk):
                    yield text
            if text := decoder.decode(b"", final=True):
                yield text
        finally:
            await self.close()

    async def iter_lines(self) -> AsyncGenerator[str, None]:
        """Yield the body's lines, without their line ends, as they arrive.

        Raises:
            APIConnectionError: the connection broke before the end.
        """
        # The pieces of an incomplete line, joined once: a long line may come in many.
        pieces: list[str] = []
        read, decoder, chunk = self._reader(), self._text_decoder(), b"-"
        try:
            while chunk:
                chunk = await read(65536)
                line_ends = decoder.decode(chunk, final=not chunk).split("\n")
                rest = line_ends.pop()
                for line_end in line_ends:
                    pieces.append(line_end)
                    yield "".join(pieces).removesuffix("\r")
                    pieces.clear()
                pieces.append(rest)
            if last_line := "".join(pieces):
                yield last_line
        finally:
            await self.close()

    def _reader(self) -> Callable[[int], Awaitable[bytes]]:
        """Return a function that reads the next chunk of the body, which has a maximum size; empty: the end."""
        import aiohttp

        # Not a generator: one that drives another can't be closed by the loop, which closes all at once.
        content: Any = self._response.content if self._body is None else None
        body = io.BytesIO(self._body or b"")

        async def read(chunk_size: int) -> bytes:
            if content is None:
                return body.read(chunk_size)
            try:
                chunk: bytes = await content.read(chunk_size)
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
                raise connection_error(error, self.method, self.url) from error
            return chunk

        return read

    def _text_decoder(self) -> codecs.IncrementalDecoder:
        return codecs.getincrementaldecoder(_charset(self.headers))("replace")

    async def read(self) -> bytes:
        """Return the body.

        Raises:
            APIConnectionError: the connection broke before the end.
        """
        if self._body is None:
            self._body = b"".join([chunk async for chunk in self.iter_bytes()])
        return self._body

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the body to a file as it arrives. An incomplete file never has the final name.

        Args:
            path: The file to write; an existing file is replaced.

        Returns:
            The file's path.

        Raises:
            OSError: the file can't be written.
            APIConnectionError: the connection broke before the end.
        """
        return await save_chunks(self.iter_bytes(), Path(path))

    async def text(self) -> str:
        """Return the body as text, in the charset of the response, or UTF-8."""
        return (await self._read_response()).text()

    async def json(self) -> Any:
        """Return the body decoded from JSON, as plain dicts and lists.

        Raises:
            APIResponseValidationError: the body is not JSON.
        """
        return (await self._read_response()).json()

    async def parse(self) -> T:
        """Return the body decoded to what the method usually returns.

        Raises:
            APIResponseValidationError: the body has another shape.
        """
        return (await self._read_response()).parse()

    def map(self, function: Callable[[T], U]) -> AsyncStreamedResponse[U]:
        """Return this response with a function applied to the result of ``parse``."""
        mapped = AsyncStreamedResponse(self._request.map(function), self.url, self._response, self._elapsed)
        mapped.retries_taken = self.retries_taken
        return mapped

    async def _read_response(self) -> APIResponse[T]:
        body = await self.read()
        return APIResponse(self._request, self.url, self.status_code, self.headers, body, self._elapsed)

    async def close(self) -> None:
        """Close the response. The unread rest of the body is lost, and its connection is closed."""
        self._closed = True
        # This keeps the connection if the whole body was read.
        self._response.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} [{self.status_code}] {self.method} {self.url}>"


class AsyncResponseContext(Generic[T]):
    """A context manager that sends a request and gives its response, unread; leaving it closes the response."""

    def __init__(self, opening: Awaitable[AsyncStreamedResponse[T]]) -> None:
        self._opening = opening
        self._response: AsyncStreamedResponse[T] | None = None

    async def __aenter__(self) -> AsyncStreamedResponse[T]:
        """Send the request and return its response, unread."""
        self._response = await self._opening
        return self._response

    async def __aexit__(self, *exc_info: object) -> None:
        """Close the response."""
        if self._response is not None:
            await self._response.close()

    def map(self, function: Callable[[T], U]) -> AsyncResponseContext[U]:
        """Return this context with a function applied to the result of ``parse``."""

        async def opening() -> AsyncStreamedResponse[U]:
            return (await self._opening).map(function)

        return AsyncResponseContext(opening())
