"""The local server: its start, instant predictions from another process, and thousands of pending predictions."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from benchmarks._table import OURS, Benchmark
from replicate_async.testing import LocalServer, ServerProcess, models
from replicate_async.types import PageData, Prediction

if TYPE_CHECKING:
    from typing_extensions import Self

_CONNECTIONS = 32
_INSTANT = 8000
_PENDING = 10_000
_decode = msgspec.json.Decoder(PageData[Prediction]).decode


def register(server: LocalServer) -> None:
    """Register a model that responds immediately, a model that waits, and a model that ends the wait."""
    released = asyncio.Event()
    models.register(server)

    @server.model("benchmark/wait", official=True)
    async def wait() -> str:
        await released.wait()
        return "done"

    @server.model("benchmark/release", official=True)
    async def release() -> None:
        released.set()


class _Connection(asyncio.Protocol):
    """Sends requests one after the other with as little work as possible, so that the benchmark measures the server."""

    def __init__(self) -> None:
        self.received = b""
        self.transport: Any = None
        self._response: asyncio.Future[bytes] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += data
        head, blank, body = self.received.partition(b"\r\n\r\n")
        if blank and len(body) == int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0]):
            assert head.startswith(b"HTTP/1.1 2"), self.received
            self.received = b""
            assert self._response is not None
            self._response.set_result(body)

    async def call(self, request: bytes) -> bytes:
        self._response = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return await self._response


class _Client:
    """Several connections to a server in another process."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self._connections: list[_Connection] = []

    async def __aenter__(self) -> Self:
        address = urlsplit(self._server.url)
        for _ in range(_CONNECTIONS):
            loop = asyncio.get_running_loop()
            _, connection = await loop.create_connection(_Connection, address.hostname, address.port)
            self._connections.append(connection)
        return self

    async def __aexit__(self, *error: object) -> None:
        for connection in self._connections:
            connection.transport.close()

    def _request(self, method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
        head = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self._server.token}", *headers]
        return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body

    async def run(self, model: str, inputs: bytes, count: int, *headers: str) -> None:
        """Create predictions, one at a time on each connection."""
        request = self._request("POST", f"/v1/models/{model}/predictions", b'{"input":%s}' % inputs, *headers)

        async def call_repeatedly(connection: _Connection, times: int) -> None:
            for _ in range(times):
                await connection.call(request)

        quotient, remainder = divmod(count, _CONNECTIONS)
        shares = [quotient + (number < remainder) for number in range(_CONNECTIONS)]
        await asyncio.gather(*map(call_repeatedly, self._connections, shares))

    async def pages(self) -> list[Prediction]:
        """Return all predictions, fetched page by page."""
        predictions: list[Prediction] = []
        path: str | None = "/v1/predictions"
        while path:
            page = _decode(await self._connections[0].call(self._request("GET", path)))
            predictions += page.results
            path = page.next and page.next.removeprefix(self._server.url)
        return predictions


def _start() -> float:
    server = LocalServer()
    models.register(server)
    started = perf_counter()
    with server:
        return perf_counter() - started


async def _instant() -> float:
    with LocalServer.process() as server:
        async with _Client(server) as client:
            await client.run("replicate/hello-world", b'{"text":"Alice"}', 200, "Prefer: wait")
            started = perf_counter()
            await client.run("replicate/hello-world", b'{"text":"Alice"}', _INSTANT, "Prefer: wait")
            seconds = (perf_counter() - started) / _INSTANT
            newest = (await client.pages())[:_INSTANT]
            assert [prediction.output for prediction in newest] == ["hello Alice"] * _INSTANT
            return seconds


async def _pending() -> tuple[float, float, float]:
    """Return the seconds to create one of many pending predictions, to list a page of them, and to end them all."""
    with LocalServer.process("benchmarks.test_kit:register") as server:
        async with _Client(server) as client:
            started = perf_counter()
            await client.run("benchmark/wait", b"{}", _PENDING)
            created = perf_counter()
            pending = await client.pages()
            listed = perf_counter()
            assert len({prediction.id for prediction in pending if not prediction.done}) == _PENDING
            await client.run("benchmark/release", b"{}", 1, "Prefer: wait")
            while not all(prediction.done for prediction in await client.pages()):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            ended = perf_counter()
            outputs = [prediction.output for prediction in await client.pages()]
            assert outputs == [None, *["done"] * _PENDING]
    return (created - started) / _PENDING, (listed - created) / (_PENDING / 100), ended - listed


def benchmarks(_url: str) -> Iterator[Benchmark]:
    """Yield the benchmarks of this module. Each starts its own server."""
    yield Benchmark("starting a local server in a thread", {OURS: _start}, [], limit=0.05)
    yield Benchmark(
        "an instant prediction, from another process", {OURS: lambda: asyncio.run(_instant())}, [], limit=1 / 2000
    )
    title = f"{_PENDING:,} predictions pending at once"
    yield Benchmark(f"{title}: creating a prediction", {OURS: lambda: asyncio.run(_pending())[0]}, [], limit=1 / 2000)
    yield Benchmark(f"{title}: a page of 100", {OURS: lambda: asyncio.run(_pending())[1]}, [], limit=0.005)
    yield Benchmark(f"{title}: until all have ended", {OURS: lambda: asyncio.run(_pending())[2]}, [], limit=5)
