"""Under freezegun, which replaces the clocks of a whole process, and under trio."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import Any

import freezegun
import pytest

from replicate_async import AsyncReplicate, Replicate
from replicate_async.testing import LocalServer

FIRST_USE = """
import asyncio, sys, freezegun
url, token = sys.argv[1:]
with freezegun.freeze_time("2020-01-01", real_asyncio=True):
    from replicate_async import AsyncReplicate, Replicate
    with Replicate(bearer_token=token, base_url=url) as client:
        print(client.run("owner/slow", wait=False))
        print(client.predictions.list().results[0].created_at.year > 2020)

async def main():
    async with AsyncReplicate(bearer_token=token, base_url=url) as client:
        print(await client.run("owner/slow", wait=False))
        print((await client.predictions.list()).results[0].created_at.year > 2020)

asyncio.run(main())
"""


@pytest.fixture
def server() -> Any:
    server = LocalServer()

    @server.model("owner/slow", official=True)
    async def slow() -> str:
        await asyncio.sleep(0.1)
        return "done"

    with server:
        yield server


def test_first_use(server: LocalServer):
    """The package can be imported while the time is frozen, and works from then on."""
    command = [sys.executable, "-c", FIRST_USE, server.base_url, server.token]
    assert subprocess.check_output(command, encoding="utf-8", timeout=60).split() == ["done", "True"] * 2


@pytest.mark.parametrize("options", [{}, {"tick": True}, {"real_asyncio": True}])
def test_blocking(server: LocalServer, options: Any):
    """The blocking client waits for predictions while the time is frozen."""
    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        client.account.get()
        with freezegun.freeze_time("2020-01-01", ignore=["asyncio"], **options):
            assert client.run("owner/slow", wait=False) == "done"


def test_polling(server: LocalServer):
    """With ``real_asyncio``, the asynchronous client waits for predictions while the time is frozen."""

    async def main() -> str:
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
            with freezegun.freeze_time("2020-01-01", real_asyncio=True):
                return await client.run("owner/slow", wait=False)

    assert asyncio.run(asyncio.wait_for(main(), 20)) == "done"


def steps() -> list[Any]:
    async def stream(client: AsyncReplicate) -> None:
        async for _ in client.stream("a/b"):
            pass

    async def map_(client: AsyncReplicate) -> None:
        async for _ in client.map("a/b", [{}]):
            pass

    return [
        lambda client: client.run("a/b"),
        lambda client: client.account.get(),
        lambda client: client.__aenter__(),
        lambda client: client.files.create(b"x"),
        lambda client: client.close(),
        stream,
        map_,
    ]


@pytest.mark.parametrize("step", steps())
def test_without_asyncio(step: Any):
    """Under trio, or without any loop, the error says that asyncio is needed."""
    coroutine = step(AsyncReplicate(bearer_token="x"))
    with pytest.raises(RuntimeError, match="needs a running asyncio event loop"):
        coroutine.send(None)
