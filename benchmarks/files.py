"""Large files as inputs and outputs: the memory that they need, and how long they block the event loop.

Each measurement runs in its own process, ``python -m benchmarks.files KIND URL``. Memory that a process has
already allocated is reused, and wouldn't count.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from time import perf_counter, sleep

import replicate_async
from benchmarks._server import running
from benchmarks._table import OURS, Benchmark

_UPLOAD, _DOWNLOAD = 100 * 2**20, 2**30
_MAX_GROWTH_MB, _MAX_STALL_SECONDS = 16.0, 0.020
_IDLE = "an idle loop"


class _Watch:
    """Measures the process and its event loop.

    Attributes:
        growth: The growth of the resident memory, in MB.
        stall: The longest delay of a callback, in seconds.
    """

    growth = 0.0
    stall = 0.0
    _done = False

    def _watch_memory(self, before: int) -> None:
        while not self._done:
            self.growth = max(self.growth, (_resident() - before) / 1e6)
            sleep(0.005)

    async def _watch_loop(self) -> None:
        while True:
            started = perf_counter()
            await asyncio.sleep(0.001)
            self.stall = max(self.stall, perf_counter() - started - 0.001)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        gc.collect()
        memory = threading.Thread(target=self._watch_memory, args=(_resident(),))
        memory.start()
        loop = asyncio.ensure_future(self._watch_loop())
        try:
            yield
        finally:
            loop.cancel()
            self._done = True
            memory.join()


def _resident() -> int:
    """Return the process's resident memory in bytes."""
    if sys.platform == "linux":
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


async def _upload(client: replicate_async.AsyncReplicate, folder: Path, size: int, origin: str) -> None:  # noqa: ARG001
    path = folder / f"{size}.bin"
    with path.open("wb") as file:
        file.truncate(size)
    await client.use("owner/name").create(file=path)


async def _download(client: replicate_async.AsyncReplicate, folder: Path, size: int, origin: str) -> None:
    output = replicate_async.AsyncFileOutput(f"{origin}/large/{size}", client._transport)
    path = await output.save(folder / "large.bin")
    assert path.stat().st_size == size


async def _nothing(client: replicate_async.AsyncReplicate, folder: Path, size: int, origin: str) -> None:  # noqa: ARG001
    await asyncio.sleep(1)


_Do = Callable[[replicate_async.AsyncReplicate, Path, int, str], Awaitable[None]]
_KINDS: dict[str, tuple[_Do, int]] = {
    "upload": (_upload, _UPLOAD),
    "download": (_download, _DOWNLOAD),
    "nothing": (_nothing, 0),
}


async def _measure(kind: str, url: str) -> None:
    do, size = _KINDS[kind]
    origin = url.removesuffix("/v1")
    async with replicate_async.AsyncReplicate(bearer_token="r8_benchmark", base_url=url) as client:
        with tempfile.TemporaryDirectory() as folder:
            # Load and allocate what doesn't depend on the size of the file before the measurement.
            await do(client, Path(folder), min(size, 2**20), origin)
            watch = _Watch()
            async with watch.watching():
                await do(client, Path(folder), size, origin)
    print(watch.growth, watch.stall)


def benchmarks(url: str) -> Iterator[Benchmark]:  # noqa: ARG001 - this module starts its own server
    """Yield the benchmarks of this module."""
    with running("benchmarks._deliveries") as server_url:
        # The process of a round measures both figures.
        @cache
        def measured(kind: str, number: int) -> tuple[float, float]:  # noqa: ARG001
            command = [sys.executable, "-m", "benchmarks.files", kind, server_url]
            growth, stall = subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
            return float(growth), float(stall)

        def contender(kind: str, figure: int) -> Callable[[], float]:
            rounds = iter(range(10**9))
            return lambda: measured(kind, next(rounds))[figure]

        for kind, title in [
            ("upload", f"an input file of {_UPLOAD // 2**20} MB"),
            ("download", f"saving an output of {_DOWNLOAD // 2**20:,} MB"),
        ]:
            yield Benchmark(f"{title}: memory", {OURS: contender(kind, 0)}, [], limit=_MAX_GROWTH_MB, unit="MB")
            yield Benchmark(
                f"{title}: the longest time that the event loop is blocked",
                {_IDLE: contender("nothing", 1), OURS: contender(kind, 1)},
                [],
                limit=_MAX_STALL_SECONDS,
            )


if __name__ == "__main__":
    asyncio.run(_measure(*sys.argv[1:]))
