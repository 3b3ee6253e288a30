"""Clients use the virtual clock of a running server: their waiting takes no real time, and requests no virtual time."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from operator import attrgetter
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import pytest

import replicate_async
from replicate_async import (
    APITimeoutError,
    AsyncReplicate,
    RateLimitError,
    Replicate,
    ReplicateError,
    WebhookVerificationError,
    verify_webhook,
)
from replicate_async._http import clock as sdk_clock
from replicate_async._sync import default_client
from replicate_async.testing import LocalServer, VirtualClock, models

from .conftest import eventually

pytestmark = pytest.mark.anyio


class Caller:
    """Calls a client's methods; those of a blocking client in another thread."""

    def __init__(self, client: AsyncReplicate | Replicate) -> None:
        self.client: Any = client
        self.blocking = isinstance(client, Replicate)

    async def __call__(self, method: str, *arguments: Any, **options: Any) -> Any:
        return await self.of(attrgetter(method)(self.client), *arguments, **options)

    async def of(self, method: Any, *arguments: Any, **options: Any) -> Any:
        if self.blocking:
            return await anyio.to_thread.run_sync(partial(method, *arguments, **options))
        return await method(*arguments, **options)


@asynccontextmanager
async def calling(kind: str, url: str, token: str) -> AsyncIterator[Caller]:
    """Make a client, and close it at the end."""
    call = Caller((AsyncReplicate if kind == "async" else Replicate)(base_url=url, bearer_token=token))
    try:
        yield call
    finally:
        await call("close")


# The client's kind, and whether the server runs in a thread. A blocking client would block a server in its loop.
KINDS = [("async", False), ("async", True), ("blocking", True)]


@asynccontextmanager
async def pair(kind: str, threaded: bool, **options: Any) -> AsyncIterator[tuple[LocalServer, Caller]]:
    """Run a server with a virtual clock, and a client of it."""
    server = LocalServer(clock=VirtualClock(patience=30), **options)
    if threaded:
        with server:
            async with calling(kind, server.base_url, server.token) as caller:
                yield server, caller
    else:
        async with server, calling(kind, server.base_url, server.token) as caller:
            yield server, caller


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{'thread' if kind[1] else 'loop'}")
async def both(request: pytest.FixtureRequest) -> AsyncIterator[tuple[LocalServer, Caller]]:
    """A server and a client of each kind."""
    async with pair(*request.param) as (server, caller):
        yield server, caller


async def test_a_job_of_ten_minutes(both: tuple[LocalServer, Caller]) -> None:
    """A client that polls for ten minutes is done at once, with as few polls as in real time: at most two late."""
    server, call = both
    server.model("me/slow", output_delay=600)(models.hello_world)
    assert await call("run", "me/slow", input={"text": "a"}, wait=False, time_limit=3600) == "hello a"
    assert 600 <= server.clock.monotonic() < 622
    polls = sum(request.operation == "predictions.get" for request in server.requests)
    assert 60 <= polls <= 100


async def test_a_held_create(both: tuple[LocalServer, Caller]) -> None:
    """The clock advances while the server holds a create: a minute of holding takes no real time."""
    server, call = both
    server.model("me/slow", output_delay=90)(models.hello_world)
    assert await call("run", "me/slow", input={"text": "a"}, wait=60, time_limit=3600) == "hello a"
    assert 90 <= server.clock.monotonic() < 95


async def test_retry_after(both: tuple[LocalServer, Caller]) -> None:
    """A Retry-After of two minutes is respected, and takes no real time."""
    server, call = both
    server.faults.add(kind="rate_limit", retry_after=120, times=2)
    await call("account.get")
    assert 240 <= server.clock.monotonic() < 241
    assert [request.status for request in server.requests] == [429, 429, 200]


async def test_a_time_limit_while_polling(both: tuple[LocalServer, Caller]) -> None:
    """A time limit expires at its exact time, and the prediction is canceled then."""
    server, call = both
    server.model("me/slow", output_delay=3600)(models.hello_world)
    with pytest.raises(APITimeoutError, match="600 s") as caught:
        await call("run", "me/slow", input={"text": "a"}, wait=False, time_limit=600)
    assert server.predictions[str(caught.value.prediction_id)].status == "canceled"
    assert server.clock.monotonic() == 600


async def test_a_time_limit_while_nobody_answers(both: tuple[LocalServer, Caller]) -> None:
    """A request without a response fails at the time limit, even if no other timer is due."""
    server, call = both
    server.faults.add(kind="stall", operation="predictions.get")
    with pytest.raises(APITimeoutError, match="600 s"):
        await call("predictions.wait", "some-id", time_limit=600)
    assert server.clock.monotonic() == 600


async def test_many_at_once(both: tuple[LocalServer, Caller]) -> None:
    """With more waiting calls than connections, each call ends within its own limit."""
    server, call = both
    server.model("me/slow", output_delay=50)(models.hello_world)
    outputs: list[str] = [""] * 120

    async def run(number: int) -> None:
        outputs[number] = await call("run", "me/slow", input={"text": str(number)}, wait=60, time_limit=3600)

    async with anyio.create_task_group() as group:
        for number in range(len(outputs)):
            group.start_soon(run, number)
    assert outputs == [f"hello {number}" for number in range(len(outputs))]
    # The clock doesn't wait for a thread before its call begins.
    assert call.blocking or server.clock.monotonic() < 200


@asynccontextmanager
async def slow_way(server: LocalServer) -> AsyncIterator[str]:
    """Return a URL of a proxy that delays requests and responses, in real time."""

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(0.02)
            writer.write(data)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(urlsplit(server.url).hostname, urlsplit(server.url).port)
        await asyncio.gather(pass_on(reader, far_writer), pass_on(far_reader, writer))

    relay = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{relay.sockets[0].getsockname()[1]}/v1"
    finally:
        relay.close()


@pytest.mark.parametrize(("kind", "threaded"), KINDS)
async def test_a_request_on_its_way(kind: str, threaded: bool) -> None:
    """The clock stands still while a request or a response is in transit, so no limit expires meanwhile."""
    async with pair(kind, threaded) as (server, _), slow_way(server) as url:
        models.register(server)
        async with calling(kind, url, server.token) as call:
            assert await call("run", "replicate/hello-world", input={"text": "a"}, time_limit=3600) == "hello a"
        assert server.clock.monotonic() == 0


class SlowFile(io.BytesIO):
    """A file that is slow to read."""

    def read(self, size: int | None = -1, /) -> bytes:
        time.sleep(0.02)
        return super().read(size)


@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_file_being_read(both: tuple[LocalServer, Caller], size: int) -> None:
    """The clock stands still while threads read files, for an inline input or for an upload."""
    server, call = both

    @server.model("me/length")
    def length(file: str) -> int:
        return len(file)

    assert await call("run", "me/length", input={"file": SlowFile(bytes(size))}, time_limit=3600) > 10
    assert server.clock.monotonic() == 0


async def test_a_chain_of_models(both: tuple[LocalServer, Caller]) -> None:
    """A model whose input is the output of a slow model waits in virtual time."""
    server, call = both
    server.model("me/slow", output_delay=600)(models.hello_world)
    slow = call.client.use("me/slow")
    text = slow.create(text="a") if call.blocking else slow(text="a")
    if call.blocking:
        text = await call.of(text.output)
    assert await call("run", "me/slow", input={"text": text}, time_limit=7200) == "hello hello a"
    assert 1200 <= server.clock.monotonic() < 1244


def test_clients_that_the_code_makes_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Module-level functions use the clock as well, and so do clients made before or after the server."""
    # Nothing listens on this port.
    early = Replicate(bearer_token="x", base_url="http://127.0.0.1:9")
    with LocalServer(clock=VirtualClock(patience=5)) as server, _default_client(server, monkeypatch), early:
        server.model("me/slow", output_delay=600)(models.hello_world)
        assert replicate_async.run("me/slow", input={"text": "a"}, time_limit=3600) == "hello a"
        assert 600 <= server.clock.monotonic() < 622
        before = server.clock.monotonic()
        with pytest.raises(ReplicateError, match="no connection"):
            early.with_options(max_retries=9).account.get()
        assert server.clock.monotonic() - before > 20

        async def main() -> object:
            async with AsyncReplicate() as client:
                return await client.run("me/slow", input={"text": "b"}, time_limit=3600)

        assert asyncio.run(main()) == "hello b"


@contextmanager
def _default_client(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
    monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)
    default_client.cache_clear()
    yield
    default_client().close()
    default_client.cache_clear()


async def test_standing_still() -> None:
    """With a clock that stands still, a client waits until the test advances it, and no longer."""
    clock = VirtualClock(auto=False)
    async with (
        LocalServer(clock=clock) as server,
        AsyncReplicate(base_url=server.base_url, bearer_token=server.token) as client,
    ):
        server.faults.add(kind="rate_limit", retry_after=120, times=1)
        call = asyncio.create_task(_await(client.account.get()))
        await eventually(lambda: server.requests and server.requests[0].status == 429)
        await clock.advance(119)
        assert not call.done()
        # Clients add up to a quarter of a second of jitter.
        await clock.advance(1.25)
        assert (await call).username == "local"


async def _await(awaitable: Any) -> Any:
    return await awaitable


async def test_whose_clock() -> None:
    """Clients use a virtual clock only while a server with it runs; servers with real time don't change the clock."""
    real = sdk_clock.current
    async with LocalServer():
        assert sdk_clock.current is real
    clock = VirtualClock()
    async with LocalServer(clock=clock):
        async with LocalServer(clock=clock), LocalServer():
            assert sdk_clock.current is clock
        assert sdk_clock.current is clock
    assert sdk_clock.current is real
    with LocalServer(clock=clock):
        assert sdk_clock.current is clock
    assert sdk_clock.current is real


async def test_two_clocks() -> None:
    """A second server with another virtual clock is refused with a helpful message, and the first one continues."""
    clock = VirtualClock()
    async with LocalServer(clock=clock):
        with pytest.raises(RuntimeError, match="one clock only"):
            async with LocalServer(clock=VirtualClock()):
                pass
        with pytest.raises(RuntimeError, match="one clock only"), LocalServer(clock=VirtualClock()):
            pass
        assert sdk_clock.current is clock


class ObservedClock(VirtualClock):
    """Lists the delays of all timers."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.delays: list[float] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        self.delays.append(seconds)
        return super().call_later(seconds, callback)


@pytest.mark.parametrize(("kind", "threaded"), KINDS)
async def test_a_server_that_stops(kind: str, threaded: bool) -> None:
    """A client that sleeps on the clock while the server stops doesn't sleep forever."""
    clock = ObservedClock(patience=1)
    server = LocalServer(clock=clock)
    server.faults.add(kind="rate_limit", retry_after=120)
    await (anyio.to_thread.run_sync(server.__enter__) if threaded else server.__aenter__())
    async with calling(kind, server.base_url, server.token) as call:
        # This activity never ends, so the clock stands still while the server stops.
        clock.busy()
        waiting = asyncio.create_task(call.of(call.client.with_options(max_retries=1).account.get))
        await eventually(lambda: any(120 <= delay < 122 for delay in clock.delays))
        await (anyio.to_thread.run_sync(server.__exit__, None, None, None) if threaded else server.__aexit__())
        with pytest.raises((ReplicateError, RateLimitError)):
            await waiting


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child() -> None:
    """A forked child uses real time, because the server that moves the virtual clock doesn't run there."""
    program = """
    import asyncio, os
    from replicate_async._http import clock as sdk_clock
    from replicate_async.testing import LocalServer, VirtualClock
    real = sdk_clock.current
    with LocalServer(clock=VirtualClock()):
        child = os.fork()
        if not child:
            asyncio.run(sdk_clock.current.sleep(0.001))
            os._exit(0 if sdk_clock.current is real else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert sdk_clock.current is not real
    """
    # Python warns about forking a process with threads.
    ignored = ("-W", "ignore::DeprecationWarning")
    done = subprocess.run(
        [sys.executable, *ignored, "-c", textwrap.dedent(program)], capture_output=True, check=False, timeout=30
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_webhook_of_a_ten_minute_job() -> None:
    """A webhook that was sent in virtual time is verified in virtual time."""
    server = LocalServer(clock=VirtualClock())

    @server.model("owner/slow", official=True, output_delay=600.0)
    def slow() -> str:
        return "done"

    with server, Replicate(base_url=server.base_url, bearer_token=server.token) as client:
        # The URL doesn't exist, but the journal contains the request.
        client.run("owner/slow", webhook=f"{server.url}/nobody", webhook_events_filter=["completed"])
        call = server.webhooks[0]
        prediction = verify_webhook(call.body, call.headers, client.webhooks.default.secret.get())
        assert (prediction.status, prediction.output) == ("succeeded", "done")
        client.run("owner/slow", webhook=f"{server.url}/nobody")
        with pytest.raises(WebhookVerificationError, match="s old"):
            verify_webhook(call.body, call.headers, client.webhooks.default.secret.get())
