"""Many inputs, each billed once: map and submit, with both clients."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import itertools
import os
import signal
import sys
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, suppress
from typing import Any

import anyio
import pytest

import programs
from callers import Caller, calling
from replicate_async import (
    AsyncFileOutput,
    AsyncReplicate,
    FileOutput,
    MapProgress,
    ModelError,
    NotFoundError,
    PredictionCanceledError,
    Replicate,
    ReplicateError,
)
from replicate_async.testing import LocalServer, OutputFile
from simulation import Simulation, simulate

pytestmark = pytest.mark.anyio


class Models:
    """Models on a server: which inputs they have started, and how many at once."""

    def __init__(self, server: LocalServer) -> None:
        self.begun: list[int] = []
        self.at_once = self.most_at_once = 0
        self.go_on = threading.Event()

        @server.model("owner/number", official=True)
        async def number(n: int, wait: bool = False, fail: bool = False) -> int:
            self.begun.append(n)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await asyncio.sleep(0.005)
                while wait and not self.go_on.is_set():  # noqa: ASYNC110 - it is set in another thread
                    await asyncio.sleep(0.005)
            finally:
                self.at_once -= 1
            if fail:
                raise ValueError(f"no luck with {n}")
            return n

        @server.model("owner/file", official=True)
        def file(n: int) -> OutputFile:
            print("painting")  # noqa: T201
            return OutputFile(b"content %d" % n, "text/plain", "out.txt")


@pytest.fixture
def server() -> Iterator[LocalServer]:
    """A server in a thread, so that blocking tests can call it as well."""
    with LocalServer(tidy=True) as server:
        yield server


@pytest.fixture
def models(server: LocalServer) -> Models:
    return Models(server)


@pytest.fixture(params=["async", "blocking"])
async def call(request: pytest.FixtureRequest, server: LocalServer, models: Models) -> AsyncIterator[Caller]:
    async with calling(request.param, server.base_url, server.token) as caller:
        yield caller


@pytest.fixture
async def client(server: LocalServer, models: Models) -> AsyncIterator[AsyncReplicate]:
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        yield client


@pytest.fixture
def blocking(server: LocalServer, models: Models) -> Iterator[Replicate]:
    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        yield client


def numbers(count: int, **more: Any) -> list[dict[str, Any]]:
    return [{"n": n, **more} for n in range(count)]


def statuses(server: LocalServer) -> list[str]:
    return [prediction.status for prediction in server.predictions.values()]


async def until(condition: Any) -> None:
    """Wait until a condition holds."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - the server knows nothing of tests
            await asyncio.sleep(0.002)


async def collect(call: Caller, *arguments: Any, **options: Any) -> tuple[list[Any], BaseException | None]:
    """Return the outputs of a map, and the error that it raises after them."""
    outputs: list[Any] = []
    mapped = call.client.map(*arguments, **options)
    try:
        if call.blocking:
            await anyio.to_thread.run_sync(lambda: outputs.extend(note(mapped, outputs)))
        else:
            async for output in mapped:
                outputs.append(output)  # noqa: PERF401 - what came before an error counts
    except BaseException as error:  # noqa: BLE001 - it is checked
        return outputs, error
    return outputs, None


def note(items: Iterator[Any], outputs: list[Any]) -> Iterator[Any]:
    """Append what an iterator yields to a list; yields nothing itself."""
    for output in items:
        outputs.append(output)  # noqa: PERF402 - what came before an error counts
    yield from ()


# --- inputs of all kinds ---


async def generated(count: int) -> AsyncIterator[dict[str, Any]]:
    for inputs in numbers(count):
        await asyncio.sleep(0)
        yield inputs


class OldStyle:
    """An object that can be iterated, and has no other method."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(numbers(10))


@pytest.mark.parametrize(
    "make",
    [
        lambda: numbers(10),
        lambda: iter(numbers(10)),
        lambda: (inputs for inputs in numbers(10)),
        OldStyle,
        lambda: tuple(numbers(10)),
        lambda: generated(10),
        lambda: dict(enumerate(numbers(10))).values(),
    ],
    ids=["list", "iterator", "generator", "iterable", "tuple", "async generator", "dict values"],
)
@pytest.mark.parametrize("ordered", [True, False])
async def test_every_kind_of_inputs(call, server, make, ordered):
    """Any iterable or async iterable is taken, each input is run once, and ordered outputs come in order."""
    outputs = await call.all(call.client.map("owner/number", make(), ordered=ordered, concurrency=3))
    assert (outputs if ordered else sorted(outputs)) == list(range(10))
    assert len(server.predictions) == 10


async def test_no_inputs(call, server):
    """Without inputs there are no outputs, and no requests."""
    assert await call.all(call.client.map("owner/number", [])) == []
    assert await call.all(call.client.map("owner/number", iter(()))) == []
    assert server.requests == []


async def test_infinite_inputs_are_read_as_needed(client, models):
    """Infinite inputs are read only as far as they can run, or wait for a slow reader."""
    taken: list[int] = []

    def endless() -> Iterator[dict[str, Any]]:
        for n in itertools.count():
            taken.append(n)
            yield {"n": n, "wait": n == 0}

    async with aclosing(client.map("owner/number", endless(), concurrency=5)) as outputs:
        first = asyncio.ensure_future(anext(outputs))
        # The first output delays all others, of which so many are kept.
        await until(lambda: len(taken) == 20)
        await asyncio.sleep(0.05)
        assert (len(taken), models.most_at_once <= 5) == (20, True)
        models.go_on.set()
        assert await first == 0
        assert [await anext(outputs) for _ in range(30)] == list(range(1, 31))
        await until(lambda: len(taken) == 31 + 20)
        await asyncio.sleep(0.05)
        assert len(taken) == 31 + 20, "a reader who stops holds the inputs, too"


def test_a_slow_blocking_reader(blocking):
    """In the blocking client some more outputs wait for their reader, and no more than that."""
    taken: list[int] = []

    def endless() -> Iterator[dict[str, Any]]:
        for n in itertools.count():
            taken.append(n)
            yield {"n": n}

    outputs = blocking.map("owner/number", endless(), concurrency=5)
    assert next(outputs) == 0
    seen = -1
    # Until no more inputs are read.
    while len(taken) > seen:
        seen = len(taken)
        time.sleep(0.5)
    assert seen <= 64 + 1 + 20
    assert [next(outputs) for _ in range(200)] == list(range(1, 201))
    outputs.close()


async def test_the_concurrency_is_a_limit(call, models):
    """The model never runs more inputs at once than the concurrency."""
    models.go_on.set()
    assert await call.all(call.client.map("owner/number", numbers(40), concurrency=4)) == list(range(40))
    assert 1 < models.most_at_once <= 4


@pytest.mark.endurance
async def test_memory_does_not_grow_with_the_inputs():
    """Thousands of inputs keep no more memory than hundreds: no input, task or result remains."""

    async def run(client: AsyncReplicate, count: int, **options: Any) -> int:
        inputs = ({"text": str(n)} for n in range(count))
        version = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
        outputs = 0
        async for _ in client.map(version, inputs, concurrency=20, **options):
            outputs += 1
        assert outputs == count
        gc.collect()
        kept = tracemalloc.take_snapshot().filter_traces(
            [tracemalloc.Filter(True, pattern) for pattern in (inspect.getfile(MapProgress), "*/asyncio/*", __file__)]
        )
        return sum(trace.size for trace in kept.traces)

    with LocalServer.process() as server:
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
            tracemalloc.start()
            try:
                # Opens the connections.
                await run(client, 1_000)
                before = await run(client, 300)
                assert await run(client, 5_000) - before < 50_000
                assert await run(client, 1_000, ordered=False) - before < 50_000
            finally:
                tracemalloc.stop()


async def test_inputs_may_block(client, models):
    """A generator that blocks its thread blocks neither the loop nor the outputs of earlier inputs."""
    goes_on = threading.Event()

    def slow() -> Iterator[dict[str, Any]]:
        yield from numbers(3)
        goes_on.wait(10)
        yield {"n": 3}

    outputs = client.map("owner/number", slow())
    assert [await anext(outputs) for _ in range(3)] == [0, 1, 2]
    goes_on.set()
    assert [output async for output in outputs] == [3]


async def test_outputs_come_while_inputs_are_awaited(client):
    """An asynchronous source that yields nothing for a while does not delay outputs that are ready."""
    queue: asyncio.Queue[int | None] = asyncio.Queue()

    async def from_queue() -> AsyncIterator[dict[str, Any]]:
        while (n := await queue.get()) is not None:
            yield {"n": n}

    outputs = client.map("owner/number", from_queue())
    for n in range(3):
        queue.put_nowait(n)
        assert await anext(outputs) == n
    queue.put_nowait(None)
    assert [output async for output in outputs] == []


async def test_context_variables_reach_the_inputs(call):
    """Iterables of inputs see the caller's context variables, even in another thread."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    variable.set(7)

    def generator() -> Iterator[dict[str, Any]]:
        yield {"n": variable.get()}

    async def asynchronous() -> AsyncIterator[dict[str, Any]]:
        yield {"n": variable.get()}

    assert await call.all(call.client.map("owner/number", generator())) == [7]
    assert await call.all(call.client.map("owner/number", asynchronous())) == [7]


# --- the order of the outputs ---


async def test_outputs_as_they_are_ready(call, models):
    """Unordered, a slow output delays no other; ordered, later outputs wait for it."""
    inputs = [{"n": 0, "wait": True}, *numbers(5)[1:]]
    for ordered in (False, True):
        models.go_on.clear()
        models.begun.clear()
        reading = asyncio.ensure_future(collect(call, "owner/number", inputs, ordered=ordered))
        await until(lambda: sorted(models.begun) == [0, 1, 2, 3, 4])
        await until(lambda: models.at_once == 1)
        # By then, the others have been polled.
        await asyncio.sleep(0.6)
        models.go_on.set()
        outputs, _ = await reading
        assert sorted(outputs) == [0, 1, 2, 3, 4]
        assert outputs.index(0) == (0 if ordered else 4)


# --- failures ---


async def test_a_failure_loses_no_other_output(call, server, models):
    """When a prediction fails, those in progress are completed and yielded; then the error comes, and no more start."""
    inputs = [{"n": n, "wait": n != 2, "fail": n == 2} for n in range(6)]
    reading = asyncio.ensure_future(collect(call, "owner/number", inputs + numbers(100), concurrency=6))
    await until(lambda: "failed" in statuses(server))
    await asyncio.sleep(0.3)
    models.go_on.set()
    outputs, error = await reading
    assert outputs == [0, 1, 3, 4, 5]
    assert isinstance(error, ModelError)
    assert "no luck with 2" in str(error)
    assert error.__notes__ == ["it was input 2 of a map; the other inputs' outputs have been yielded"]
    assert len(server.predictions) == 6


if sys.version_info >= (3, 12):

    async def test_a_failure_among_eager_tasks(client, server):
        """If tasks start eagerly and the first input fails at once, the others are still not started."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(asyncio.eager_task_factory)
        try:
            outputs, error = await collect(
                Caller(client), "owner/number", [{"n": object()}, *numbers(30)], concurrency=10
            )
        finally:
            loop.set_task_factory(None)
        assert (outputs, type(error)) == ([], TypeError)
        assert server.predictions == {}


async def test_several_failures(call, server):
    """Of several errors the first is raised, with a note about the others."""
    outputs, error = await collect(call, "owner/number", [{"n": n, "fail": n > 1} for n in range(4)], concurrency=4)
    assert outputs == [0, 1]
    assert isinstance(error, ModelError)
    assert [note.partition(":")[0] for note in error.__notes__] == [
        "it was input 2 of a map; the other inputs' outputs have been yielded",
        "input 3 failed as well",
    ]


async def test_errors_as_values(call, server):
    """With ``return_exceptions`` errors stand in place of their outputs, and all inputs run."""
    inputs = [{"n": n, "fail": n % 2 == 1} for n in range(9)]
    outputs, error = await collect(call, "owner/number", inputs, concurrency=2, return_exceptions=True)
    assert error is None
    assert outputs[::2] == [0, 2, 4, 6, 8]
    assert [str(output.prediction.error) for output in outputs[1::2]] == [f"no luck with {n}" for n in (1, 3, 5, 7)]


BAD: dict[str, Any] = {
    "None": None,
    "int": 5,
    "str": "text",
    "object": {"n": sys},
    "nan": {"n": float("nan")},
    "pairs": [("n", 1)],
}


@pytest.mark.parametrize("bad", BAD)
async def test_a_bad_input(call, server, bad):
    """An input that can't be sent raises an error at its place, before it is billed; the others run."""
    inputs = [{"n": 0}, BAD[bad], {"n": 2}]
    outputs, error = await collect(call, "owner/number", inputs, return_exceptions=True)
    assert (outputs[0], outputs[2], error) == (0, 2, None)
    assert isinstance(outputs[1], (TypeError, ValueError))
    outputs, error = await collect(call, "owner/number", inputs, concurrency=1)
    assert outputs == [0]
    assert isinstance(error, (TypeError, ValueError))
    assert "input 1 of a map" in error.__notes__[0]
    assert len(server.predictions) == 3


async def test_an_input_that_the_model_refuses(call, server):
    """An input that only the API can check raises the API's error."""
    outputs, error = await collect(call, "owner/number", [{"n": "x"}, {"n": 1}], return_exceptions=True)
    assert (outputs[1], error) == (1, None)
    assert "input.n" in str(outputs[0])


@pytest.mark.parametrize("kind", ["generator", "asynchronous", "iter"])
@pytest.mark.parametrize("return_exceptions", [True, False])
async def test_inputs_that_raise(call, server, models, kind, return_exceptions):
    """An error of the iterable is raised after all outputs of inputs that were started; it is not a result."""

    def generator() -> Iterator[dict[str, Any]]:
        yield from numbers(3)
        raise KeyError("no more")

    async def asynchronous() -> AsyncIterator[dict[str, Any]]:
        for inputs in numbers(3):
            yield inputs
        raise KeyError("no more")

    class Broken:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            raise KeyError("no more")

    inputs: Any = {"generator": generator, "asynchronous": asynchronous, "iter": Broken}[kind]()
    outputs, error = await collect(call, "owner/number", inputs, return_exceptions=return_exceptions)
    assert outputs == ([] if kind == "iter" else [0, 1, 2])
    assert isinstance(error, KeyError)


class Unusual(BaseException):
    """What no except clause expects."""


@pytest.mark.parametrize("kind", [asyncio.CancelledError, Unusual])
async def test_inputs_that_raise_what_is_no_exception(call, kind):
    """A map never ends as if it were complete: whatever the inputs raise is raised, after the outputs before."""

    def inputs() -> Iterator[dict[str, Any]]:
        yield {"n": 1}
        raise kind

    seen: list[Any] = []

    async def read() -> None:
        outputs, error = await collect(call, "owner/number", inputs())
        seen.extend(outputs)
        if error is not None:
            raise error

    with pytest.raises(kind):
        await read()


async def test_callbacks_that_raise_what_is_no_exception(call):
    """The same for ``on_update``."""

    def on_update(_progress: MapProgress) -> None:
        raise Unusual

    with pytest.raises(Unusual):
        await call.all(call.client.map("owner/number", [{"n": 1}], on_update=on_update))


async def test_an_iterator_that_raises_stop_async_iteration(call):
    """It is the end of other iterations only: a map that ended here would lose inputs."""

    def inputs() -> Iterator[dict[str, Any]]:
        yield {"n": 1}
        raise StopAsyncIteration

    outputs, error = await collect(call, "owner/number", inputs())
    assert outputs == [1]
    assert isinstance(error, RuntimeError)


async def test_inputs_that_raise_stop_iteration(call):
    """A StopIteration from ``__iter__`` raises RuntimeError, as in coroutines, instead of waiting for ever."""

    class Rows:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            header = next(iter(()))
            return iter([header])

    with anyio.fail_after(10):
        outputs, error = await collect(call, "owner/number", Rows())
    assert (outputs, type(error)) == ([], RuntimeError)
    assert isinstance(error.__cause__, StopIteration)


async def test_inputs_that_raise_and_a_failure(call, models, server):
    """If both the iterable and a prediction fail, neither error is lost."""

    def generator() -> Iterator[dict[str, Any]]:
        yield {"n": 0, "wait": True, "fail": True}
        raise KeyError("no more")

    reading = asyncio.ensure_future(collect(call, "owner/number", generator()))
    await until(lambda: models.begun)
    await asyncio.sleep(0.05)
    models.go_on.set()
    outputs, error = await reading
    assert outputs == []
    assert isinstance(error, KeyError)
    assert "input 0 failed as well: ModelError" in error.__notes__[0]


async def test_inputs_that_end_the_program(call):
    """``sys.exit()`` in a generator is raised to the caller, and the blocking client's loop survives."""

    def generator() -> Iterator[dict[str, Any]]:
        yield {"n": 0}
        sys.exit("no such file")

    outputs, error = await collect(call, "owner/number", generator())
    assert (outputs, type(error)) == ([0], SystemExit)
    assert await call("run", "owner/number", {"n": 1}) == 1


async def test_a_model_that_does_not_exist(call, server):
    """A wrong name is reported by the first error, without further requests."""
    outputs, error = await collect(call, "owner/nothing", numbers(1000), concurrency=2)
    assert (outputs, type(error)) == ([], NotFoundError)
    assert len(server.requests) < 10
    assert server.token not in str(error) + repr(getattr(error, "__notes__", ""))


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (("nonsense", []), ValueError),
        (("owner/number", {"n": 1}), TypeError),
        (("owner/number", "text"), TypeError),
        (("owner/number", b"bytes"), TypeError),
        (("owner/number", None), TypeError),
        (("owner/number", 5), TypeError),
    ],
)
async def test_bad_arguments(call, server, arguments, kind):
    """Invalid arguments raise before anything is sent."""
    _, error = await collect(call, *arguments)
    assert type(error) is kind
    assert ("inputs must be an iterable of mappings" in str(error)) is (kind is TypeError)
    assert server.requests == []


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"concurrency": 0}, ValueError),
        ({"concurrency": -1}, ValueError),
        ({"concurrency": True}, TypeError),
        ({"concurrency": 2.0}, TypeError),
        ({"prompt": "x"}, TypeError),
        ({"timeout": 0}, ValueError),
        ({"cancel_after": 1}, ValueError),
        ({"webhook_events_filter": ["done"]}, ValueError),
    ],
    ids=str,
)
async def test_bad_options(call, server, options, kind):
    """Invalid options do too, and leave the inputs alone."""
    _, error = await collect(call, "owner/number", numbers(1), **options)
    assert type(error) is kind
    assert server.requests == []


async def test_arguments_are_sent(call, server):
    """``map`` takes everything that a create takes, and applies it to each input."""
    options: Any = {"webhook": "https://example.com/hook", "webhook_events_filter": ["completed"]}
    options |= {"cancel_after": "5m", "extra_headers": {"X-Mine": "1"}}
    await call.all(call.client.map("owner/number", numbers(2), **options))
    for n, request in enumerate(sorted(server.requests, key=lambda request: request.body)):
        assert request.json() == {"input": {"n": n}, **{k: options[k] for k in ("webhook", "webhook_events_filter")}}
        assert (request.headers["Cancel-After"], request.headers["X-Mine"]) == ("5m", "1")


async def test_files_are_file_outputs(call):
    """URLs in outputs become the client's file outputs, or stay URLs."""
    outputs = await call.all(call.client.map("owner/file", numbers(2)))
    assert [type(output) for output in outputs] == [FileOutput if call.blocking else AsyncFileOutput] * 2
    assert await call.of(outputs[1].read) == b"content 1"
    (url,) = await call.all(call.client.map("owner/file", numbers(1), use_file_output=False))
    assert url.startswith("http")


# --- leaving early ---


class Left(Exception):  # noqa: N818
    """Raised by a reader that leaves its loop."""


async def leave(way: str, outputs: Any) -> None:  # noqa: C901 - there are many ways
    """Leave a map after its first output."""
    if way == "break":
        async for _ in outputs:
            break
    elif way == "exception":
        async for _ in outputs:
            raise Left
    elif way == "aclose":
        await anext(outputs)
        await outputs.aclose()
    elif way == "time limit":
        with anyio.move_on_after(0.5):
            async for _ in outputs:
                pass
    else:
        read = asyncio.Event()

        async def follow() -> None:
            async for _ in outputs:
                read.set()

        task = asyncio.ensure_future(follow())
        await read.wait()
        task.cancel()
        if way == "cancelled twice":
            await asyncio.sleep(0)
            task.cancel()
        with suppress(asyncio.CancelledError):
            await task


FIRST_ONLY = [{"n": 0}, *({"n": n, "wait": True} for n in range(1, 50))]


@pytest.mark.parametrize("way", ["break", "exception", "aclose", "time limit", "cancelled", "cancelled twice"])
@pytest.mark.parametrize("concurrency", [5, 40], ids=["held", "polled"])
async def test_leaving(server, models, way, concurrency):
    """However a map is left, and its client right after it, all runs are canceled, and no more are started."""
    with suppress(Left):
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
            await leave(way, client.map("owner/number", FIRST_ONLY, concurrency=concurrency))
    await until(lambda: set(statuses(server)) <= {"succeeded", "canceled", "aborted"})
    created = len(server.predictions)
    await asyncio.sleep(0.05)
    assert statuses(server).count("succeeded") == 1
    assert 2 <= created == len(server.predictions) <= concurrency + 1


@pytest.mark.parametrize("concurrency", [5, 40], ids=["held", "polled"])
async def test_leaving_equal_inputs(client, server, concurrency):
    """Runs of equal inputs are distinguished well enough to cancel all of them."""
    inputs = [{"n": 0}, *[{"n": 1, "wait": True}] * 50]
    outputs = client.map("owner/number", inputs, concurrency=concurrency)
    await anext(outputs)
    await outputs.aclose()
    assert set(statuses(server)) == {"succeeded", "canceled"}


@pytest.mark.parametrize("kind", ["generator", "asynchronous"])
async def test_leaving_closes_the_inputs(client, kind):
    """A generator of inputs that only the map uses is closed when the map is left, without garbage collection."""
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()

    def generator() -> Iterator[dict[str, Any]]:
        try:
            yield from numbers(50)
        finally:
            loop.call_soon_threadsafe(closed.set)

    async def asynchronous() -> AsyncIterator[dict[str, Any]]:
        try:
            for inputs in numbers(50):
                yield inputs
        finally:
            closed.set()

    gc.disable()
    try:
        async with aclosing(client.map("owner/number", {"generator": generator}.get(kind, asynchronous)())) as outputs:
            await anext(outputs)
        del outputs
        with anyio.fail_after(10):
            await closed.wait()
    finally:
        gc.enable()


def test_a_failure_while_the_inputs_wait():
    """A failure ends a map at once, also if the next input is not there yet."""

    async def main(sim: Simulation) -> None:
        async def inputs() -> AsyncIterator[dict[str, Any]]:
            yield {"n": 0, "fail": True}
            await sim.sleep(1000)

        async with LocalServer(clock=sim) as server:
            Models(server)
            async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
                with pytest.raises(ModelError):
                    await anext(client.map("owner/number", inputs()))
                assert sim.monotonic() < 5

    simulate(main)


def test_inputs_that_do_not_close():
    """A map that is left waits for its inputs and its runs for at most six seconds."""

    async def main(sim: Simulation) -> None:
        async def inputs() -> AsyncIterator[dict[str, Any]]:
            yield {"n": 0}
            try:
                await sim.sleep(1000)
            finally:
                await sim.sleep(1000)

        async with LocalServer(clock=sim) as server:
            Models(server)
            async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
                outputs = client.map("owner/number", inputs())
                assert await anext(outputs) == 0
                before = sim.monotonic()
                await outputs.aclose()
                assert sim.monotonic() - before == pytest.approx(6, abs=0.1)

    simulate(main)


async def test_leaving_without_canceling(server, models):
    """With ``cancel_on_abort=False`` the runs continue; no more are started."""
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        outputs = client.map("owner/number", FIRST_ONLY, concurrency=5, cancel_on_abort=False)
        await anext(outputs)
        await until(lambda: len(server.predictions) == 6)
        await outputs.aclose()
    models.go_on.set()
    await until(lambda: set(statuses(server)) == {"succeeded"})
    assert len(server.predictions) == 6
    assert "predictions.cancel" not in [request.operation for request in server.requests]


async def test_a_client_that_is_closed_meanwhile(server, models):
    """Closing the client while a map is read ends the map with an error, not silently."""
    client = AsyncReplicate(bearer_token=server.token, base_url=server.base_url)
    reading = asyncio.ensure_future(collect(Caller(client), "owner/number", numbers(20, wait=True), concurrency=5))
    await until(lambda: len(models.begun) == 5)
    await client.close()
    with anyio.fail_after(10):
        outputs, error = await reading
    assert (outputs, type(error)) == ([], ReplicateError)
    assert statuses(server) == ["canceled"] * 5


async def test_a_map_that_is_never_read(client, server):
    """A map starts with its first output: without a reader, it sends nothing, and gives no warning."""
    outputs = client.map("owner/number", numbers(5))
    del outputs
    gc.collect()
    await client.map("owner/number", numbers(5)).aclose()
    assert server.requests == []


@pytest.mark.parametrize("way", ["break", "exception", "close"])
def test_blocking_leaving(server, models, way):
    """A blocking loop that is left cancels its runs, even if the client is closed on the way out."""
    with suppress(Left), Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        outputs = client.map("owner/number", FIRST_ONLY, concurrency=5)
        for _ in outputs:
            if way == "exception":
                raise Left
            break
        if way == "close":
            outputs.close()
        else:
            del outputs
    assert set(statuses(server)) == {"succeeded", "canceled"}


@pytest.mark.parametrize("inputs", ["numbers", "endless", "blocked"])
@pytest.mark.skipif(sys.platform == "win32", reason="a process can't send another Ctrl-C there")
def test_ctrl_c(server, models, inputs):
    """Ctrl-C in a blocking loop cancels its runs, whatever the inputs are doing, and the program ends."""
    program = f"""
        import itertools, queue
        import replicate_async as replicate

        inputs = {FIRST_ONLY!r}
        if {inputs!r} == "endless":
            inputs = itertools.chain(inputs, itertools.repeat({{"n": 1}}))
        if {inputs!r} == "blocked":
            inputs = itertools.chain(inputs[:3], iter(queue.SimpleQueue().get, None))
        try:
            for output in replicate.map("owner/number", inputs, concurrency=5):
                print(output, flush=True)
        except KeyboardInterrupt:
            print("interrupted")
    """
    environment = {"REPLICATE_API_TOKEN": server.token, "REPLICATE_BASE_URL": server.base_url}
    with programs.start(program, **environment) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "0\n"
            os.kill(process.pid, signal.SIGINT)
            output, errors = process.communicate(timeout=10)
        except BaseException:
            process.kill()
            raise
    assert (process.returncode, output, errors) == (0, "interrupted\n", "")
    assert set(statuses(server)) == {"succeeded", "canceled"}


def test_a_program_that_forgets_a_map(server, models):
    """A program may end in the middle of a map whose inputs block: it ends, and nothing is left running."""
    program = """
        import itertools, queue
        import replicate_async as replicate

        inputs = itertools.chain([{"n": 0}, {"n": 1, "wait": True}], iter(queue.SimpleQueue().get, None))
        outputs = replicate.map("owner/number", inputs)
        print(next(outputs))
    """
    environment = {"REPLICATE_API_TOKEN": server.token, "REPLICATE_BASE_URL": server.base_url}
    assert programs.run(program, **environment) == "0\n"
    assert set(statuses(server)) <= {"succeeded", "canceled"}


# --- progress ---


async def test_progress(call, server, models):
    """``on_update`` receives each change, with counts that add up at the end."""
    seen: list[MapProgress] = []
    inputs = [{"n": n, "fail": n == 3} for n in range(6)]
    outputs, error = await collect(
        call, "owner/number", inputs, concurrency=2, return_exceptions=True, on_update=seen.append
    )
    assert (len(outputs), error) == (6, None)
    assert {progress.index for progress in seen} == set(range(6))
    assert [(progress.succeeded, progress.failed) for progress in seen] == sorted(
        (progress.succeeded, progress.failed) for progress in seen
    )
    assert all(0 <= progress.started - progress.succeeded - progress.failed <= 2 for progress in seen)
    assert (seen[-1].started, seen[-1].succeeded, seen[-1].failed) == (6, 5, 1)
    ends = {progress.index: progress.prediction for progress in seen if progress.prediction.done}
    assert {index: prediction.status for index, prediction in ends.items()} == {
        n: "failed" if n == 3 else "succeeded" for n in range(6)
    }
    assert len([progress for progress in seen if progress.prediction.done]) == 6, "each end is reported once"


async def test_progress_of_creates_that_are_refused(call, server):
    """An input whose prediction can't be created is reported as failed, without a prediction."""
    server.faults.add(operation="models.predictions.create", kind="status", status=402, times=2)
    seen: list[MapProgress] = []
    options = {"return_exceptions": True, "on_update": seen.append, "concurrency": 1}
    await collect(call, "owner/number", [{"n": n} for n in range(3)], **options)
    assert [(progress.index, progress.failed) for progress in seen if progress.prediction is None] == [(0, 1), (1, 2)]
    assert (seen[-1].started, seen[-1].succeeded, seen[-1].failed) == (3, 1, 2)


@pytest.mark.parametrize("at", ["created", "ended"])
@pytest.mark.parametrize("return_exceptions", [True, False])
async def test_a_callback_that_raises(call, server, models, at, return_exceptions):
    """An error of ``on_update`` is raised at the end: it loses no output, and the callback is not called again."""
    calls: list[MapProgress] = []

    def update(progress: MapProgress) -> None:
        if progress.prediction.done == (at == "ended"):
            calls.append(progress)
            raise KeyError("a bug")

    outputs, error = await collect(
        call,
        "owner/number",
        numbers(50),
        concurrency=4,
        on_update=update,
        return_exceptions=return_exceptions,
    )
    assert isinstance(error, KeyError)
    assert len(calls) == 1
    assert outputs == list(range(len(server.predictions)))
    assert 1 <= len(outputs) <= 8
    assert set(statuses(server)) == {"succeeded"}


async def test_a_community_models_version_is_looked_up_once(call, server):
    """Only official models run by name: for other models, the first input finds the version for all."""
    server.model("owner/community")(lambda n: n)
    server.faults.add(kind="status", operation="models.predictions.create", status=404)
    assert await call.all(call.client.map("owner/community", numbers(10), concurrency=1)) == list(range(10))
    refused = [request for request in server.requests if request.status == 404]
    assert (len(refused), len(server.requests)) == (1, 12)


# --- submit ---


async def test_a_handle(call, server, models):
    """A handle has the id and the prediction at once, fetches logs, and waits for the output."""
    run = await call("submit", "owner/number", {"n": 7, "wait": True})
    assert run.id == run.prediction.id == next(iter(server.predictions))
    assert run.prediction.status in {"starting", "processing"}
    assert run.id in repr(run)
    assert await call.of(run.logs) == ""
    models.go_on.set()
    assert await call.of(run.output) == 7
    assert await call.of(run.output) == 7, "again"
    assert run.prediction.status == "succeeded"
    assert run.prediction.metrics is not None
    assert (await call.of(run.wait)).output == 7
    creates = [request for request in server.requests if request.operation == "models.predictions.create"]
    assert len(creates) == 1
    assert "Prefer" not in creates[0].headers


async def test_a_handles_files(call):
    """The output of a handle has file outputs, as that of run, unless the caller opted out."""
    run = await call("submit", "owner/file", {"n": 1})
    output = await call.of(run.output)
    assert type(output) is (FileOutput if call.blocking else AsyncFileOutput)
    assert await call.of(output.read) == b"content 1"
    assert "painting" in await call.of(run.logs)
    plain = await call("submit", "owner/file", {"n": 1}, use_file_output=False)
    assert (await call.of(plain.output)).startswith("http")


async def test_a_handle_of_a_failed_model(call):
    """A failed model is an error of ``output``, not of ``wait``."""
    run = await call("submit", "owner/number", {"n": 1, "fail": True})
    with pytest.raises(ModelError, match="no luck with 1"):
        await call.of(run.output)
    assert (await call.of(run.wait)).status == "failed"


async def test_cancelling_by_the_handle(call, server):
    """A handle cancels its prediction; its output then raises an error."""
    run = await call("submit", "owner/number", {"n": 1, "wait": True})
    await call.of(run.cancel)
    with pytest.raises(PredictionCanceledError):
        await call.of(run.output)
    assert statuses(server) == ["canceled"]


async def test_several_tasks_wait_for_one_handle(client, server, models):
    """Several tasks may wait for the output; cancelling one does not affect the others."""
    run = await client.submit("owner/number", {"n": 1, "wait": True})
    waiting = [asyncio.ensure_future(run.output()) for _ in range(3)]
    await asyncio.sleep(0.05)
    waiting[0].cancel()
    models.go_on.set()
    assert await asyncio.gather(*waiting[1:]) == [1, 1]
    assert statuses(server) == ["succeeded"]


async def test_a_handle_whose_create_was_cut_off(call, server):
    """If the response to a create is lost, its prediction is found, and not created again."""
    server.faults.add(kind="reset", operation="models.predictions.create", after=True, times=1)
    run = await call("submit", "owner/number", {"n": 1})
    assert await call.of(run.output) == 1
    assert list(server.predictions) == [run.id]


async def test_updates_of_a_handle(call, models):
    """``on_update`` receives the prediction when it is created, changes and ends."""
    seen: list[str] = []
    run = await call("submit", "owner/number", {"n": 1}, on_update=lambda prediction: seen.append(prediction.status))
    await call.of(run.output)
    assert seen[-1] == "succeeded"
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("arguments", [("nonsense",), ("owner/number", "text"), ("owner/number", {"n": sys})])
async def test_bad_arguments_of_submit(call, server, arguments):
    """Invalid arguments raise before anything is billed."""
    with pytest.raises((TypeError, ValueError)):
        await call("submit", *arguments)
    assert server.requests == []


# --- lost responses ---


async def test_creates_that_are_cut_off(call, server):
    """With a fifth of the responses lost, each input still runs once, and each output is at its place."""
    for kind in ("reset", "html"):
        server.faults.add(kind=kind, operation="models.predictions.create", after=True, probability=0.1, seed=len(kind))
    outputs, error = await collect(call, "owner/number", numbers(60), concurrency=20)
    assert (outputs, error) == (list(range(60)), None)
    assert len(server.predictions) == 60
    assert "predictions.list" in [request.operation for request in server.requests], "lookups were made"
