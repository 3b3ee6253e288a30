"""Many concurrent predictions with ``asyncio.gather``, at default settings.

Each scenario runs in its own process. The server is the ``LocalServer`` of this package, in another process.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any

import replicate as official

from benchmarks._table import Figure, Scenario
from replicate_async import AsyncReplicate
from replicate_async.testing import LocalServer, ServerProcess

_MODEL = "bench/slow"
_KB = 1000


def register(server: LocalServer) -> None:
    """Register a slow model, and a model that reports the requests that the server has received."""

    @server.model(_MODEL, official=True)
    async def slow(text: str, seconds: float = 0.0) -> str:
        await server.clock.sleep(seconds)
        return f"hello {text} {time.time()}"

    @server.model("bench/report", official=True)
    async def report() -> str:
        predictions = [prediction for prediction in server.predictions.values() if prediction.model == _MODEL]
        created_at = [prediction.created_at.timestamp() for prediction in predictions]
        calls = [call for call in server.requests if call.operation != "account.get"]
        return json.dumps(
            {
                "predictions": len(predictions),
                "creating": max(created_at) - min(created_at),
                "requests": len(calls),
                "throttled": sum(call.status == 429 for call in calls),
            }
        )


class _Fanout:
    """The results of many concurrent runs."""

    def __init__(self, server: ServerProcess) -> None:
        self._server = server
        self.wall = self.memory = self.slowest_account = 0.0
        self.connections = self.wrong = 0
        self.report: dict[str, float] = {}

    async def run(self, client: Any, count: int, seconds: float, *, sample_after: float | None = None) -> None:
        """Run predictions. After ``sample_after`` seconds, when all are waiting, measure memory and responsiveness."""
        account: Callable[[], Awaitable[Any]] = client.account.get
        # Load modules and open a connection before the measurement.
        await account()
        watching = asyncio.ensure_future(self._watch_connections())
        gc.collect()
        before = _resident()
        started = time.perf_counter()
        runs = asyncio.gather(
            *[client.run(_MODEL, input={"text": str(number), "seconds": seconds}) for number in range(count)],
            return_exceptions=True,
        )
        if sample_after is not None:
            await asyncio.sleep(sample_after)
            self.memory = (_resident() - before) / count
            for _ in range(5):
                called_at = time.perf_counter()
                await account()
                self.slowest_account = max(self.slowest_account, time.perf_counter() - called_at)
        outputs = await runs
        self.wall = time.perf_counter() - started
        watching.cancel()
        self.wrong = sum(not _is_output(output, number) for number, output in enumerate(outputs))
        async with AsyncReplicate(base_url=self._server.base_url, bearer_token=self._server.token) as reporter:
            self.report = json.loads(await reporter.run("bench/report"))

    async def _watch_connections(self) -> None:
        while True:
            # The event loop itself has two sockets.
            self.connections = max(self.connections, _sockets() - 2)
            await asyncio.sleep(0.1)


def _is_output(output: Any, number: int) -> bool:
    return isinstance(output, str) and output.split()[:2] == ["hello", str(number)]


def _sockets() -> int:
    kinds = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    return sum("socket:" in kind for kind in kinds)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@asynccontextmanager
async def _ours(count: int, seconds: float, *, server: dict[str, Any] | None = None, **options: Any) -> Any:
    with LocalServer.process(f"{__spec__.name}:register", **(server or {})) as running:
        fanout = _Fanout(running)
        sample_after = options.pop("sample_after", None)
        async with AsyncReplicate(base_url=running.base_url, bearer_token=running.token, **options) as client:
            await fanout.run(client, count, seconds, sample_after=sample_after)
        yield fanout


async def thousand() -> list[Figure]:
    async with _ours(1000, 5, sample_after=4) as done:
        return [
            Figure("seconds until the last output", done.wall, 7),
            Figure("requests per prediction", (done.report["requests"] - 1) / 1000, 2.5),
            Figure("connections", done.connections, 100),
            Figure("outputs missing or wrong", done.wrong, 0),
            Figure("latency of account.get() in ms", 1000 * done.slowest_account, 100),
        ]


async def _delayed(count: int, latency: float, limit: float | None) -> list[Figure]:
    async with _ours(count, 5, server={"latency": latency}) as done:
        return [
            Figure(f"seconds for {count:,}, {latency * 1000:.0f} ms a call", done.wall, limit),
            Figure("requests per prediction", (done.report["requests"] - 1) / count, 2.5),
            Figure("connections", done.connections, 100),
            Figure("outputs missing or wrong", done.wrong, 0),
        ]


async def delayed() -> list[Figure]:
    return [
        *await _delayed(100, 0.2, 6.2),
        *await _delayed(1000, 0.2, 8.7),
        *await _delayed(100, 0.8, None),
        *await _delayed(1000, 0.8, None),
    ]


async def delayed_official() -> list[Figure]:
    with LocalServer.process(f"{__spec__.name}:register", latency=0.2) as running:
        fanout = _Fanout(running)
        async with official.AsyncReplicate(base_url=running.base_url, bearer_token=running.token) as client:
            await fanout.run(client, 200, 5)
    return [Figure("seconds for 200, official, 200 ms", fanout.wall)]


async def thousand_official() -> list[Figure]:
    with LocalServer.process(f"{__spec__.name}:register") as running:
        fanout = _Fanout(running)
        async with official.AsyncReplicate(base_url=running.base_url, bearer_token=running.token) as client:
            await fanout.run(client, 200, 5)
    return [Figure("seconds for 200, official", fanout.wall)]


async def ten_thousand() -> list[Figure]:
    async with _ours(10_000, 30, sample_after=29) as done:
        return [
            Figure("seconds until the last output", done.wall),
            Figure("... without the time of creates", done.wall - done.report["creating"], 40),
            Figure("outputs missing or wrong", done.wrong, 0),
            Figure("kB per waiting prediction", done.memory / _KB, 6),
        ]


async def waiting_official() -> list[Figure]:
    with LocalServer.process(f"{__spec__.name}:register") as running:
        async with official.AsyncReplicate(base_url=running.base_url, bearer_token=running.token) as client:
            await client.account.get()
            gc.collect()
            before = _resident()
            inputs = [{"text": str(number), "seconds": 60} for number in range(1000)]
            runs = [asyncio.ensure_future(client.run(_MODEL, input=run_input)) for run_input in inputs]
            await asyncio.sleep(10)
            memory = (_resident() - before) / len(runs)
            for run in runs:
                run.cancel()
            await asyncio.gather(*runs, return_exceptions=True)
    return [Figure("... official, of 1,000", memory / _KB)]


async def limited() -> list[Figure]:
    limits = {"creates": 600, "create_burst": 50, "others": 3000}
    async with _ours(300, 2, server={"limits": limits}) as done:
        least_seconds = (300 - 50) / (600 / 60) + 2
        return [
            Figure("ratio to least possible time", done.wall / least_seconds, 1.15),
            Figure("percentage of 429 responses", 100 * done.report["throttled"] / done.report["requests"], 2),
            Figure("outputs missing or wrong", done.wrong, 0),
        ]


async def cut_off() -> list[Figure]:
    faults = [
        {"kind": kind, "operation": "models.predictions.create", "probability": 0.07, "seed": seed, "after": True}
        for seed, kind in enumerate(["reset", "stall", "html"])
    ]
    for fault in faults:
        # The faults are used up before the report is fetched.
        fault["times"] = 14
    async with _ours(200, 0.5, server={"faults": {"faults": faults}}, timeout=3) as done:
        return [
            Figure("difference from 200 predictions", abs(done.report["predictions"] - 200), 0),
            Figure("outputs missing or wrong", done.wrong, 0),
        ]


async def single() -> list[Figure]:
    delays: list[float] = []
    with LocalServer.process(f"{__spec__.name}:register") as running:
        async with AsyncReplicate(base_url=running.base_url, bearer_token=running.token) as client:
            await client.account.get()
            for _ in range(9):
                output = await client.run(_MODEL, input={"text": "x", "seconds": 0.5})
                delays.append(time.time() - float(output.split()[2]))
    return [Figure("ms from completion to output", 1000 * median(delays), 50)]


def _in_process(name: str) -> list[Figure]:
    command = [sys.executable, "-m", __spec__.name, name]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [Figure(*fields) for fields in json.loads(output)]


def _with_peer(name: str, peer: str) -> list[Figure]:
    return _in_process(name) + _in_process(peer)


def benchmarks(url: str) -> Iterator[Scenario]:  # noqa: ARG001 - each scenario starts its own server
    """Yield the scenarios of this module."""
    yield Scenario("a single run of half a second", lambda: _in_process("single"))
    yield Scenario("1,000 runs of 5 s", lambda: _with_peer("thousand", "thousand_official"))
    yield Scenario("runs of 5 s, with the latency of the API", lambda: _with_peer("delayed", "delayed_official"))
    yield Scenario("10,000 runs of 30 s", lambda: _with_peer("ten_thousand", "waiting_official"))
    yield Scenario(
        "300 runs of 2 s, limits of 600 creates (burst 50) and 3,000 others per minute", lambda: _in_process("limited")
    )
    yield Scenario("200 runs, a fifth of the creates lose their response", lambda: _in_process("cut_off"))


if __name__ == "__main__":
    scenario: Callable[[], Any] = globals()[sys.argv[1]]
    print(json.dumps(asyncio.run(scenario())))
