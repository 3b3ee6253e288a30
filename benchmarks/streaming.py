"""Event streams: how soon an event is read, how many are, and what reading costs."""

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

    # As its module's ``use`` does; the method of its client fails.
    async for piece in await official_use(Client, _REF, streaming=True)(count=count, rate=rate):
        yield piece


async def _by_hand(url: str, count: int, rate: float) -> AsyncIterator[str]:
    async with aiohttp.ClientSession() as session:
        async with session.post(f"{url}/predictions", json={"input": {"count": count, "rate": rate}}) as answer:
            stream = (await answer.json())["urls"]["stream"]
        async with session.get(stream, headers={"Accept": "text/event-stream"}) as answer:
            async for line in answer.content:
                if line.startswith(b"data: ") and not line.startswith(b"data: {"):
                    yield line[6:-1].decode()


async def _ours(url: str, count: int, rate: float) -> AsyncIterator[str]:
    async with replicate_async.AsyncReplicate(bearer_token=_TOKEN, base_url=url) as client:
        async for event in client.stream(_REF, input={"count": count, "rate": rate}):
            if event.event == "output":
                yield event


_Pieces = Callable[[str, int, float], AsyncIterator[str]]


async def _latency(pieces: _Pieces, url: str) -> float:
    """Return the median time from writing an event to reading it."""
    return median([perf_counter() - float(piece) async for piece in pieces(url, 200, 100)])


async def _behind(url: str) -> float:
    """Return how long after it was written the last event of many fast streams was read, of the slowest stream."""

    async def one(client: replicate_async.AsyncReplicate) -> tuple[float, float, float]:
        first = behind = last = 0.0
        async for event in client.stream(_REF, input={"count": _RATE * _SECONDS, "rate": _RATE}):
            if event:
                last = float(event)
                behind = perf_counter() - last
                first = first or last
        return first, last, behind

    async with replicate_async.AsyncReplicate(bearer_token=_TOKEN, base_url=url) as client:
        ends = await asyncio.gather(*[one(client) for _ in range(_STREAMS)])
    rate = _STREAMS * _RATE * _SECONDS / (max(last for _, last, _ in ends) - min(first for first, _, _ in ends))
    if rate < 0.9 * _STREAMS * _RATE:
        print(f"  (the server itself made only {rate:,.0f} events a second)")
    return max(behind for *_, behind in ends)


async def _per_event(url: str) -> float:
    async with replicate_async.AsyncReplicate(bearer_token=_TOKEN, base_url=url) as client:
        started = perf_counter()
        found = [event async for event in client.stream(_REF, input={"count": _EVENTS})]
        assert len(found) == _EVENTS + 1
        return (perf_counter() - started) / _EVENTS


def _per_event_blocking(url: str) -> float:
    with replicate_async.Replicate(bearer_token=_TOKEN, base_url=url) as client:
        started = perf_counter()
        found = list(client.stream(_REF, input={"count": _EVENTS}))
        assert len(found) == _EVENTS + 1
        return (perf_counter() - started) / _EVENTS


def _parse_theirs(pieces: list[bytes]) -> int:
    text, lines, events = codecs.getincrementaldecoder("utf-8")("replace"), SSELineDecoder(), SSEDecoder()
    found = 0
    for piece in pieces:
        for line in lines.decode(text.decode(piece)):
            found += events.decode(line) is not None
    return found


def _parse_ours(pieces: list[bytes]) -> int:
    parser = SSEDecoder()
    return sum(len(parser.feed(piece)) for piece in pieces)


def _parsing(parse: Callable[[list[bytes]], int], pieces: list[bytes], count: int) -> Callable[[], float]:
    def once() -> float:
        started = perf_counter()
        assert parse(pieces) == count
        return (perf_counter() - started) / count

    return lambda: min(once() for _ in range(7))  # it is short: the least disturbed time counts


def benchmarks(url: str) -> Iterator[Benchmark]:  # noqa: ARG001 - these have a server of their own
    """Give the benchmarks of this module."""
    words = ["Once", "upon", "a", "time", "there", "was", "a", "small", "model"]
    frames = [
        f"event: output\nid: 1690212292:{number}\ndata:  {words[number % len(words)]}\n\n".encode()
        for number in range(20_000)
    ]
    whole = b"".join(frames)
    for title, pieces in [
        ("each in a piece of its own", frames),
        ("in pieces of 16 kB", [whole[start : start + 2**14] for start in range(0, len(whole), 2**14)]),
    ]:
        yield Benchmark(
            f"parsing events, {title}, per event",
            {"httpx-sse": _parsing(_parse_theirs, pieces, 20_000), OURS: _parsing(_parse_ours, pieces, 20_000)},
            [Bound("httpx-sse", faster=1.5)],
        )
    with running("benchmarks._deliveries") as own:
        contenders: dict[str, _Pieces] = {"official": _official, "aiohttp by hand": _by_hand, OURS: _ours}
        yield Benchmark(
            "from writing an event to reading it, median",
            {name: lambda pieces=pieces: asyncio.run(_latency(pieces, own)) for name, pieces in contenders.items()},
            [],
            limit=0.005,
        )
        yield Benchmark(
            f"{_STREAMS} streams of {_RATE:,} events a second, {_SECONDS} s: from writing the last event to reading it",
            {OURS: lambda: asyncio.run(_behind(own))},
            [],
            limit=0.1,
        )
        yield Benchmark(
            f"{_EVENTS:,} events that come at once, per event; ours is blocking",
            {_ASYNC: lambda: asyncio.run(_per_event(own)), OURS: lambda: _per_event_blocking(own)},
            [Bound(_ASYNC, over=60e-6)],
        )
