"""Rate limits that several processes share through a store."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from replicate_async import APIConnectionError, APITimeoutError, AsyncJournal, AsyncReplicate, RateLimit
from replicate_async.testing import LocalServer, VirtualClock

pytestmark = pytest.mark.anyio


def seconds(server: LocalServer) -> float:
    """Return the time between the first prediction and the last one."""
    times = [prediction.created_at for prediction in server.predictions.values()]
    return (max(times) - min(times)).total_seconds()


async def test_two_accounts_of_limits(tmp_path: Path) -> None:
    """Clients that know nothing of each other keep a limit together: bursts and waiting calls included."""
    limit = RateLimit(creates=60, store=tmp_path / "limits.db")
    async with LocalServer(clock=VirtualClock()) as server:
        server.model("me/model", official=True)(lambda n: n)
        # A different base URL is a different account for the client, as another process is.
        urls = [server.base_url, server.base_url.replace("127.0.0.1", "localhost")]
        clients = [AsyncReplicate(bearer_token=server.token, base_url=url, rate_limit=limit) for url in urls]
        runs = [client.run("me/model", {"n": n}, wait=False) for n in range(20) for client in clients]
        await asyncio.gather(*runs)
        for client in clients:
            await client.close()
    assert len(server.predictions) == 40
    # The burst is one second's worth.
    assert 38 <= seconds(server) <= 39 / 0.95


async def test_a_canceled_call_leaves_its_slot(tmp_path: Path) -> None:
    """The slot of a caller that gives up while it waits is the next one's."""
    async with LocalServer(clock=VirtualClock()) as server:
        server.model("me/model", official=True)(lambda n: n)
        limit = RateLimit(creates=6, store=tmp_path / "limits.db")
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url, rate_limit=limit) as client:
            await client.run("me/model", {"n": 0})
            with pytest.raises(APITimeoutError):
                await client.run("me/model", {"n": 1}, time_limit=3)
            await client.run("me/model", {"n": 2})
        assert len(server.predictions) == 2
        assert seconds(server) < 11


async def test_calls_with_a_timeout(tmp_path: Path) -> None:
    """A read that would wait for its slot for longer than its timeout raises; a journal's store can be used."""
    async with LocalServer(clock=VirtualClock()) as server, AsyncJournal(tmp_path / "run.db") as journal:
        limit = RateLimit(others=6, store=journal.store)
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url, rate_limit=limit) as client:
            await client.account.get()
            with pytest.raises(APITimeoutError, match="rate limit lets no call through"):
                await client.account.get(timeout=5)
            before = server.clock.now()
            await client.account.get(timeout=20)
            assert 8 < (server.clock.now() - before).total_seconds() < 11
        assert [result async for result in journal.results()] == []


class FailingStore:
    """A store in memory that fails some times."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.failures = 0
        self.error: Exception = OSError("the disk is away")

    async def get(self, key: str) -> bytes | None:
        if self.failures:
            self.failures -= 1
            raise self.error
        return self.values.get(key)

    async def swap(self, key: str, old: bytes | None, new: bytes | None) -> bool:
        self.values[key] = new or b""
        return True

    async def page(self, after: str) -> list[tuple[str, bytes]]:
        return []

    async def close(self) -> None:
        """Keep the values."""


@pytest.mark.parametrize("failures", [2, 30])
async def test_a_store_that_fails_while_a_prediction_runs(failures: int) -> None:
    """What was paid for is waited for, however often the store of the limit fails: it runs on, or its end is seen."""
    store = FailingStore()

    async with LocalServer(clock=VirtualClock()) as server:

        @server.model("me/slow", official=True)
        async def slow() -> str:
            store.failures = failures
            await server.clock.sleep(20)
            return "done"

        limit = RateLimit(creates=6000, others=6000, store=store)
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url, rate_limit=limit) as client:
            assert await client.run("me/slow", wait=False) == "done"
    assert store.failures == 0


@pytest.mark.parametrize(
    ("error", "reason"), [(OSError("the disk is away"), "the disk is away"), (TimeoutError(), "TimeoutError")]
)
async def test_a_store_that_never_works(error: Exception, reason: str) -> None:
    """Nothing is sent without the limit; the error says why."""
    store = FailingStore()
    store.failures, store.error = 1_000, error
    async with LocalServer(clock=VirtualClock()) as server:
        limit = RateLimit(creates=6000, store=store)
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url, rate_limit=limit) as client:
            with pytest.raises(APIConnectionError, match=f"the store of the rate limit failed: {reason}") as caught:
                await client.run("replicate/hello-world", {"text": "a"})
        assert not caught.value.sent
        assert server.requests == []
