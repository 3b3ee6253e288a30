"""A server for event streams, uploads, and large files, which runs in its own process.

The input of a prediction sets its stream: ``count`` events at ``rate`` events per second, or all at once if the rate
is 0. The data of each event is the time when it was written, by the clock that all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
from itertools import count
from time import perf_counter
from typing import Any

from benchmarks._server import serve

_MIN_WRITE_INTERVAL = 0.005  # seconds
_CHUNK = b"\0" * 2**18
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
    """A prediction. Its output is what its stream has written, or would have written by now if it is polled."""

    by_id: dict[str, _Prediction] = {}  # noqa: RUF012
    numbers = count()

    def __init__(self, inputs: dict[str, Any]) -> None:
        self.id = f"{next(self.numbers):026}"
        self.count: int = inputs.get("count", 0)
        self.rate: float = inputs.get("rate", 0)
        self.started = perf_counter()
        self.pieces: list[str] = []
        self.by_id[self.id] = self

    def due(self) -> int:
        """Return the number of events that are due by now."""
        return self.count if not self.rate else min(self.count, int((perf_counter() - self.started) * self.rate))

    def advance(self, *, streamed: bool = True) -> list[str]:
        """Add the events that have become due, and return their frames.

        The data of an event is the current time if the event is streamed, or the time when it was due if it is polled.
        """
        frames: list[str] = []
        for number in range(len(self.pieces), self.due()):
            self.pieces.append(repr(perf_counter() if streamed else self.started + (number + 1) / self.rate))
            frames.append(f"event: output\nid: 1:{number}\ndata: {self.pieces[-1]}\n\n")
        return frames

    def to_dict(self, origin: str) -> dict[str, Any]:
        done = len(self.pieces) == self.count
        return {
            "id": self.id,
            "model": "owner/name",
            "version": _VERSION["id"],
            "input": {},
            "output": self.pieces or None,
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
        # The content of an upload is discarded.
        if self._skip:
            self._skip -= len(data)
            if not self._skip:
                self._respond_json(_FILE)
            return
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].decode("latin-1")
            end += 4
            _, separator, rest = head.lower().partition("content-length:")
            length = int(rest.partition("\r\n")[0]) if separator else 0
            method, path, _ = head.split(" ", 2)
            if path == "/v1/files":
                self._skip = length - (len(self._received) - end)
                self._received = b""
                if not self._skip:
                    self._respond_json(_FILE)
                return
            if len(self._received) < end + length:
                return
            body, self._received = self._received[end : end + length], self._received[end + length :]
            self._respond(method, path, body)

    def _respond(self, method: str, path: str, body: bytes) -> None:
        last = path.rpartition("/")[2]
        if method == "POST":
            self._respond_json(_Prediction(json.loads(body)["input"]).to_dict(self._origin))
        elif path.startswith("/v1/models/"):
            versions = {"results": [_VERSION], "next": None, "previous": None}
            self._respond_json(versions if last == "versions" else _MODEL)
        elif path.startswith("/v1/predictions/"):
            prediction = _Prediction.by_id[last]
            prediction.advance(streamed=False)
            self._respond_json(prediction.to_dict(self._origin))
        elif path.startswith("/stream/"):
            self._task = asyncio.ensure_future(self._stream(_Prediction.by_id[last]))
        else:
            self._task = asyncio.ensure_future(self._send(int(last)))

    def _respond_json(self, value: Any) -> None:
        body = json.dumps(value).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)

    async def _stream(self, prediction: _Prediction) -> None:
        self._transport.write(_STREAM)
        while len(prediction.pieces) < prediction.count:
            if frames := prediction.advance():
                self._transport.write("".join(frames).encode())
            await asyncio.sleep(max(_MIN_WRITE_INTERVAL, 1 / prediction.rate) if prediction.rate else 0)
        self._transport.write(b"event: done\ndata: {}\n\n")
        self._transport.close()

    async def _send(self, size: int) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n"
        self._transport.write(head.encode())
        for start in range(0, size, len(_CHUNK)):
            await self._writable.wait()
            self._transport.write(_CHUNK[: size - start])


if __name__ == "__main__":
    asyncio.run(serve(_Connection))
