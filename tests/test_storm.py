"""A storm: runs are given up at random moments and in every way, while the API fails in every way."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter

import pytest

from programs import run
from replicate_async.testing import LocalServer

RUNS = 25

ASYNC = """
import asyncio, random, sys
import replicate_async as replicate

chance = random.Random({seed})
way = chance.choice(["close", "timeout", "group", "end", "cancel", "exit"])

async def run(client, n):
    try:
        await client.run("owner/endless", {{"n": n}}, wait=chance.choice([True, False]))
    except replicate.ReplicateError:
        pass

async def fail(seconds):
    await asyncio.sleep(seconds)
    raise LookupError

async def main():
    global client
    client = replicate.AsyncReplicate(timeout=4)
    await client.account.get()
    loop = asyncio.get_running_loop()
    seconds = chance.uniform(0.1, 2)
    if way == "group" and sys.version_info >= (3, 11):
        async with client, asyncio.TaskGroup() as group:
            for n in range({runs}):
                group.create_task(run(client, n))
            group.create_task(fail(seconds))
    tasks = [asyncio.ensure_future(run(client, n)) for n in range({runs})]
    for task in tasks:
        if chance.random() < 0.5:
            loop.call_later(chance.uniform(0, seconds), task.cancel)
    if way == "end":
        await asyncio.sleep(seconds)
        return
    if way == "exit":
        await asyncio.sleep(seconds)
        sys.exit()
    async with client:
        if way == "close":
            await asyncio.sleep(seconds)
        elif way == "timeout":
            await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), seconds)
        else:
            await asyncio.sleep(seconds)
            for task in tasks:
                task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

try:
    asyncio.run(main())
except BaseException as error:
    # Only the ways in which the runs were given up.
    inner = getattr(error, "exceptions", [error])
    assert all(isinstance(e, (LookupError, asyncio.TimeoutError, TimeoutError, SystemExit)) for e in inner), inner
"""

BLOCKING = """
import random, threading, time
import replicate_async as replicate

chance = random.Random({seed})
client = replicate.Replicate(timeout=4)
client.account.get()

def run(n):
    try:
        if chance.random() < 0.5:
            limit = chance.uniform(0.1, 2)
            client.run("owner/endless", {{"n": n}}, wait=chance.choice([True, False]), time_limit=limit)
        else:
            next(client.stream("owner/endless", {{"n": n}}))
    except (replicate.ReplicateError, StopIteration):
        pass

# Daemons, which the end of the program leaves where they are.
for n in range({runs}):
    threading.Thread(target=run, args=(n,), daemon=True).start()
time.sleep(chance.uniform(0.1, 2))
if chance.random() < 0.5:
    client.close()
"""


def add_faults(server: LocalServer, chance: random.Random) -> None:
    """Let the API fail in several ways, a limited number of times."""
    for operation, faults in {
        "*.predictions.create": [
            {"kind": "reset", "after": True},
            {"kind": "reset"},
            {"kind": "html", "after": True},
            {"kind": "stall", "after": True},
            {"kind": "rate_limit", "retry_after": 1},
        ],
        "predictions.cancel": [
            {"kind": "rate_limit", "retry_after": 1},
            {"kind": "status", "status": 503},
            {"kind": "reset"},
            {"kind": "html"},
            {"kind": "stall"},
        ],
        "predictions.get": [{"kind": "status", "status": 500}, {"kind": "html"}],
        "predictions.list": [{"kind": "reset"}, {"kind": "rate_limit", "retry_after": 1}],
    }.items():
        for fault in chance.sample(faults, 2):
            server.faults.add(operation=operation, probability=0.15, seed=chance.randrange(2**20), times=2, **fault)


@pytest.mark.endurance
@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("program", [ASYNC, BLOCKING], ids=["async", "blocking"])
def test_nothing_runs_on(program, seed):
    """Whatever happens, nothing runs on, nothing was created twice, and nothing is printed."""
    chance = random.Random(seed)
    with LocalServer() as server:

        @server.model("owner/endless", official=True, read_lag=chance.choice([0.0, 2.0]))
        async def endless(n: int) -> None:
            await asyncio.Event().wait()

        add_faults(server, chance)
        environment = {"REPLICATE_API_TOKEN": server.token, "REPLICATE_BASE_URL": server.base_url}
        assert run(program.format(seed=seed, runs=RUNS), timeout=60, **environment) == ""
        end = time.monotonic() + 3
        while (statuses := {job.status for job in server.predictions.values()}) - {"canceled"}:
            assert time.monotonic() < end, statuses
            time.sleep(0.05)
        created = Counter(job.input["n"] for job in server.predictions.values())
        assert max(created.values(), default=1) == 1, created
