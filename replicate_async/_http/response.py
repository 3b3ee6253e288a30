"""Responses: read in full but not decoded, or read on demand."""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import msgspec
from msgspec import UNSET, UnsetType

from replicate_async._decoding import json_decoder
from replicate_async._files import ReadChunk, reader_of, save_file
from replicate_async._http.body import Body
from replicate_async._http.problem import portable_headers, snippet
from replicate_async._http.request import Request
from replicate_async.errors import APIResponseValidationError

T = TypeVar("T")
U = TypeVar("U")


class APIResponse(Generic[T]):
    """A response of the API, read in full.

    ``status_code``, ``headers``, ``method`` and ``url`` (with its query) describe the exchange, ``retries_taken`` is
    the number of retries before it. The body is available as ``read()``, ``text()``, ``json()`` and, decoded to the
    type that the method usually returns, ``parse()``.
    """

    __slots__ = ("_body", "_elapsed", "_parsed", "_request", "headers", "retries_taken", "status_code", "url")

    def __init__(
        self, request: Request[T], url: str, status_code: int, headers: Mapping[str, str], body: bytes, elapsed: float
    ) -> None:
        self._request = request
        self._body = body
        self._elapsed = elapsed
        self._parsed: T | UnsetType = UNSET
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
        """Return the body decoded to what the method returns without ``with_raw_response``: always the same object.

        Raises:
            APIResponseValidationError: the body has another shape.
        """
        if self._parsed is UNSET:
            value = self._decode(self._request.response_type)
            self._parsed = self._request.transform(value) if self._request.transform else value
        return cast("T", self._parsed)

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
        codecs.getincrementaldecoder(name)("replace").decode(bytes(range(256)), final=True)
    except (LookupError, ValueError):
        # The charset is unknown, or is a codec that does not decode every body to text.
        return "utf-8"
    return name


@lru_cache(maxsize=256)
def decoder_for(response_type: Any) -> Callable[[bytes], Any]:
    """Return the function that decodes a body to a type: ``bytes``, ``str``, None, or anything else from JSON."""
    decoders: dict[Any, Callable[[bytes], Any]] = {bytes: bytes, str: bytes.decode, None: lambda _: None}
    return decoders.get(response_type) or json_decoder(response_type)


class ReadBody:
    """The body of a response that was read in full, as ``AsyncStreamedResponse`` reads bodies."""

    def __init__(self, response: APIResponse[Any]) -> None:
        self.url: str = response.url
        self.status: int = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.closed: bool = False
        self._content = response.read()

    @property
    def reader(self) -> ReadChunk:
        """A function that reads the body in chunks."""
        return reader_of(self._content)

    async def read_all(self) -> bytes:
        """Return the whole body."""
        self.close()
        return self._content

    def close(self) -> None:
        """Note that the body was read, or is not needed."""
        self.closed = True


class AsyncStreamedResponse(Generic[T]):
    """A response of the API whose body is read on demand.

    It is closed when it has been read to its end, or by ``close``.
    """

    def __init__(self, request: Request[T], body: Body | ReadBody, elapsed: float, retries_taken: int) -> None:
        self._request = request
        self._body = body
        self._elapsed = elapsed
        self.status_code: int = body.status
        """The HTTP status."""
        self.headers: Mapping[str, str] = body.headers
        """The headers; their names are case-insensitive."""
        self.url: str = body.url
        """The requested URL, with its query."""
        self.method: str = request.method
        """The HTTP method of the request."""
        self.retries_taken: int = retries_taken
        """The number of retries before this response."""

    @property
    def elapsed(self) -> timedelta:
        """The time between sending the last attempt and the headers of the response."""
        return timedelta(seconds=self._elapsed)

    @property
    def is_closed(self) -> bool:
        """Whether the body was read to its end, or the response was closed."""
        return self._body.closed

    async def iter_bytes(self, chunk_size: int = 65536) -> AsyncGenerator[bytes, None]:
        """Yield the body in chunks as they arrive.

        Args:
            chunk_size: The maximum size of a chunk, in bytes.

        Raises:
            APIConnectionError: the connection broke before the end, or the response is closed.
            APIError: the body can't be decompressed, or a download can't be continued.
        """
        read = self._body.reader
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
            APIConnectionError: the connection broke before the end, or the response is closed.
            APIError: the body can't be decompressed, or a download can't be continued.
        """
        read, decoder = self._body.reader, self._text_decoder()
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
            APIConnectionError: the connection broke before the end, or the response is closed.
            APIError: the body can't be decompressed, or a download can't be continued.
        """
        # The pieces of an incomplete line, joined once: a long line may come in many.
        pieces: list[str] = []
        read, decoder, chunk = self._body.reader, self._text_decoder(), b"-"
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

    def _text_decoder(self) -> codecs.IncrementalDecoder:
        return codecs.getincrementaldecoder(_charset(self.headers))("replace")

    async def read(self) -> bytes:
        """Return the body.

        Raises:
            APIConnectionError: the connection broke before the end, or the response is closed.
            APIError: the body can't be decompressed, or a download can't be continued.
        """
        return await self._body.read_all()

    async def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the body to a file as it arrives. An incomplete file never has the final name.

        Args:
            path: The file to write. An existing file is replaced; a link, a device or a pipe is written to.

        Returns:
            The file's path.

        Raises:
            OSError: the file can't be written.
            APIConnectionError: the connection broke before the end, or the response is closed.
            APIError: the body can't be decompressed, or a download can't be continued.
        """
        return await save_file(self._body.reader, Path(path))

    async def text(self) -> str:
        """Return the body as text, in the charset of the response, or UTF-8.

        Raises:
            APIConnectionError: the connection broke before the end, or the response is closed.
            APIError: the body can't be decompressed, or a download can't be continued.
        """
        return (await read_response(self)).text()

    async def json(self) -> Any:
        """Return the body decoded from JSON, as plain dicts and lists.

        Raises:
            APIConnectionError: the connection broke before the end, or the response is closed.
            APIError: the body can't be decompressed, or a download can't be continued.
            APIResponseValidationError: the body is not JSON.
        """
        return (await read_response(self)).json()

    async def parse(self) -> T:
        """Return the body decoded to what the method usually returns.

        Raises:
            APIConnectionError: the connection broke before the end, or the response is closed.
            APIError: the body can't be decompressed, or a download can't be continued.
            APIResponseValidationError: the body has another shape.
        """
        return (await read_response(self)).parse()

    def map(self, function: Callable[[T], U]) -> AsyncStreamedResponse[U]:
        """Return this response with a function applied to the result of ``parse``."""
        return AsyncStreamedResponse(self._request.map(function), self._body, self._elapsed, self.retries_taken)

    async def close(self) -> None:
        """Close the response. The unread rest of the body is lost, and its connection is closed."""
        self._body.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} [{self.status_code}] {self.method} {self.url}>"


async def read_response(streamed: AsyncStreamedResponse[T]) -> APIResponse[T]:
    """Read a response in full."""
    body = await streamed.read()
    request = streamed._request  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    elapsed = streamed.elapsed.total_seconds()
    response = APIResponse(request, streamed.url, streamed.status_code, streamed.headers, body, elapsed)
    response.retries_taken = streamed.retries_taken
    return response


class AsyncResponseContext(Generic[T]):
    """A context manager that sends a request and gives its response, unread; leaving it closes the response."""

    def __init__(self, opening: Awaitable[AsyncStreamedResponse[T]]) -> None:
        self._opening = opening
        self._response: AsyncStreamedResponse[T] | None = None

    async def __aenter__(self) -> AsyncStreamedResponse[T]:
        """Send the request and return its response, unread. It raises what the method itself raises."""
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
