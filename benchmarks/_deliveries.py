"""A server for what takes its time, in a process of its own: event streams, uploads, and large files.

What a prediction streams is in its input: ``count`` events, ``rate`` a second, or with a rate of 0 all at once. The
data of each is the time at which it was written, by the clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
from itertools import count
from time import perf_counter
from typing import Any

from benchmarks._server import serve

_TICK = 0.005  # seconds between two writes where the rate is higher
_PIECE = b"\0" * 2**18
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
_SCHEMA = {
    "Input": {"type": "object", "title": "Input", "properties": {"count": {"type": "integer"}}},
    "Output": {
        "type": "array",
        "title": "Output",
        "items": {"type": "string"},
        "x-cog-array-type": "iterator",
        "x-cog-array-display": "concatenate",
    },
}
_VERSION = {
    "id": "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
    "created_at": "2025-01-01T00:00:00Z",
    "cog_version": "0.14.0",
    "openapi_schema": {"openapi": "3.0.2", "info": {"title": "Cog"}, "components": {"schemas": _SCHEMA}},
}
_MODEL = {"owner": "owner", "name": "name", "visibility": "public", "is_official": False, "latest_version": _VERSION}
_FILE = {
    "id": "file",
    "name": "file",
    "content_type": "application/octet-stream",
    "size": 1,
    "checksums": {},
    "metadata": {},
    "created_at": "2025-01-01T00:00:00Z",
    "expires_at": "2100-01-01T00:00:00Z",
    "urls": {"get": "https://files.example/file"},
}


class _Prediction:
    """A prediction, whose output is what its stream has written, or for those who look, would have written by now."""

    known: dict[str, _Prediction] = {}  # noqa: RUF012
    numbers = count()

    def __init__(self, inputs: dict[str, Any]) -> None:
        self.id = f"{next(self.numbers):026}"
        self.count: int = inputs.get("count", 0)
        self.rate: float = inputs.get("rate", 0)
        self.started = perf_counter()
        self.made: list[str] = []
        self.known[self.id] = self

    def due(self) -> int:
        """Return how many events there should be."""
        return self.count if not self.rate else min(self.count, int((perf_counter() - self.started) * self.rate))

    def make(self, *, streamed: bool = True) -> list[str]:
        """Return the events that have become due, as they go over the wire; made now, or for who looks, in time."""
        frames: list[str] = []
        for number in range(len(self.made), self.due()):
            self.made.append(repr(perf_counter() if streamed else self.started + (number + 1) / self.rate))
            frames.append(f"event: output\nid: 1:{number}\ndata: {self.made[-1]}\n\n")
        return frames

    def shown(self, origin: str) -> dict[str, Any]:
        done = len(self.made) == self.count
        return {
            "id": self.id,
            "model": "owner/name",
            "version": _VERSION["id"],
            "input": {},
            "output": self.made or None,
            "error": None,
            "logs": "",
            "data_removed": False,
            "status": "succeeded" if done else "processing",
            "created_at": "2025-01-01T00:00:00Z",
            "completed_at": "2025-01-01T00:00:00Z" if done else None,
            "urls": {"get": f"{origin}/v1/predictions/{self.id}", "stream": f"{origin}/stream/{self.id}"},
        }


class _Connection(asyncio.Protocol):
    _transport: asyncio.WriteTransport
    _received = b""
    _skip = 0
    _task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        self._writable = asyncio.Event()
        self._writable.set()
        host, port = transport.get_extra_info("sockname")
        self._origin = f"http://{host}:{port}"

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        if self._skip:  # what is uploaded isn't kept
            self._skip -= len(data)
            if not self._skip:
                self._answer(_FILE)
            return
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].decode("latin-1")
            end += 4
            _, found, rest = head.lower().partition("content-length:")
            length = int(rest.partition("\r\n")[0]) if found else 0
            method, path, _ = head.split(" ", 2)
            if path == "/v1/files":
                self._skip = length - (len(self._received) - end)
                self._received = b""
                if not self._skip:
                    self._answer(_FILE)
                return
            if len(self._received) < end + length:
                return
            body, self._received = self._received[end : end + length], self._received[end + length :]
            self._respond(method, path, body)

    def _respond(self, method: str, path: str, body: bytes) -> None:
        last = path.rpartition("/")[2]
        if method == "POST":
            self._answer(_Prediction(json.loads(body)["input"]).shown(self._origin))
        elif path.startswith("/v1/models/"):
            versions = {"results": [_VERSION], "next": None, "previous": None}
            self._answer(versions if last == "versions" else _MODEL)
        elif path.startswith("/v1/predictions/"):
            prediction = _Prediction.known[last]
            prediction.make(streamed=False)
            self._answer(prediction.shown(self._origin))
        elif path.startswith("/stream/"):
            self._task = asyncio.ensure_future(self._stream(_Prediction.known[last]))
        else:
            self._task = asyncio.ensure_future(self._send(int(last)))

    def _answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)

    async def _stream(self, prediction: _Prediction) -> None:
        self._transport.write(_STREAM)
        while len(prediction.made) < prediction.count:
            if frames := prediction.make():
                self._transport.write("".join(frames).encode())
            await asyncio.sleep(max(_TICK, 1 / prediction.rate) if prediction.rate else 0)
        self._transport.write(b"event: done\ndata: {}\n\n")
        self._transport.close()

    async def _send(self, size: int) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
        self._transport.write(head.encode())
        for start in range(0, size, len(_PIECE)):
            await self._writable.wait()
            self._transport.write(_PIECE[: size - start])


if __name__ == "__main__":
    asyncio.run(serve(_Connection))
