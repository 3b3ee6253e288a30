"""Answers as bytes on a connection: whole, in pieces as they come, or as a fault wants them."""

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

from ._calls import Answer, Call
from ._clock import Clock

_JOURNAL_LIMIT = 2**20
_PIECE = 2**18  # more at once would have the loop copy it all, and nobody served meanwhile
_DRIP = 0.05  # seconds between two drops


class Sender:
    """Sends the answers of one server."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second, self._date = -1, ""

    def simple(self, call: Call, answer: Answer) -> web.Response:
        """Return the response for a simple answer."""
        self._note(call, answer)
        return web.Response(body=answer.body or None, status=answer.status, headers=self._headers(answer))

    async def send(self, request: web.Request, call: Call, answer: Answer) -> web.StreamResponse:
        """Send any answer."""
        self._note(call, answer)
        if answer.ending == "reset":
            _reset(request)
            return web.Response()  # which goes nowhere
        response = web.StreamResponse(status=answer.status, headers=self._headers(answer))
        chunks = answer.chunks
        if chunks is None:
            size = len(answer.body)
            response.content_length = min(size, answer.cut) if answer.cut is not None and answer.clean else size
            chunks = _pieces(answer.body)
        try:
            if answer.ending == "stall":
                await asyncio.Event().wait()
            async with aclosing(chunks):
                await response.prepare(request)
                complete = request.method == "HEAD" or await self._write(response, answer, chunks)
            if complete or answer.clean:
                await response.write_eof()
            elif request.transport is not None:
                request.transport.close()
        except ConnectionError:
            call.disconnected = True
        except asyncio.CancelledError:
            call.disconnected = True
            raise
        return response

    async def _write(self, response: web.StreamResponse, answer: Answer, chunks: AsyncGenerator[bytes, None]) -> bool:
        """Write the body; return False if it was cut."""
        left = sys.maxsize if answer.cut is None else answer.cut
        if left == 0:
            return False
        async for chunk in chunks:
            piece = chunk[:left]
            left -= len(piece)
            if answer.rate is None:
                await response.write(piece)
            else:
                size = max(1, round(answer.rate * _DRIP))
                for start in range(0, len(piece), size):
                    drop = piece[start : start + size]
                    await self._clock.sleep(len(drop) / answer.rate)
                    await response.write(drop)
            if left == 0:
                return False
        return True

    def _note(self, call: Call, answer: Answer) -> None:
        call.status = answer.status
        if len(call.body) > _JOURNAL_LIMIT:
            call.body = call.body[:_JOURNAL_LIMIT]

    def _headers(self, answer: Answer) -> CIMultiDict[str]:
        second = int(self._clock.now().timestamp())
        if second != self._second:
            self._second, self._date = second, formatdate(second, usegmt=True)
        headers = CIMultiDict({"Date": self._date})
        if answer.content_type is not None:
            headers["Content-Type"] = answer.content_type
        headers.update(answer.headers or {})  # however their names are written
        return headers


def is_simple(answer: Answer) -> bool:
    """Return whether an answer can go out at once, as almost all do."""
    return (
        answer.chunks is None
        and len(answer.body) <= _PIECE
        and answer.ending is None
        and answer.cut is None
        and answer.rate is None
    )


def _reset(request: web.Request) -> None:
    """Have the operating system answer with RST: a client sees ``Connection reset by peer``."""
    if request.transport is not None:
        linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
        request.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        request.transport.abort()


async def _pieces(body: bytes) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(body), _PIECE):
        yield body[start : start + _PIECE]
