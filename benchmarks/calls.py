"""Single calls: concurrent, sequential, and from threads; and list pages."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple

import aiohttp
import msgspec
import replicate as official

import replicate_async
from benchmarks._server import INPUT, OUTPUT, PAGE, VERSION
from benchmarks._table import OURS, Benchmark, Bound
from replicate_async.types import Model, PageData, Prediction

_TOKEN = "r8_benchmark"
OFFICIAL, OFFICIAL_AIOHTTP, BY_HAND = "official", "official, aiohttp", "aiohttp + msgspec by hand"
BARE = "by hand, run_coroutine_threadsafe"


class _Calls(NamedTuple):
    """The calls of a contender."""

    create: Callable[[], Awaitable[Any]]
    predictions: Callable[[], Awaitable[Any]]
    models: Callable[[], Awaitable[Any]]


_Open = Callable[[str], AbstractAsyncContextManager[_Calls]]
_OpenBlocking = Callable[[str], AbstractContextManager[Callable[[], Any]]]


@asynccontextmanager
async def _ours(url: str) -> AsyncGenerator[_Calls, None]:
    async with replicate_async.AsyncReplicate(bearer_token=_TOKEN, base_url=url) as client:
        yield _Calls(
            lambda: client.predictions.create(version=VERSION, input=INPUT), client.predictions.list, client.models.list
        )


@asynccontextmanager
async def _official(url: str) -> AsyncGenerator[_Calls, None]:
    async with official.AsyncReplicate(bearer_token=_TOKEN, base_url=url) as client:
        yield _official_calls(client)


@asynccontextmanager
async def _official_aiohttp(url: str) -> AsyncGenerator[_Calls, None]:
    http = official.DefaultAioHttpClient()
    async with official.AsyncReplicate(bearer_token=_TOKEN, base_url=url, http_client=http) as client:
        yield _official_calls(client)


def _official_calls(client: official.AsyncReplicate) -> _Calls:
    return _Calls(
        lambda: client.predictions.create(version=VERSION, input=INPUT), client.predictions.list, client.models.list
    )


@asynccontextmanager
async def _by_hand(url: str) -> AsyncGenerator[_Calls, None]:
    encode = msgspec.json.Encoder().encode
    decode = msgspec.json.Decoder(Prediction).decode
    decode_predictions = msgspec.json.Decoder(PageData[Prediction]).decode
    decode_models = msgspec.json.Decoder(PageData[Model]).decode
    json_headers = {"Content-Type": "application/json"}
    connector = aiohttp.TCPConnector(limit=100)
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {_TOKEN}"}, connector=connector) as session:

        async def create() -> Prediction:
            body = encode({"version": VERSION, "input": INPUT})
            async with session.post(f"{url}/predictions", data=body, headers=json_headers) as response:
                response.raise_for_status()
                return decode(await response.read())

        async def predictions() -> PageData[Prediction]:
            async with session.get(f"{url}/predictions") as response:
                response.raise_for_status()
                return decode_predictions(await response.read())

        async def models() -> PageData[Model]:
            async with session.get(f"{url}/models") as response:
                response.raise_for_status()
                return decode_models(await response.read())

        yield _Calls(create, predictions, models)


_CONTENDERS: dict[str, _Open] = {
    OFFICIAL: _official,
    OFFICIAL_AIOHTTP: _official_aiohttp,
    BY_HAND: _by_hand,
    OURS: _ours,
}


@contextmanager
def _ours_blocking(url: str) -> Generator[Callable[[], Any], None, None]:
    with replicate_async.Replicate(bearer_token=_TOKEN, base_url=url) as client:
        yield lambda: client.predictions.create(version=VERSION, input=INPUT)


@contextmanager
def _official_blocking(url: str) -> Generator[Callable[[], Any], None, None]:
    with official.Replicate(bearer_token=_TOKEN, base_url=url) as client:
        yield lambda: client.predictions.create(version=VERSION, input=INPUT)


@contextmanager
def _by_hand_blocking(url: str) -> Generator[Callable[[], Any], None, None]:
    """Submit calls to a loop in another thread in the usual way, which is the lower bound for a blocking call."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    context = _by_hand(url)
    calls = asyncio.run_coroutine_threadsafe(context.__aenter__(), loop).result()

    async def create() -> Any:
        return await calls.create()

    try:
        yield lambda: asyncio.run_coroutine_threadsafe(create(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(context.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


_BLOCKING: dict[str, _OpenBlocking] = {OFFICIAL: _official_blocking, BARE: _by_hand_blocking, OURS: _ours_blocking}


async def _concurrent(open_: _Open, url: str, count: int) -> float:
    async with open_(url) as calls:
        # Check that calls work, and load everything that is loaded on first use.
        assert (await calls.create()).output == OUTPUT
        started = perf_counter()
        await asyncio.gather(*[calls.create() for _ in range(count)])
        return (perf_counter() - started) / count


async def _sequential(open_: _Open, url: str, count: int) -> float:
    async with open_(url) as calls:
        assert (await calls.create()).output == OUTPUT
        started = perf_counter()
        for _ in range(count):
            await calls.create()
        return (perf_counter() - started) / count


async def _lists(open_: _Open, url: str, count: int, resource: str) -> float:
    async with open_(url) as calls:
        fetch: Callable[[], Awaitable[Any]] = getattr(calls, resource)
        assert len((await fetch()).results) == PAGE
        started = perf_counter()
        for _ in range(count):
            await fetch()
        return (perf_counter() - started) / count


def _decoding(make_client: Callable[..., Any], url: str, count: int) -> float:
    """Fetch pages of models, then measure only the decoding."""
    with make_client(bearer_token=_TOKEN, base_url=url) as client:
        first, *responses = [client.models.with_raw_response.list() for _ in range(count + 1)]
        assert len(first.parse().results) == PAGE
        started = perf_counter()
        for response in responses:
            response.parse()
        return (perf_counter() - started) / count


def _from_threads(open_: _OpenBlocking, url: str, threads: int, count: int) -> float:
    """Make ``count`` calls with one client, divided among several threads."""
    with open_(url) as create:
        assert create().output == OUTPUT
        barrier = threading.Barrier(threads + 1)

        def work() -> None:
            # Open a connection for each thread before the measurement.
            create()
            barrier.wait()
            for _ in range(count // threads):
                create()

        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        barrier.wait()
        started = perf_counter()
        for worker in workers:
            worker.join()
        return (perf_counter() - started) / (count // threads * threads)


def benchmarks(url: str) -> Iterator[Benchmark]:
    """Yield the benchmarks of this module, against the server at a base URL."""

    def contenders(run: Callable[[_Open], Coroutine[Any, Any, float]]) -> dict[str, Callable[[], float]]:
        def measured(open_: _Open) -> Callable[[], float]:
            return lambda: asyncio.run(run(open_))

        return {name: measured(open_) for name, open_ in _CONTENDERS.items()}

    def blocking(threads: int, count: int) -> dict[str, Callable[[], float]]:
        return {name: partial(_from_threads, open_, url, threads, count) for name, open_ in _BLOCKING.items()}

    yield Benchmark(
        "3,000 concurrent creates (asyncio.gather), per call",
        contenders(lambda open_: _concurrent(open_, url, 3000)),
        [Bound(OFFICIAL, faster=18), Bound(OFFICIAL_AIOHTTP, faster=5), Bound(BY_HAND, cost=1.25)],
    )
    yield Benchmark(
        "sequential creates, per call",
        contenders(lambda open_: _sequential(open_, url, 500)),
        [Bound(BY_HAND, cost=1.25)],
    )
    yield Benchmark("blocking creates from 1 thread, per call", blocking(1, 500), [Bound(OFFICIAL, faster=1.6)])
    yield Benchmark("blocking creates from 16 threads, per call", blocking(16, 1600), [])
    yield Benchmark("blocking creates from 64 threads, per call", blocking(64, 1920), [Bound(OFFICIAL, faster=5)])
    yield Benchmark(
        f"a page of {PAGE} predictions",
        contenders(lambda open_: _lists(open_, url, 20, "predictions")),
        [Bound(OFFICIAL, faster=15), Bound(BY_HAND, cost=1.25)],
    )
    # Every client decodes the OpenAPI schemas of models to plain dicts. The larger they are, the smaller is the gain.
    for items, base_url, faster in (("models", url, 9), ("models with schemas of 6 kB", f"{url}/large", None)):
        yield Benchmark(
            f"a page of {PAGE} {items}",
            contenders(partial(_lists, url=base_url, count=20, resource="models")),
            [Bound(BY_HAND, cost=1.25)],
        )
        yield Benchmark(
            f"decoding a page of {PAGE} {items}, without fetching it",
            {
                OFFICIAL: partial(_decoding, official.Replicate, base_url, 20),
                OURS: partial(_decoding, replicate_async.Replicate, base_url, 20),
            },
            [Bound(OFFICIAL, faster=faster)],
        )
