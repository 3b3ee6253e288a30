"""A server for the worst: it speaks TCP only, and follows a script of answers, good and bad."""

from __future__ import annotations

import asyncio
import json
import socket
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

# Bytes are written, and the connection stays open for the next request; after a function the connection is closed.
Step = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class RawRequest:
    """A request as it came; the names of headers are in lower case."""

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
    """Answers each request with the next step of its script; the last step is repeated for ever.

    A step of None hangs up on a connection before its request is read.
    """

    def __init__(self, *steps: Step | None, port: int = 0) -> None:
        self.port = port
        self.requests: list[RawRequest] = []
        self.connections = 0
        self.steps = list(steps)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The server's origin."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_error: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def client(self, **options: Any) -> AsyncReplicate:
        """Return a client of this server."""
        return AsyncReplicate(bearer_token=TOKEN, base_url=f"{self.url}/v1", **options)

    def _next_step(self) -> Step | None:
        return self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._follow(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the test is over
        finally:
            self._tasks.discard(task)
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
    """Return an answer as it goes over the wire; what isn't bytes becomes JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + content


async def close(writer: asyncio.StreamWriter) -> None:
    """Close the connection without an answer."""


async def reset(writer: asyncio.StreamWriter) -> None:
    """Break the connection off, so that the client sees a reset."""
    made: socket.socket = writer.get_extra_info("socket")
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def stall(writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


def part_of(data: bytes) -> Step:
    """Send something, and close the connection."""

    async def step(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()

    return step


def drip(data: bytes, *, every: float, size: int = 1) -> Step:
    """Send something a few bytes at a time."""

    async def step(writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await writer.drain()
            await asyncio.sleep(every)

    return step


def after(seconds: float, data: bytes) -> Step:
    """Answer late."""

    async def step(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(seconds)
        writer.write(data)
        await writer.drain()

    return step


def record_pauses() -> list[float]:
    """Let clients note their pauses in the list that is returned, instead of making them."""
    sdk_clock.current = clock = JumpingClock()
    return clock.pauses


class JumpingClock:
    """A clock that jumps instead of waiting, and notes how far; give it something else to do in a pause."""

    def __init__(self, sleep: Callable[[float], Awaitable[None]] | None = None) -> None:
        self.pauses: list[float] = []
        self._seconds = 0.0
        self._sleep = sleep

    def now(self) -> datetime:
        """Return the real date and time."""
        return datetime.now(timezone.utc)

    def monotonic(self) -> float:
        """Return the seconds that were jumped over."""
        return self._seconds

    async def sleep(self, seconds: float) -> None:
        """Jump."""
        self.pauses.append(seconds)
        await (asyncio.sleep(0) if self._sleep is None else self._sleep(seconds))
        self._seconds += seconds

    def busy(self) -> Callable[[], None]:
        """Take note of nothing: a jump is a jump."""
        return lambda: None

    def call_later(self, seconds: float, callback: Callable[[], None]) -> asyncio.Task[None]:
        """Jump soon, and call back."""

        async def later() -> None:
            await self.sleep(seconds)
            callback()

        return asyncio.ensure_future(later())


def free_port() -> int:
    """Return a port on which nobody listens."""
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
