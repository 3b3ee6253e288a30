"""Virtual time: what uses it, when it advances, and that long waits take milliseconds."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
import time
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import pytest
import replicate
from hypothesis import given
from hypothesis import strategies as st

from replicate_async.testing import LocalServer, VirtualClock, models

from .conftest import Caller, eventually, serve
from .test_streams import read

pytestmark = pytest.mark.anyio


@pytest.fixture
async def auto_call() -> AsyncIterator[Caller]:
    """Return a caller of a server whose clock advances by itself."""
    # Threads may be slow to start.
    async with serve(tidy=True, clock=VirtualClock(patience=5)) as (_, caller):
        yield caller


def moment(text: str) -> datetime:
    # Python 3.10 reads up to six digits of fraction; the API sends nine.
    return datetime.fromisoformat(re.sub(r"(\.\d{6})\d*Z$", r"\1+00:00", text).replace("Z", "+00:00"))


async def test_ten_minutes(auto_call: Caller) -> None:
    """A prediction of ten minutes takes milliseconds, and its metrics say ten minutes."""
    auto_call.server.model("me/slow", startup=100, output_delay=600)(models.hello_world)
    begin = time.perf_counter()
    prediction = await auto_call.start("me/slow", text="a")
    ended = await auto_call.until(prediction, "succeeded")
    assert time.perf_counter() - begin < 1
    assert (ended["output"], ended["metrics"]) == ("hello a", {"predict_time": 600.0, "total_time": 700.0})
    assert moment(ended["completed_at"]) - moment(ended["started_at"]) == timedelta(seconds=600)


def test_ten_minutes_in_blocking_code() -> None:
    """The same with the official SDK and a server in a thread: the SDK waits a minute, then polls."""
    with LocalServer(tidy=True, clock=VirtualClock()) as server:
        server.model("me/slow", official=True, output_delay=600)(models.hello_world)
        with replicate.Replicate(bearer_token=server.token, base_url=server.base_url) as client:
            client.poll_interval = 0.01
            begin = time.perf_counter()
            assert client.run("me/slow", input={"text": "a"}) == "hello a"
            assert time.perf_counter() - begin < 1
        assert server.requests[0].operation == "models.predictions.create"
        assert {request.operation for request in server.requests[1:]} == {"predictions.get"}


async def test_models_that_sleep_on_the_clock(auto_call: Caller) -> None:
    """Async models, also with several tasks, and plain models in threads can sleep on the server's clock."""
    clock = auto_call.server.clock
    woken: list[tuple[str, float]] = []

    async def nap(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    @auto_call.server.model("me/async")
    async def several() -> None:
        await asyncio.gather(nap("b", 200), nap("a", 100))

    @auto_call.server.model("me/thread")
    def plain() -> None:
        asyncio.run(nap("c", 300))

    predictions = await asyncio.gather(auto_call.start("me/async"), auto_call.start("me/thread"))
    ended = [await auto_call.until(prediction, "succeeded") for prediction in predictions]
    assert [each["metrics"]["predict_time"] >= seconds for each, seconds in zip(ended, (200, 300), strict=True)]
    assert [name for name, _ in woken] == ["a", "b", "c"]
    assert woken[1][1] - woken[0][1] == 100


async def test_streaming(auto_call: Caller) -> None:
    """A stream with long pauses is complete at once, and its event ids contain the virtual time."""
    auto_call.server.model("me/slow", output_delay=20)(models.stream_text)
    events = await read(auto_call, await auto_call.start("me/slow", prompt="a b c", delay=0))
    assert [data for _, _, data in events] == ["a", " b", " c", "{}"]
    seconds = [int(str(event_id).split(":")[0]) for _, event_id, _ in events[:-1]]
    assert [later - earlier for earlier, later in itertools.pairwise(seconds)] == [20, 20]


async def test_deadlines() -> None:
    """A deadline passes although the model doesn't sleep on the clock, which waits for its patience only."""
    stopped = asyncio.Event()
    async with serve(tidy=True, clock=VirtualClock(patience=0.01)) as (server, call):

        @server.model("me/endless")
        async def endless() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                stopped.set()

        prediction = await call.start("me/endless", {"Cancel-After": "1h"})
        await stopped.wait()
        ended = await call.get(prediction)
        assert (ended["status"], ended["metrics"]["total_time"]) == ("canceled", 3600)


async def test_patience(auto_call: Caller) -> None:
    """The clock waits for threads and real sleeps that take less than the patience."""

    @auto_call.server.model("me/thread")
    def thread() -> str:
        time.sleep(0.01)
        return "done"

    @auto_call.server.model("me/async")
    async def real() -> str:
        await asyncio.sleep(0.01)
        return "done"

    # If the clock jumped too early, the response would come after the hold of a minute.
    for model in ("me/thread", "me/async"):
        assert (await auto_call.run(model))["output"] == "done"
    assert auto_call.server.clock.monotonic() == 0


async def test_no_time_passes_without_need(auto_call: Caller) -> None:
    """No time passes while no timer is due."""
    models.register(auto_call.server)
    for text in "abc":
        await auto_call.run("replicate/hello-world", text=text)
    assert auto_call.server.clock.monotonic() == 0


async def test_many(auto_call: Caller) -> None:
    """Each of many predictions ends at its own time, and shorter ones end first."""
    clock = auto_call.server.clock
    ends: list[int] = []

    @auto_call.server.model("me/slow")
    async def slow(seconds: int) -> None:
        await clock.sleep(seconds)
        ends.append(seconds)

    started = [await auto_call.start("me/slow", seconds=1000 - n) for n in range(200)]
    last = await auto_call.until(started[0], "succeeded")
    assert last["metrics"]["predict_time"] >= 1000
    await eventually(lambda: len(ends) == 200)


async def test_retention(auto_call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour of retention passes at once, with advance() in a loop and in a thread."""
    models.register(auto_call.server)
    clock = auto_call.server.clock
    assert isinstance(clock, VirtualClock)
    for advance in (clock.advance, lambda seconds: asyncio.to_thread(clock.advance, seconds)):
        prediction = await auto_call.run("replicate/hello-world", text="a")
        await advance(3599)
        assert (await auto_call.get(prediction))["output"] == "hello a"
        await advance(1)
        assert (await auto_call.get(prediction))["data_removed"] is True


async def test_the_date(slow_call: Caller, clock: VirtualClock) -> None:
    """Responses have the date of the clock."""
    for seconds in (0, 0.5, 0.5, 86400):
        await clock.advance(seconds)
        answer = await slow_call("GET", "/account")
        expected = datetime(2025, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=int(clock.monotonic()))
        assert parsedate_to_datetime(answer.headers["Date"]) == expected
    assert len(answer.headers.getall("Date")) == 1


async def test_standing_still(slow_call: Caller, clock: VirtualClock) -> None:
    """Without auto nothing happens until the clock is advanced, and then only what is due."""
    slow_call.server.model("me/slow", output_delay=10)(models.stream_text)
    prediction = await slow_call.start("me/slow", prompt="a b c", delay=0)
    await asyncio.sleep(0.05)
    assert (await slow_call.get(prediction))["output"] is None
    for expected in (["a"], ["a", " b"]):
        await clock.advance(10)
        assert (await slow_call.get(prediction))["output"] == expected
    await clock.advance(9.9)
    assert (await slow_call.get(prediction))["status"] == "processing"
    await clock.advance(0.1)
    assert (await slow_call.get(prediction))["status"] == "succeeded"


def test_advancing_from_a_thread() -> None:
    """In blocking code advance blocks until everything that is due has happened."""
    clock = VirtualClock(auto=False)
    with LocalServer(tidy=True, clock=clock) as server:
        server.model("me/slow", startup=30, output_delay=600)(models.hello_world)
        with replicate.Replicate(bearer_token=server.token, base_url=server.base_url) as client:
            prediction = client.models.predictions.create(model_owner="me", model_name="slow", input={"text": "a"})
            for seconds, status in ((29, "starting"), (1, "processing"), (599, "processing"), (1, "succeeded")):
                clock.advance(seconds)
                assert client.predictions.get(prediction_id=prediction.id).status == status


def test_a_client_that_sleeps_on_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The official SDK waits as long as a 429 says, in virtual time, and succeeds then."""
    clock = VirtualClock(auto=False)
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock.advance(seconds)

    with LocalServer(tidy=True, limits={"creates": 6, "create_burst": 1}, clock=clock) as server:
        models.register(server)
        monkeypatch.setattr(time, "sleep", sleep)
        with replicate.Replicate(bearer_token=server.token, base_url=server.base_url, max_retries=1) as client:
            for _ in range(3):
                assert client.run("replicate/hello-world", input={"text": "a"}) == "hello a"
    assert slept == [10, 10]


async def test_from_another_loop() -> None:
    """A clock of a server in a thread can be advanced, and slept on, in another loop."""
    clock = VirtualClock(auto=False)
    with LocalServer(tidy=True, clock=clock) as server:
        sleeper = asyncio.create_task(clock.sleep(5))
        await asyncio.sleep(0)
        await clock.advance(4)
        assert not sleeper.done()
        await clock.advance(1)
        await sleeper
        assert server.clock.monotonic() == 5
    begin = clock.monotonic()
    # A server that has stopped needs no time to settle.
    await clock.advance(7)
    assert clock.monotonic() - begin == 7


async def test_one_time_for_all() -> None:
    """A task that sleeps on the clock in another loop wakes before later timers of the server fire."""
    clock = VirtualClock(auto=False, patience=0.3)

    async def walk(*steps: float) -> list[float]:
        return [clock.monotonic() for step in steps if await clock.sleep(step) is None]

    with LocalServer(tidy=True, clock=clock) as server:

        @server.model("me/walk")
        async def model() -> list[float]:
            return await walk(7, 5)

        async with aiohttp.ClientSession() as session:
            call = Caller(server, session)
            prediction = await call.start("me/walk")
            walker = asyncio.create_task(walk(5, 5, 5))
            await call.until(prediction, "processing")
            await clock.advance(20)
            assert await walker == [5, 10, 15]
            assert (await call.until(prediction, "succeeded"))["output"] == [7, 12]


def test_before_the_start() -> None:
    """The clock of a server that hasn't started can be advanced."""
    clock = VirtualClock(datetime(2025, 1, 1, tzinfo=timezone.utc), auto=False)
    clock.advance(60)
    assert (clock.now(), clock.monotonic()) == (datetime(2025, 1, 1, 0, 1, tzinfo=timezone.utc), 60)


def test_stopping_while_somebody_waits() -> None:
    """A thread that is blocked in advance() is released when the server stops."""
    clock = VirtualClock(auto=False, patience=100)
    with LocalServer(tidy=True, clock=clock) as server:

        @server.model("me/endless")
        async def endless() -> None:
            await asyncio.Event().wait()

        with replicate.Replicate(bearer_token=server.token, base_url=server.base_url) as client:
            client.models.predictions.create(model_owner="me", model_name="endless", input={})
        thread = threading.Thread(target=clock.advance, args=(5,))
        thread.start()
        thread.join(0.05)
        assert thread.is_alive()
    thread.join(5)
    assert not thread.is_alive()


async def test_whose_clock() -> None:
    """Servers in one loop can share a clock; servers in different loops can't."""
    clock = VirtualClock(auto=False)
    async with serve(tidy=True, clock=clock) as (_, call), serve(tidy=True, clock=clock) as (_, other_call):
        for caller in (call, other_call):
            caller.server.model("me/slow", output_delay=5)(models.hello_world)
        predictions = [(caller, await caller.start("me/slow", text="a")) for caller in (call, other_call)]
        await clock.advance(5)
        for caller, prediction in predictions:
            assert (await caller.get(prediction))["status"] == "succeeded"
        with pytest.raises(RuntimeError, match="another loop"), LocalServer(tidy=True, clock=clock):
            pass


async def test_without_a_server() -> None:
    """The clock works without a server, too: with auto it jumps when all tasks sleep."""
    clock = VirtualClock()
    seen: list[tuple[str, float]] = []

    async def walk(name: str, *steps: float) -> None:
        for step in steps:
            await clock.sleep(step)
            await asyncio.sleep(0)
            seen.append((name, clock.monotonic()))

    await asyncio.gather(walk("a", 10, 10, 10), walk("b", 15, 10), walk("c", 0, 1000))
    assert seen == [("c", 0), ("a", 10), ("b", 15), ("a", 20), ("b", 25), ("a", 30), ("c", 1000)]


async def test_giving_up() -> None:
    """A task that is cancelled while it sleeps leaves no timer behind."""
    clock = VirtualClock(auto=False)
    sleeper = asyncio.create_task(clock.sleep(5))
    await asyncio.sleep(0)
    sleeper.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sleeper
    await clock.advance(10)
    assert clock.monotonic() == 10


@given(naps=st.lists(st.lists(st.integers(0, 20), max_size=5), max_size=5), auto=st.booleans())
def test_everybody_wakes_in_time(naps: list[list[int]], auto: bool) -> None:
    """All tasks wake exactly when they are due, and time never goes back."""

    async def run() -> None:
        clock = VirtualClock(auto=auto)
        seen: list[float] = []

        async def sleeper(steps: list[int]) -> None:
            due = 0
            for step in steps:
                due += step
                await clock.sleep(step)
                assert clock.monotonic() == due
                seen.append(due)

        tasks: Any = asyncio.gather(*(sleeper(steps) for steps in naps))
        if not auto:
            await asyncio.sleep(0)
            await clock.advance(100)
            assert clock.monotonic() == 100
        await tasks
        assert seen == sorted(seen)

    asyncio.run(run())


def test_what_makes_no_sense() -> None:
    """A negative advance and a start without a time zone are refused."""
    with pytest.raises(ValueError, match="0 seconds or more"):
        VirtualClock().advance(-1)
    with pytest.raises(ValueError, match="with a time zone"):
        VirtualClock(datetime(2025, 1, 1))  # noqa: DTZ001
