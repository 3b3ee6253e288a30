"""A soak: both clients under mixed load for ten minutes, while the API fails in every way.

Run it with ``python -m benchmarks.soak``. At the end, nothing may run at the API, and memory, descriptors, threads and
tasks must be what they were after the first minute.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import io
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from replicate_async import AsyncReplicate, Replicate, ReplicateError
from replicate_async import _background as background
from replicate_async.testing import LocalServer, OutputFile

_ENDED = {"succeeded", "failed", "canceled", "aborted"}


def register(server: LocalServer) -> None:
    """Register models of all kinds, faults, and a model that reports what runs."""

    @server.model("soak/text", official=True)
    async def text(seconds: float) -> Any:
        for word in ("one ", "two ", "three"):
            await asyncio.sleep(seconds / 3)
            yield word

    @server.model("soak/file", official=True)
    async def file(seconds: float, image: str = "") -> Any:  # noqa: ARG001
        await asyncio.sleep(seconds)
        return OutputFile(os.urandom(50_000), name="x.bin")

    @server.model("soak/endless", official=True)
    async def endless(n: int = 0) -> None:  # noqa: ARG001
        await asyncio.Event().wait()

    @server.model("soak/report", official=True)
    async def report() -> str:
        jobs = [job for job in server.predictions.values() if job.model != "soak/report"]
        return json.dumps({"all": len(jobs), "running": [job.id for job in jobs if job.status not in _ENDED]})

    @server.model("soak/calm", official=True)
    async def calm() -> None:
        server.faults.clear()

    for number, fault in enumerate(
        [
            {"kind": "reset"},
            {"kind": "reset", "after": True},
            {"kind": "html"},
            {"kind": "status", "status": 503},
            {"kind": "rate_limit", "retry_after": 1},
            {"kind": "truncate", "at": 20},
            {"kind": "delay", "seconds": 1.0},
            {"kind": "stall"},
        ]
    ):
        server.faults.add(probability=0.01, seed=number, **fault)


class _Load:
    """The calls of the soak, and how they ended."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds
        self.counts: Counter[str] = Counter()
        self.unknown: list[str | None] = []

    async def run(self, worker: Callable[[random.Random], Awaitable[object]], seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < self.end:
            try:
                await worker(chance)
                self.counts["ok"] += 1
            except (ReplicateError, TimeoutError, asyncio.TimeoutError) as error:  # noqa: PERF203
                self.counts[type(error).__name__] += 1

    def run_blocking(self, worker: Callable[[random.Random], object], seed: int) -> None:
        chance = random.Random(seed)
        while time.monotonic() < self.end:
            try:
                worker(chance)
                self.counts["ok"] += 1
            except ReplicateError as error:  # noqa: PERF203
                self.counts[type(error).__name__] += 1


async def _work(client: AsyncReplicate, chance: random.Random) -> object:
    seconds = chance.uniform(0, 1.5)
    kind = chance.randrange(8)
    if kind == 0:
        return await client.run("soak/text", input={"seconds": seconds}, wait=chance.choice([True, False]))
    if kind == 1:
        output: Any = await client.run("soak/file", input={"seconds": seconds, "image": io.BytesIO(bytes(400_000))})
        return await output.read()
    if kind == 2:
        return await asyncio.wait_for(client.run("soak/endless", input={"n": chance.getrandbits(40)}), seconds)
    if kind == 3:
        async for _ in client.stream("soak/text", input={"seconds": seconds}):
            pass
        return None
    if kind == 4:
        async for _ in client.stream("soak/text", input={"seconds": seconds}):
            break
        return None
    if kind == 5:
        return [item async for item in client.map("soak/text", [{"seconds": seconds / n} for n in (1, 2, 3)])]
    if kind == 6:
        return await client.run("soak/endless", input={"n": chance.getrandbits(40)}, time_limit=seconds)
    page = await client.predictions.list()
    return await page.get_next_page() if page.has_next_page() else page


def _work_blocking(client: Replicate, chance: random.Random) -> object:
    seconds = chance.uniform(0, 1.5)
    kind = chance.randrange(5)
    if kind == 0:
        return client.run("soak/text", input={"seconds": seconds})
    if kind == 1:
        output: Any = client.run("soak/file", input={"seconds": seconds, "image": io.BytesIO(bytes(400_000))})
        return output.read()
    if kind == 2:
        return client.run("soak/endless", input={"n": chance.getrandbits(40)}, time_limit=seconds)
    if kind == 3:
        return next(client.stream("soak/text", input={"seconds": seconds}), None)
    return list(client.map("soak/text", [{"seconds": seconds / n} for n in (1, 2)]))


def _sample() -> dict[str, float]:
    gc.collect()
    return {
        "RSS in MB": int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6,
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()) + len(asyncio.all_tasks(background.get_loop())),
        "objects": len(gc.get_objects()),
    }


async def _soak(url: str, token: str, seconds: float, workers: int) -> int:
    load = _Load(seconds)
    with Replicate(base_url=url, bearer_token=token, timeout=5) as blocking:
        async with AsyncReplicate(base_url=url, bearer_token=token, timeout=5) as client:
            tasks = [
                asyncio.create_task(load.run(lambda chance: _work(client, chance), seed)) for seed in range(workers)
            ]
            threads = [
                threading.Thread(
                    target=load.run_blocking, args=(lambda chance: _work_blocking(blocking, chance), seed), daemon=True
                )
                for seed in range(workers, workers + workers // 2)
            ]
            for thread in threads:
                thread.start()
            while not all(task.done() for task in tasks):
                await asyncio.sleep(min(30, seconds / 20))
                figures = [f"{name}: {value:,.0f}" for name, value in _sample().items()]
                print(f"{load.end - time.monotonic():6.0f} s", *figures, flush=True)
            await asyncio.gather(*tasks)
            for thread in threads:
                await asyncio.to_thread(thread.join)
    async with AsyncReplicate(base_url=url, bearer_token=token, max_retries=10) as reporter:
        with suppress(ReplicateError):
            await reporter.run("soak/calm", input={})
        running: Any = None
        end = time.monotonic() + 60
        while time.monotonic() < end:
            report = json.loads(await reporter.run("soak/report", input={}))
            if not (running := report["running"]):
                break
            await asyncio.sleep(1)
    await asyncio.sleep(1)
    print("ended as:", dict(load.counts), "predictions:", report["all"], "running:", running)
    print("at the end:", *(f"{k}: {v:,.0f}" for k, v in _sample().items()))
    return 1 if running else 0


def main() -> int:
    """Parse the arguments, and run the soak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--workers", type=int, default=12)
    arguments = parser.parse_args()
    with LocalServer.process("benchmarks.soak:register") as server:
        return asyncio.run(_soak(server.base_url, server.token, arguments.seconds, arguments.workers))


if __name__ == "__main__":
    sys.exit(main())
