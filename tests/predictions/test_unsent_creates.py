"""Creates that never left: nothing is billed, so that they are repeated."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from rawserver import TOKEN, RawServer, answer, stall
from replicate_async import APIConnectionError, APITimeoutError, AsyncReplicate, CreateOutcomeUnknown

pytestmark = pytest.mark.anyio


async def create(client: AsyncReplicate, **options: Any) -> APIConnectionError:
    with pytest.raises(APIConnectionError) as caught:
        await client.predictions.create(version="a" * 64, input={}, **options)
    return caught.value


@pytest.mark.parametrize("timeout", [0.2, aiohttp.ClientTimeout(sock_read=0.2, sock_connect=0.2)], ids=["s", "parts"])
async def test_a_handshake_without_an_answer(timeout):
    """A server that never answers the TLS handshake has received nothing: the create is repeated, then timed out."""
    connections = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        try:
            await reader.read(-1)
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = AsyncReplicate(bearer_token=TOKEN, base_url=f"https://127.0.0.1:{port}/v1", timeout=timeout)
    async with server, client:
        error = await create(client, max_retries=1)
    assert isinstance(error, APITimeoutError)
    assert not isinstance(error, CreateOutcomeUnknown)
    assert not error.sent
    assert connections == 2


async def test_a_proxy_that_refuses_to_connect(monkeypatch):
    """A proxy that opens no tunnel has passed nothing on: the create is repeated."""
    async with RawServer(answer(502)) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        async with AsyncReplicate(bearer_token=TOKEN, base_url="https://api.example.com/v1") as client:
            error = await create(client, max_retries=1)
        assert not isinstance(error, CreateOutcomeUnknown)
        assert not error.sent
        assert [request.method for request in proxy.requests] == ["CONNECT", "CONNECT"]


class _SlowResolver(aiohttp.abc.AbstractResolver):
    async def resolve(self, host: str, port: int = 0, family: Any = 0) -> list[aiohttp.abc.ResolveResult]:
        await asyncio.sleep(30)
        return []

    async def close(self) -> None:
        """Nothing is open."""


async def test_a_name_that_is_not_resolved_in_time():
    """A create whose host name could not be looked up in time was not sent, with a session of the user's own, too."""
    resolver = _SlowResolver()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(resolver=resolver)) as session:
        client = AsyncReplicate(
            bearer_token=TOKEN, base_url="https://api.example.com/v1", session=session, timeout=0.2, max_retries=1
        )
        error = await create(client)
    assert not isinstance(error, CreateOutcomeUnknown)
    assert not error.sent


@pytest.mark.parametrize("size", [10, 3_000_000], ids=["small", "large"])
async def test_a_server_that_reads_and_is_silent(size):
    """Once a byte has gone out, the create may have been carried out: it is not repeated."""
    async with RawServer(stall) as server, server.client(timeout=0.2) as client:
        with pytest.raises(CreateOutcomeUnknown):
            await client.predictions.create(version="a" * 64, input={"text": "a" * size}, max_retries=0)
