"""Bodies that note when their first byte goes out. Imported with the first session, because aiohttp takes long."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp.payload import BytesIOPayload, BytesPayload

if TYPE_CHECKING:
    from aiohttp.abc import AbstractStreamWriter

# Larger bodies are sent as files in memory, because aiohttp writes bytes in one go.
_MAX_BYTES_AT_ONCE = 2**20


class _WatchedBytes(BytesPayload):
    """A small body. aiohttp writes it when the connection is ready."""

    def __init__(self, body: bytes, on_write: Callable[[], None]) -> None:
        super().__init__(body)
        self._on_write = on_write

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._on_write()
        await super().write(writer)

    # aiohttp 3.12 and later call this instead.
    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self._on_write()
        await super().write_with_length(writer, content_length)


class _WatchedFile(BytesIOPayload):
    """A large body, written in chunks."""

    def __init__(self, body: bytes, on_write: Callable[[], None]) -> None:
        super().__init__(io.BytesIO(body))
        self._on_write = on_write

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._on_write()
        await super().write(writer)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        self._on_write()
        await super().write_with_length(writer, content_length)


def watched_payload(body: bytes, on_write: Callable[[], None]) -> BytesPayload | BytesIOPayload:
    """Return a body as aiohttp takes it; the function is called when its first byte may go out."""
    return (_WatchedFile if len(body) > _MAX_BYTES_AT_ONCE else _WatchedBytes)(body, on_write)
