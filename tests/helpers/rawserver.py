"""A server on a bare TCP socket that follows a script of responses, valid and broken."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from replicate_async import AsyncReplicate
from replicate_async._http import clock as sdk_clock

if TYPE_CHECKING:
    from typing_extensions import Self

TOKEN = "r8_ThisMustNeverBeSeenAnywhere"

# Bytes are sent, and the connection stays open for the next request. After a function, the connection is closed.
Step = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawRequest:
    """A request as it arrived; the names of headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    lines: list[str]

    def header_values(self, name: str) -> list[str]:
        """Return all values of a header that was sent."""
        fields = [line.partition(":") for line in self.lines]
        return [value.strip() for field, _, value in fields if field.lower() == name.lower()]


class RawServer:
    """Responds to each request with the next step of its script; the last step is repeated.

    A step of None closes a connection before its request is read.
    """

    def __init__(self, *steps: Step | None, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.tls = tls
        self.requests: list[RawRequest] = []
        self.connections = 0
        self.steps = list(steps)
        # The tasks that serve open connections.
        self.open_connections: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The server's origin."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        for task in self.open_connections:
            task.cancel()
        await asyncio.gather(*self.open_connections, return_exceptions=True)
        await self._server.wait_closed()

    def client(self, **options: Any) -> AsyncReplicate:
        """Return a client of this server."""
        return AsyncReplicate(bearer_token=TOKEN, base_url=f"{self.url}/v1", **options)

    def _next_step(self) -> Step | None:
        return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.open_connections.add(task)
        self.connections += 1
        try:
            await self._follow(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The client has disconnected, or the test is over.
            pass
        finally:
            self.open_connections.discard(task)
            writer.close()

    async def _follow(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            if self.steps[0] is None:
                self._next_step()
                return
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip("\r\n").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            method, target, _ = first.split(" ")
            self.requests.append(RawRequest(method, target, headers, body, lines))
            step = self._next_step()
            if not isinstance(step, bytes):
                assert step is not None
                await step(writer)
                return
            writer.write(step)
            await writer.drain()


def answer(status: int = 200, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
    """Return a response as it goes over the wire. A body other than bytes is encoded as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + content


async def close(writer: asyncio.StreamWriter) -> None:
    """Close the connection without a response."""


async def reset(writer: asyncio.StreamWriter) -> None:
    """Reset the connection."""
    connection: socket.socket = writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def stall(writer: asyncio.StreamWriter) -> None:
    """Never respond."""
    await asyncio.Event().wait()


def part_of(data: bytes) -> Step:
    """Send bytes and close the connection."""

    async def step(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return step


def drip(data: bytes, *, every: float, size: int = 1) -> Step:
    """Send bytes a few at a time."""

    async def step(writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            await asyncio.sleep(every)

    return step


def after(seconds: float, data: bytes) -> Step:
    """Send bytes after a delay."""

    async def step(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(data)
        await writer.drain()

    return step


def record_pauses() -> list[float]:
    """Return a list that records the delays of clients, which do not wait from now on."""
    sdk_clock.current = clock = JumpingClock()
    return clock.pauses


class JumpingClock:
    """A clock that records delays and jumps over them. ``sleep`` is awaited during each delay."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]] | None = None) -> None:
        self.pauses: list[float] = []
        self._seconds = 0.0
        self._sleep = sleep

    def now(self) -> datetime:
        """Return the real date and time."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return the sum of all delays."""
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        """Record a delay and jump over it."""
        self.pauses.append(seconds)
        await (asyncio.sleep(0) if self._sleep is None else self._sleep(seconds))
        self._seconds += seconds

    def busy(self) -> Callable[[], None]:
        """Mark nothing, because this clock jumps only over its own delays."""
        return lambda: None

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.Task[None]:
        """Jump over a delay soon, and run a callback."""

        async def later() -> None:
            await self.sleep(seconds)
            callback()

        return asyncio.ensure_future(later())


def free_port() -> int:
    """Return a port without a listener."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


ACCOUNT = {"type": "user", "username": "alice", "name": "Alice"}


def prediction(**fields: Any) -> dict[str, Any]:
    """Return a prediction as the API sends it."""
    return {
        "id": "abcdefghijklmnopqrstuvwxyz",
        "model": "owner/name",
        "version": "hidden",
        "input": {},
        "output": None,
        "error": None,
        "logs": "",
        "status": "starting",
        "created_at": "2025-01-01T00:00:00.000000Z",
        "data_removed": False,
        "urls": {},
        **fields,
    }
