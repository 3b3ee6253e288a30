"""The overhead of the blocking client over the asynchronous client that it wraps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from time import perf_counter

import replicate_async
from benchmarks._server import OUTPUT
from benchmarks._table import OURS, Benchmark, Bound

_TOKEN = "r8_benchmark"
_ASYNC = "replicate_async, asyncio"
_CALLS = 1000
_CLIENTS = 100


async def _calls(url: str) -> float:
    async with replicate_async.AsyncReplicate(bearer_token=_TOKEN, base_url=url) as client:
        # Check that calls work, and load everything that is loaded on first use.
        assert (await client.predictions.get("x")).output == OUTPUT
        started = perf_counter()
        for _ in range(_CALLS):
            await client.predictions.get("x")
        return (perf_counter() - started) / _CALLS


def _blocking_calls(url: str) -> float:
    with replicate_async.Replicate(bearer_token=_TOKEN, base_url=url) as client:
        assert client.predictions.get("x").output == OUTPUT
        started = perf_counter()
        for _ in range(_CALLS):
            client.predictions.get("x")
        return (perf_counter() - started) / _CALLS


async def _clients(url: str) -> float:
    started = perf_counter()
    for _ in range(_CLIENTS):
        async with replicate_async.AsyncReplicate(bearer_token=_TOKEN, base_url=url) as client:
            await client.predictions.get("x")
    return (perf_counter() - started) / _CLIENTS


def _blocking_clients(url: str) -> float:
    started = perf_counter()
    for _ in range(_CLIENTS):
        with replicate_async.Replicate(bearer_token=_TOKEN, base_url=url) as client:
            client.predictions.get("x")
    return (perf_counter() - started) / _CLIENTS


def benchmarks(url: str) -> Iterator[Benchmark]:
    """Yield the benchmarks of this module, against the server at a base URL."""
    yield Benchmark(
        "sequential calls, per call; replicate_async is blocking",
        {_ASYNC: lambda: asyncio.run(_calls(url)), OURS: lambda: _blocking_calls(url)},
        [Bound(_ASYNC, cost=1.9)],
    )
    yield Benchmark(
        "a client created, used once, and closed; replicate_async is blocking",
        {_ASYNC: lambda: asyncio.run(_clients(url)), OURS: lambda: _blocking_clients(url)},
        [],
    )
