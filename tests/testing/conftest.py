"""Fixtures for the tests of the local server."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import aiohttp
import pytest

from replicate_async.testing import LocalServer, VirtualClock
from replicate_async.testing._jobs import Listener


@dataclass
class Response:
    """A response, with its body."""

    status: int
    headers: Any
    body: bytes
    data: Any


async def eventually(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never happened")


def form(content: bytes | None, filename: str = "upload", content_type: str | None = None, **texts: str) -> Any:
    """Return a form with a file; names are sent in plain UTF-8."""
    data = aiohttp.FormData(quote_fields=False, default_to_multipart=True)
    if content is not None:
        data.add_field("content", io.BytesIO(content), filename=filename, content_type=content_type)
    for name, text in texts.items():
        data.add_field(name, text)
    return data


@dataclass
class Caller:
    """Sends requests with the token, and reads the responses."""

    server: LocalServer
    session: aiohttp.ClientSession

    async def __call__(self, method: str, path: str, body: Any = None, **options: Any) -> Response:
        headers = {"Authorization": f"Bearer {self.server.token}", **options.pop("headers", {})}
        url = path if path.startswith("http") else self.server.base_url + path
        async with self.session.request(method, url, json=body, headers=headers, **options) as response:
            content = await response.read()
            data = await response.json(content_type=None) if "json" in response.content_type else None
            return Response(response.status, response.headers, content, data)

    def listen(self, listener: Listener) -> None:
        """Call a listener at each event of all jobs that start from now on."""
        self.server._store.runner.listeners.append(listener)

    async def run(self, model: str, **inputs: Any) -> Any:
        """Run a model, and wait until it ends."""
        response = await self("POST", f"/models/{model}/predictions", {"input": inputs}, headers={"Prefer": "wait"})
        assert response.status == 201, response.body
        return response.data

    async def start(self, model: str, headers: dict[str, str] | None = None, **inputs: Any) -> Any:
        """Start a model."""
        response = await self("POST", f"/models/{model}/predictions", {"input": inputs}, headers=headers or {})
        assert response.status == 201, response.body
        return response.data

    async def get(self, prediction: Any) -> Any:
        """Get a prediction by its URL."""
        return (await self("GET", prediction["urls"]["get"])).data

    async def until(self, prediction: Any, status: str) -> Any:
        """Get a prediction until it has a status."""
        for _ in range(2000):
            prediction = await self.get(prediction)
            if prediction["status"] == status:
                return prediction
            await asyncio.sleep(0.005)
        raise AssertionError(f"never {status}: {prediction}")


@asynccontextmanager
async def serve(**options: Any) -> AsyncIterator[tuple[LocalServer, Caller]]:
    async with LocalServer(**options) as server, aiohttp.ClientSession() as session:
        yield server, Caller(server, session)


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    """Return a caller of a tidy server with small pages."""
    async with serve(page_size=3, tidy=True) as (_, caller):
        yield caller


@pytest.fixture
def clock() -> VirtualClock:
    """Return a clock that stands still until the test advances it."""
    return VirtualClock(datetime(2025, 1, 1, tzinfo=timezone.utc), auto=False, patience=0.01)


@pytest.fixture
async def slow_call(clock: VirtualClock) -> AsyncIterator[Caller]:
    """Return a caller of a tidy server that uses the clock that stands still."""
    async with serve(clock=clock, hold=30, tidy=True) as (_, caller):
        yield caller
