"""Sends responses on a connection: at once, in chunks as they come, or as a fault demands."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from email.utils import formatdate

from aiohttp import web
from multidict import CIMultiDict

from ._calls import Call, Response
from ._real_clock import Clock

_MAX_JOURNAL_BYTES = 2**20
# The loop would copy a larger chunk in one go, and serve no other request meanwhile.
_CHUNK_BYTES = 2**18
_DRIP_SECONDS = 0.05


class ResponseWriter:
    """Sends the responses of one server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second, self._date = -1, ""

    def build(self, call: Call, response: Response) -> web.Response:
        """Return a simple response as aiohttp sends it."""
        self._record(call, response)
        return web.Response(body=response.body or None, status=response.status, headers=self._headers(response))

    async def send(self, request: web.Request, call: Call, response: Response) -> web.StreamResponse:
        """Send any response."""
        self._record(call, response)
        if response.abort == "reset":
            _reset(request)
            # The connection is gone, so aiohttp doesn't send this.
            return web.Response()
        stream = web.StreamResponse(status=response.status, headers=self._headers(response))
        chunks = response.chunks
        if chunks is None:
            size, limit = len(response.body), response.truncate_at
            stream.content_length = min(size, limit) if limit is not None and response.clean_end else size
            chunks = _split(response.body)
        try:
            if response.abort == "stall":
                await asyncio.Event().wait()
            async with aclosing(chunks):
                await stream.prepare(request)
                complete = request.method == "HEAD" or await self._write(stream, response, chunks)
            if complete or response.clean_end:
                await stream.write_eof()
            elif request.transport is not None:
                request.transport.close()
        except ConnectionError:
            call.disconnected = True
        except asyncio.CancelledError:
            call.disconnected = True
            raise
        return stream

    async def _write(self, stream: web.StreamResponse, response: Response, chunks: AsyncGenerator[bytes, None]) -> bool:
        """Write the body; return False if it was truncated."""
        remaining = sys.maxsize if response.truncate_at is None else response.truncate_at
        if remaining == 0:
            return False
        async for chunk in chunks:
            piece = chunk[:remaining]
            remaining -= len(piece)
            if response.bytes_per_second is None:
                await stream.write(piece)
            else:
                size = max(1, round(response.bytes_per_second * _DRIP_SECONDS))
                for start in range(0, len(piece), size):
                    drop = piece[start : start + size]
                    await self._clock.sleep(len(drop) / response.bytes_per_second)
                    await stream.write(drop)
            if remaining == 0:
                return False
        return True

    def _record(self, call: Call, response: Response) -> None:
        call.status = response.status
        if len(call.body) > _MAX_JOURNAL_BYTES:
            call.body = call.body[:_MAX_JOURNAL_BYTES]

    def _headers(self, response: Response) -> CIMultiDict[str]:
        second = int(self._clock.now().timestamp())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True)
        headers = CIMultiDict({"Date": self._date})
        if response.content_type is not None:
            headers["Content-Type"] = response.content_type
        # A fault's headers replace these, in upper or lower case.
        headers.update(response.headers or {})
        return headers


def is_simple(response: Response) -> bool:
    """Return whether a response can be sent at once, as almost all can."""
    return (
        response.chunks is None
        and len(response.body) <= _CHUNK_BYTES
        and response.abort is None
        and response.truncate_at is None
        and response.bytes_per_second is None
    )


def _reset(request: web.Request) -> None:
    """Make the operating system send an RST: the client sees ``Connection reset by peer``."""
    if request.transport is not None:
        linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        request.transport.abort()


async def _split(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), _CHUNK_BYTES):
        yield body[start : start + _CHUNK_BYTES]
