"""The time until a program has its first response. Each measurement starts a new process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from math import inf
from time import perf_counter

from benchmarks._server import INPUT, OUTPUT, VERSION
from benchmarks._table import OURS, Benchmark, Bound

# Modules are loaded from compiled bytecode, as in any installation. The first run of each program compiles them.
_ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

_AIOHTTP, _BY_HAND_NAME = "import aiohttp only", "aiohttp + msgspec by hand"
_BY_HAND = """
import asyncio, aiohttp, msgspec

class Prediction(msgspec.Struct):
    id: str
    status: str
    output: str | None = None

async def main():
    async with aiohttp.ClientSession(headers={{"Authorization": "Bearer r8_benchmark"}}) as session:
        body = msgspec.json.encode({{"version": {version!r}, "input": {input!r}}})
        headers = {{"Content-Type": "application/json"}}
        async with session.post({url!r} + "/predictions", data=body, headers=headers) as response:
            response.raise_for_status()
            print(msgspec.json.decode(await response.read(), type=Prediction).output, flush=True)

asyncio.run(main())
"""
_FIRST_RESPONSE = """
from {module} import Replicate
with Replicate(bearer_token="r8_benchmark", base_url={url!r}) as client:
    print(client.predictions.create(version={version!r}, input={input!r}).output, flush=True)
"""


def _until_line(program: str, expected: str) -> Callable[[], float]:
    """Return a function that measures the time from the start of a program to its line of output."""

    def run() -> float:
        started = perf_counter()
        command = [sys.executable, "-c", program]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=_ENVIRONMENT) as process:
            assert process.stdout is not None
            line = process.stdout.readline()
            elapsed = perf_counter() - started
        if line.strip() != expected:
            raise RuntimeError(f"the program printed {line!r}, not {expected!r}")
        return elapsed

    run()
    return run


def benchmarks(url: str) -> Iterator[Benchmark]:
    """Yield the benchmarks of this module, against the server at a base URL."""
    done = "print('done', flush=True)"
    bare = "bare Python"
    yield Benchmark(
        "import",
        {
            bare: _until_line(done, "done"),
            "official": _until_line(f"import replicate; {done}", "done"),
            OURS: _until_line(f"import replicate_async; {done}", "done"),
        },
        [Bound(bare, over=0.060)],
    )
    # The package loads its modules on first use, so this is the import time of most programs.
    yield Benchmark(
        "import of both clients",
        {
            bare: _until_line(done, "done"),
            "official": _until_line(f"from replicate import AsyncReplicate, Replicate; {done}", "done"),
            OURS: _until_line(f"from replicate_async import AsyncReplicate, Replicate; {done}", "done"),
        },
        [Bound(bare, over=inf)],
    )
    programs = {
        _AIOHTTP: f"import aiohttp; print({OUTPUT!r}, flush=True)",
        "official": _FIRST_RESPONSE.replace("{module}", "replicate"),
        _BY_HAND_NAME: _BY_HAND,
        OURS: _FIRST_RESPONSE.replace("{module}", "replicate_async"),
    }
    yield Benchmark(
        "from process start to the first response",
        {
            name: _until_line(program.format(url=url, version=VERSION, input=INPUT), OUTPUT)
            for name, program in programs.items()
        },
        # The import of aiohttp alone takes most of the first bound. The last bound limits what this package adds.
        [Bound("official", cost=0.5), Bound(_AIOHTTP, over=inf), Bound(_BY_HAND_NAME, cost=1.25)],
    )
