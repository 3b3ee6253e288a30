"""Bodies that are read on demand. A download continues where its connection broke."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_async._files import CHUNK_SIZE, ReadChunk, reader_of
from replicate_async._http.call import Call
from replicate_async._http.options import Settings, max_retries_of
from replicate_async._http.problem import connection_error
from replicate_async._http.retry import retry
from replicate_async.errors import APIConnectionError, APIResponseValidationError, APIStatusError

if TYPE_CHECKING:
    import aiohttp

_MAX_RESTARTS = 2
# RFC 9110, section 14.4
_CONTENT_RANGE = re.compile(r"\s*bytes\s+(\d{1,18})-\d{1,18}/(\d{1,18}|\*)\s*", re.IGNORECASE)
# zlib finds out by itself which of the two it is.
_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})
_ANY_HEADER = 32 + zlib.MAX_WBITS


class Body:
    """The body of a response, read on demand.

    If the request is resumable, a broken connection is replaced by another one for the rest. A body counts as complete
    only if it has the announced length, and if its compression has ended.
    """

    def __init__(
        self,
        call: Call[Any],
        response: aiohttp.ClientResponse,
        settings: Settings,
        reopen: Callable[[Call[Any]], Awaitable[aiohttp.ClientResponse]],
    ) -> None:
        self.url: str = call.url
        # Those of the first response.
        self.status: int = response.status
        self.headers: Mapping[str, str] = response.headers
        self.closed: bool = False
        self._call = call
        self._settings = settings
        self._reopen = reopen
        # The caller may have asked for a range.
        self._resumable = call.request.resumable and "Range" not in call.headers
        self._restarts = 0
        self._content: bytes | None = None
        self._begin(response)

    def _begin(self, response: aiohttp.ClientResponse) -> None:
        """Start to read the body from its first byte."""
        self._current = response
        self._validator = _validator(response.headers)
        self._position = self._skip = 0
        self._size = None
        if self._resumable:
            start, self._size = _range(response)
            if start != 0:
                response.close()
                raise self._invalid("the response is a part of the content only, which was not asked for")
        self._encoding = _encoding(response.headers)
        if self._encoding not in {*_ENCODINGS, "identity"}:
            response.close()
            raise self._invalid(f"the body has an encoding that was not asked for: {self._encoding!r}")
        self._decoder = zlib.decompressobj(_ANY_HEADER) if self._encoding in _ENCODINGS else None
        self._encoded = b""

    async def read(self, size: int, on_restart: Callable[[], object] | None = None, /) -> bytes:
        """Return the next chunk, or ``b""`` at the end.

        Args:
            size: The maximum size of the chunk, in bytes.
            on_restart: Called if the content starts over, because it has changed or can't be continued. If None, that
                is an error.

        Raises:
            APIConnectionError: the connection broke, and the rest can't be fetched; or the body is closed.
            APIResponseValidationError: the body can't be decompressed.
            APIStatusError: the rest can't be fetched, because the server refuses it.
        """
        if self.closed:
            raise APIConnectionError("the response is closed", method=self._call.request.method, url=self._call.url)
        try:
            try:
                chunk = await self._read(size)
            except APIConnectionError as error:
                failure = error
                if self.closed or not self._resumable or not (self._can_continue or self._can_restart(on_restart)):
                    raise
                chunk, _ = await retry(
                    self._call, failure, lambda: self._resume(failure, size, on_restart), self._settings
                )
        except BaseException:
            self.close()
            raise
        if not chunk:
            self.close()
        return chunk

    async def read_all(self) -> bytes:
        """Return the whole body."""
        if self._content is None:
            chunks: list[bytes] = []
            while chunk := await self.read(CHUNK_SIZE, chunks.clear):
                chunks.append(chunk)
            self._content = b"".join(chunks)
        return self._content

    @property
    def reader(self) -> ReadChunk:
        """A function that reads the body in chunks: from the start, if it has been read as a whole."""
        return self.read if self._content is None else reader_of(self._content)

    def close(self) -> None:
        """Release the connection; it is closed if a part of the body is unread."""
        self.closed = True
        self._current.release()

    @property
    def _can_continue(self) -> bool:
        return self._validator is not None or not self._position

    def _can_restart(self, on_restart: Callable[[], object] | None) -> bool:
        max_retries = max_retries_of(self._settings, self._call.request.options)
        return on_restart is not None and self._restarts < (_MAX_RESTARTS if max_retries is None else max_retries)

    async def _resume(self, failure: APIConnectionError, size: int, on_restart: Callable[[], object] | None) -> bytes:
        """Open another connection, and return the first chunk after the ones that have been read.

        Source: RFC 9110, sections 13.1.5 (If-Range) and 14.2 (Range)
        """
        from multidict import CIMultiDict

        self._current.close()
        if not (self._can_continue or self._can_restart(on_restart)):
            raise failure
        headers = CIMultiDict(self._call.headers)
        if self._position and self._validator:
            headers.update({"Range": f"bytes={self._position}-", "If-Range": self._validator})
        try:
            response = await self._reopen(msgspec.structs.replace(self._call, headers=headers))
        except APIStatusError as error:
            if error.status_code != 416:
                raise
            # There is no such range. The next attempt starts over.
            self._validator = None
            raise failure from error
        self._current = response
        start, whole_size = _range(response) if response.status in {200, 206} else (None, None)
        validator = _validator(response.headers)
        is_same = (
            self._validator is not None
            and (validator == self._validator or (validator is None and response.status == 206))
            and _encoding(response.headers) == self._encoding
        )
        if is_same and start is not None and start <= self._position and whole_size in {None, self._size or whole_size}:
            # Some servers ignore ranges. The bytes that were read before are skipped.
            self._skip = self._position - start
        elif start != 0 or (self._position and not self._can_restart(on_restart)):
            self._validator = None
            raise failure
        else:
            self._restarts += self._position > 0
            if on_restart is not None:
                on_restart()
            self._begin(response)
        return await self._read(size)

    async def _read(self, size: int) -> bytes:
        """Return the next chunk of this connection, or ``b""`` at the end."""
        import aiohttp

        try:
            while True:
                if not self._encoded:
                    raw = await self._read_raw(size)
                    if self._decoder is None or not raw:
                        return raw
                    self._encoded = raw
                if chunk := self._decode(size):
                    return chunk
        except zlib.error as error:
            raise self._invalid(f"the body can't be decompressed: {error}") from error
        except (aiohttp.ClientError, OSError, asyncio.TimeoutError) as error:
            raise connection_error(error, self._call.request.method, self._call.url) from error

    async def _read_raw(self, size: int) -> bytes:
        """Return bytes as they were sent; raises an error at an end that came too soon."""
        import aiohttp

        content = self._current.content
        while True:
            try:
                raw = await content.read(size)
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
                # aiohttp raises an error before it returns what had arrived.
                if not (raw := content._read_nowait(size)):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
                    raise
            if not raw:
                break
            skipped = min(self._skip, len(raw))
            self._skip -= skipped
            self._position += len(raw) - skipped
            if len(raw) > skipped:
                return raw[skipped:]
        if self._skip or (self._size is not None and self._position < self._size):
            raise aiohttp.ClientPayloadError(f"{self._position:,} of {self._size or 'more'} bytes arrived")
        if self._decoder is not None and self._position and not self._decoder.eof:
            raise aiohttp.ClientPayloadError("the compressed body is cut off")
        return b""

    def _decode(self, size: int) -> bytes:
        assert self._decoder is not None  # noqa: S101
        if self._decoder.eof:
            # Compressed files may be concatenated.
            self._decoder = zlib.decompressobj(_ANY_HEADER)
        chunk = self._decoder.decompress(self._encoded, size)
        self._encoded = self._decoder.unused_data or self._decoder.unconsumed_tail
        return chunk

    def _invalid(self, message: str) -> APIResponseValidationError:
        return APIResponseValidationError(
            message, method=self._call.request.method, url=self._call.url, status_code=self.status
        )


def _validator(headers: Mapping[str, str]) -> str | None:
    """Return what If-Range compares: a strong entity tag, or else the date of the last change."""
    tag = headers.get("ETag", "W/")
    return headers.get("Last-Modified") if tag.startswith("W/") else tag


def _encoding(headers: Mapping[str, str]) -> str:
    """Return how a body is compressed."""
    return headers.get("Content-Encoding", "").strip().lower() or "identity"


def _range(response: aiohttp.ClientResponse) -> tuple[int | None, int | None]:
    """Return the position at which a response begins, and the size of the whole content, as far as they are known."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if response.status == 206 and match is None:
        return None, None
    if response.status != 206 or match is None:
        # Transfer-Encoding: chunked takes precedence. RFC 9112, section 6.3
        length = "" if "Transfer-Encoding" in response.headers else response.headers.get("Content-Length", "")
        return 0, int(length) if re.fullmatch(r"\d{1,18}", length) else None
    return int(match[1]), None if match[2] == "*" else int(match[2])


def decompress(body: bytes, headers: Mapping[str, str], max_size: int) -> bytes:
    """Return a body without its compression, as far as it can be read."""
    if headers.get("Content-Encoding", "").lower() not in _ENCODINGS:
        return body
    try:
        return zlib.decompressobj(_ANY_HEADER).decompress(body, max_size)
    except zlib.error:
        return body
