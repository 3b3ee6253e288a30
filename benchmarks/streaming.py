"""Event streams: latency, throughput, and the time per event."""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Callable, Iterator
from statistics import median
from time import perf_counter

import aiohttp
import replicate as official
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from replicate.lib._predictions_use import use as official_use

import replicate_async
from benchmarks._server import running
from benchmarks._table import OURS, Benchmark, Bound
from replicate_async._http.sse import SSEDecoder as OurSSEDecoder

_TOKEN = "r8_benchmark"
_REF = "owner/name"
_STREAMS, _RATE, _SECONDS = 50, 1000, 2
_ASYNC = "replicate_async, asyncio"
_EVENTS = 10_000


async def _official(url: str, count: int, rate: float) -> AsyncIterator[str]:
    class Client(official.AsyncReplicate):
        def __init__(self) -> None:
            super().__init__(bearer_token=_TOKEN, base_url=url)

    # This is what ``use`` in the official module does. The method of the official client fails.
    async for piece in await official_use(Client, _REF, streaming=True)(count=count, rate=rate):
        yield piece


async def _by_hand(url: str, count: int, rate: float) -> AsyncIterator[str]:
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/predictions", json={"input": {"count": count, "rate": rate}}) as response:
            stream = (await response.json())["urls"]["stream"]
        async with session.get(stream, headers={"Accept": "text/event-stream"}) as response:
            async for line in response.content:
                if line.startswith(b"data: ") and not line.startswith(b"data: {"):
                    yield line[6:-1].decode()


async def _ours(url: str, count: int, rate: float) -> AsyncIterator[str]:
    async with replicate_async.AsyncReplicate(bearer_token=_TOKEN, base_url=url) as client:
        async for event in client.stream(_REF, input={"count": count, "rate": rate}):
            if event.event == "output":
                yield event


_Stream = Callable[[str, int, float], AsyncIterator[str]]


async def _latency(stream: _Stream, url: str) -> float:
    """Return the median latency from writing an event to reading it."""
    return median([perf_counter() - float(piece) async for piece in stream(url, 200, 100)])


async def _max_lag(url: str) -> float:
    """Return the latency of the last event in the slowest of many fast streams."""

    async def read_stream(client: replicate_async.AsyncReplicate) -> tuple[float, float, float]:
        first = lag = last = 0.0
        async for event in client.stream(_REF, input={"count": _RATE * _SECONDS, "rate": _RATE}):
            if event:
                last = float(event)
                lag = perf_counter() - last
                first = first or last
        return first, last, lag

    async with replicate_async.AsyncReplicate(bearer_token=_TOKEN, base_url=url) as client:
        streams = await asyncio.gather(*[read_stream(client) for _ in range(_STREAMS)])
    rate = _STREAMS * _RATE * _SECONDS / (max(last for _, last, _ in streams) - min(first for first, _, _ in streams))
    if rate < 0.9 * _STREAMS * _RATE:
        print(f"  (the server wrote only {rate:,.0f} events per second)")
    return max(lag for *_, lag in streams)


async def _per_event(url: str) -> float:
    async with replicate_async.AsyncReplicate(bearer_token=_TOKEN, base_url=url) as client:
        started = perf_counter()
        events = [event async for event in client.stream(_REF, input={"count": _EVENTS})]
        assert len(events) == _EVENTS + 1
        return (perf_counter() - started) / _EVENTS


def _per_event_blocking(url: str) -> float:
    with replicate_async.Replicate(bearer_token=_TOKEN, base_url=url) as client:
        started = perf_counter()
        events = list(client.stream(_REF, input={"count": _EVENTS}))
        assert len(events) == _EVENTS + 1
        return (perf_counter() - started) / _EVENTS


def _parse_theirs(chunks: list[bytes]) -> int:
    text, lines, events = codecs.getincrementaldecoder("utf-8")("replace"), SSELineDecoder(), SSEDecoder()
    count = 0
    for chunk in chunks:
        for line in lines.decode(text.decode(chunk)):
            count += events.decode(line) is not None
    return count


def _parse_ours(chunks: list[bytes]) -> int:
    parser = OurSSEDecoder()
    return sum(len(parser.feed(chunk)) for chunk in chunks)


def _parsing(parse: Callable[[list[bytes]], int], chunks: list[bytes], count: int) -> Callable[[], float]:
    def measure() -> float:
        started = perf_counter()
        assert parse(chunks) == count
        return (perf_counter() - started) / count

    # A run is short, so the minimum of several runs is the least disturbed measurement.
    return lambda: min(measure() for _ in range(7))


def benchmarks(url: str) -> Iterator[Benchmark]:  # noqa: ARG001 - this module starts its own server
    """Yield the benchmarks of this module."""
    words = ["Once", "upon", "a", "time", "there", "was", "a", "small", "model"]
    frames = [
        f"event: output\nid: 1690212292:{number}\ndata:  {words[number % len(words)]}\n\n".encode()
        for number in range(20_000)
    ]
    whole = b"".join(frames)
    for title, chunks in [
        ("in chunks of one event", frames),
        ("in chunks of 16 kB", [whole[start : start + 2**14] for start in range(0, len(whole), 2**14)]),
    ]:
        yield Benchmark(
            f"parsing events, {title}, per event",
            {"httpx-sse": _parsing(_parse_theirs, chunks, 20_000), OURS: _parsing(_parse_ours, chunks, 20_000)},
            [Bound("httpx-sse", faster=1.5)],
        )
    with running("benchmarks._deliveries") as server_url:
        contenders: dict[str, _Stream] = {"official": _official, "aiohttp by hand": _by_hand, OURS: _ours}
        yield Benchmark(
            "from writing an event to reading it, median",
            {
                name: lambda stream=stream: asyncio.run(_latency(stream, server_url))
                for name, stream in contenders.items()
            },
            [],
            limit=0.005,
        )
        yield Benchmark(
            f"{_STREAMS} streams of {_RATE:,} events per second for {_SECONDS} s: latency of the last event",
            {OURS: lambda: asyncio.run(_max_lag(server_url))},
            [],
            limit=0.1,
        )
        yield Benchmark(
            f"{_EVENTS:,} events sent at once, per event; replicate_async is blocking",
            {_ASYNC: lambda: asyncio.run(_per_event(server_url)), OURS: lambda: _per_event_blocking(server_url)},
            [Bound(_ASYNC, over=60e-6)],
        )
