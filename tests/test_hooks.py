"""Hooks: what they are called with, and that they cost and change nothing."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import logging
import pickle
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest

from callers import Caller, calling
from rawserver import TOKEN, RawServer, answer, part_of, record_pauses
from replicate_async import APIConnectionError, AsyncReplicate, ModelError, PredictionCanceledError, hooks
from replicate_async.testing import LocalServer
from simulation import Simulation, simulate

pytestmark = pytest.mark.anyio

Events = list[hooks.Event]


@pytest.fixture(params=["async", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def events() -> Events:
    return []


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer() as server:

        @server.model("owner/echo", official=True)
        async def echo(text: str = "") -> str:
            return f"hello {text}"

        @server.model("owner/words", official=True)
        async def words(text: str = "a b c") -> AsyncIterator[str]:
            for word in text.split():
                yield word

        @server.model("owner/broken", official=True)
        async def broken() -> str:
            raise ValueError("no luck today")

        @server.model("community/echo")
        async def community(text: str = "") -> str:
            return f"hello {text}"

        @server.model("owner/endless", official=True)
        async def endless() -> str:
            await asyncio.Event().wait()
            return ""

        yield server


@pytest.fixture
async def call(kind: str, server: LocalServer, events: Events) -> AsyncIterator[Caller]:
    async with calling(kind, server.base_url, server.token, hooks=[events.append]) as call:
        yield call


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - the server knows nothing of tests
            await asyncio.sleep(0.002)


def names(events: Events, prefix: str = "Prediction") -> list[str]:
    return [name for event in events if (name := type(event).__name__).startswith(prefix)]


def ended(events: Events) -> list[hooks.PredictionEnded]:
    return [event for event in events if isinstance(event, hooks.PredictionEnded)]


# --- predictions ---


async def test_run(call: Caller, events: Events):
    """A run is reported from its start to its final status, with its metrics, although the API held its response."""
    assert await call("run", "owner/echo", {"text": "Ada"}) == "hello Ada"
    assert names(events) == ["PredictionStarted", "PredictionCreated", "PredictionEnded"]
    started = next(event for event in events if isinstance(event, hooks.PredictionStarted))
    assert (started.model, started.input) == ("owner/echo", {"text": "Ada"})
    end = ended(events)[0]
    assert end.prediction.status == "succeeded"
    assert end.prediction.metrics is not None
    assert end.prediction.metrics["predict_time"] is not None
    assert end.seconds > 0


async def test_community_model(call: Caller, events: Events):
    """A model that the API does not run by its name is one prediction, although two creates are sent."""
    assert await call("run", "community/echo", {"text": "Ada"}) == "hello Ada"
    assert names(events) == ["PredictionStarted", "PredictionCreated", "PredictionEnded"]
    assert next(event.model for event in events if isinstance(event, hooks.PredictionStarted)) == "community/echo"


async def test_failed(call: Caller, events: Events):
    """A prediction that fails has ended."""
    with pytest.raises(ModelError):
        await call("run", "owner/broken")
    assert [event.prediction.status for event in ended(events)] == ["failed"]


async def test_stream(call: Caller, events: Events):
    """A stream is reported like a run."""
    assert "".join(await call.all(call.client.stream("owner/words"))) == "abc"
    assert names(events)[:2] == ["PredictionStarted", "PredictionCreated"]
    assert [event.prediction.status for event in ended(events)] == ["succeeded"]


async def test_map(call: Caller, events: Events):
    """Each prediction of a map is reported, in the blocking client as well."""
    outputs = await call.all(call.client.map("owner/echo", [{"text": str(number)} for number in range(20)]))
    assert len(outputs) == 20
    assert names(events).count("PredictionStarted") == 20
    assert len({event.prediction.id for event in ended(events)}) == len(ended(events)) == 20


async def test_submit_and_wait(call: Caller, events: Events):
    """A submitted prediction is reported when it is waited for, once, however often that is."""
    run = await call("submit", "owner/echo", {"text": "Ada"})
    await call.of(run.wait)
    await call.of(run.wait)
    await call("predictions.get", run.id)
    await call("predictions.wait", run.id)
    assert len(ended(events)) == 1


@pytest.mark.parametrize("view", ["", "with_raw_response."])
async def test_created_by_a_resource(call: Caller, events: Events, view: str):
    """A prediction that a resource creates is reported, also if the caller wants the response."""
    await call(f"models.predictions.{view}create", "owner", "echo", input={"text": "Ada"})
    assert names(events)[:2] == ["PredictionStarted", "PredictionCreated"]
    created = next(event.prediction for event in events if isinstance(event, hooks.PredictionCreated))
    await call("predictions.wait", created.id)
    assert len(ended(events)) == 1


async def test_function(call: Caller, events: Events):
    """A model that is called as a function is reported."""
    assert await call.of(call.client.use("owner/echo"), text="Ada") == "hello Ada"
    assert names(events) == ["PredictionStarted", "PredictionCreated", "PredictionEnded"]


async def test_training(call: Caller, events: Events, server: LocalServer):
    """A training is reported like a prediction."""
    await call("models.create", owner="local", name="new", visibility="private", hardware="cpu")
    version = (await call("models.get", "community", "echo")).latest_version
    await call("trainings.create", "community", "echo", version, destination="local/new", input={})
    started = next(event for event in events if isinstance(event, hooks.PredictionStarted))
    assert started.model == f"community/echo:{version.id}"
    assert "PredictionCreated" in names(events)


async def test_abandoned(server: LocalServer, events: Events):
    """A prediction that is canceled because its caller has given up has ended."""
    async with calling("async", server.base_url, server.token, hooks=[events.append]) as call:
        task = asyncio.ensure_future(call("run", "owner/endless"))
        await until(lambda: server.predictions)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert [event.prediction.id for event in ended(events)] == [*server.predictions]


async def test_an_end_that_the_response_does_not_show(events: Events):
    """The response to a cancel may say that the model still runs: what is reported has the status that follows."""
    running = {"id": "p", "model": "owner/name", "status": "processing", "created_at": "2026-01-01T00:00:00Z"}
    async with (
        RawServer(answer(201, running), answer(200, running)) as server,
        server.client(hooks=[events.append]) as client,
    ):
        task = asyncio.ensure_future(client.run("owner/name", wait=False))
        await until(lambda: server.requests)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert [event.prediction.status for event in ended(events)] == ["canceled"]


async def test_canceled(call: Caller, events: Events):
    """A prediction that was canceled has ended."""
    run = await call("submit", "owner/endless")
    await call.of(run.cancel)
    with pytest.raises(PredictionCanceledError):
        await call.of(run.output)
    assert [event.prediction.status for event in ended(events)] == ["canceled"]


def test_changes_of_many():
    """Each change of a status is reported once, also if predictions are found in the list."""

    async def main(sim: Simulation) -> None:
        events: Events = []
        async with LocalServer(clock=sim) as server:

            @server.model("owner/slow", official=True, startup=5)
            async def slow(number: int) -> str:
                await server.clock.sleep(20)
                return str(number)

            async with calling("async", server.base_url, server.token, hooks=[events.append]) as call:
                runs = [await call("submit", "owner/slow", {"number": number}) for number in range(12)]
                await asyncio.gather(*[run.wait() for run in runs])
        changes = [event for event in events if isinstance(event, hooks.PredictionChanged)]
        assert {(event.previous_status, event.prediction.status) for event in changes} == {("starting", "processing")}
        assert len(changes) == len({event.prediction.id for event in changes}) == 12
        assert len(ended(events)) == 12
        assert all(24 < event.seconds < 60 for event in ended(events))
        assert any(event.request.url == "/predictions" for event in events if isinstance(event, hooks.ResponseReceived))

    simulate(main)


# --- requests ---


async def test_retry_and_throttle(events: Events):
    """Attempts, failures, refusals and retries of a request are reported in their order."""
    record_pauses()
    steps = [
        part_of(b"garbage\r\n\r\n"),
        answer(429, {"detail": "slow down"}, {"Retry-After": "1"}),
        answer(500),
        answer(202, b"{}"),
    ]
    async with RawServer(*steps) as server, server.client(hooks=[events.append], max_retries=5) as client:
        await client.get("/account")
    assert [type(event).__name__ for event in events] == [
        *("RequestSent", "RequestFailed", "RequestRetried"),
        *("RequestSent", "RequestThrottled", "ResponseReceived", "RequestRetried"),
        *("RequestSent", "ResponseReceived", "RequestRetried"),
        *("RequestSent", "ResponseReceived"),
    ]
    assert [event.attempt for event in events if isinstance(event, hooks.RequestSent)] == [1, 2, 3, 4]
    assert [event.status_code for event in events if isinstance(event, hooks.ResponseReceived)] == [429, 500, 202]
    retried = [event for event in events if isinstance(event, hooks.RequestRetried)]
    assert [event.retry_number for event in retried] == [1, 2, 3]
    assert retried[1].waited_so_far >= 1
    assert isinstance(retried[0].error, APIConnectionError)
    throttled = next(event for event in events if isinstance(event, hooks.RequestThrottled))
    assert throttled.retry_after == 1


async def test_canceled_request(events: Events, server: LocalServer):
    """A request whose caller is canceled has failed, without an error."""
    async with (
        LocalServer(latency=60) as slow,
        calling("async", slow.base_url, slow.token, hooks=[events.append]) as call,
    ):
        task = asyncio.ensure_future(call("account.get"))
        await until(lambda: events)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    assert [type(event).__name__ for event in events] == ["RequestSent", "RequestFailed"]
    assert getattr(events[1], "error", "") is None


async def test_no_secrets(events: Events):
    """No event shows the token, or a query that may be a signature."""
    page = answer(200, {"results": [], "next": None})
    async with RawServer(page) as server, server.client(hooks=[events.append]) as client:
        await client.predictions.list(created_after="2025-01-01T00:00:00Z")
        await client.get(f"{server.url}/v1/x?signature=secret")
    assert TOKEN not in repr(events)
    assert "created_after" not in repr(events)
    assert "secret" not in repr(events)


# --- hooks themselves ---


async def test_hooks_that_raise(kind: str, server: LocalServer, caplog: pytest.LogCaptureFixture):
    """A hook that raises is logged, and concerns no call."""

    def fail(event: hooks.Event) -> None:
        raise ZeroDivisionError(type(event).__name__)

    class Scope:
        def __enter__(self) -> None: ...

        def __exit__(self, *exc_info: object) -> bool:
            raise ZeroDivisionError("exit")

    def scope(event: hooks.Event) -> Any:
        return Scope() if isinstance(event, hooks.PredictionStarted) else None

    async with calling(kind, server.base_url, server.token, hooks=[fail, scope]) as call:
        assert await call("run", "owner/echo", {"text": "Ada"}) == "hello Ada"
    assert "PredictionEnded" in caplog.text
    assert "ZeroDivisionError: exit" in caplog.text
    assert server.token not in caplog.text


async def test_hooks_that_end_the_program(server: LocalServer):
    """A hook that raises SystemExit, or fails a test of pytest, keeps no slot of its client."""

    def stop(event: hooks.Event) -> None:
        if isinstance(event, hooks.RequestSent) and calls:
            calls.pop()
            pytest.fail("stopped")

    calls = [1, 2, 3]
    options = {"base_url": server.base_url, "bearer_token": server.token, "max_connections": 2, "timeout": 5}
    async with AsyncReplicate(hooks=[stop], **options) as client:
        with anyio.fail_after(5):
            for _ in range(3):
                with pytest.raises(pytest.fail.Exception):
                    await client.account.get()
            await client.account.get()


async def test_scopes(kind: str, server: LocalServer):
    """The create and its uploads happen inside of the context that a hook returns, in the caller's own context."""
    variable = contextvars.ContextVar[str]("variable", default="")
    seen: list[tuple[str, str]] = []

    @contextlib.contextmanager
    def scope() -> Any:
        token = variable.set(f"{variable.get()} inside")
        try:
            yield
        finally:
            variable.reset(token)

    def hook(event: hooks.Event) -> Any:
        if isinstance(event, hooks.RequestSent):
            seen.append((event.url, variable.get()))
        return scope() if isinstance(event, hooks.PredictionStarted) else None

    async with calling(kind, server.base_url, server.token, hooks=[hook]) as call:
        variable.set("caller")
        await call("run", "owner/echo", {"text": bytes(300_000)})
        await call("account.get")
    assert seen[:2] == [("/files", "caller inside"), ("/models/owner/echo/predictions", "caller inside")]
    assert seen[-1] == ("/account", "caller")


def recording_exits(seen: list[Any]) -> hooks.Hook:
    """Return a hook whose contexts record with which error they are left."""

    def hook(event: hooks.Event) -> Any:
        scope = contextlib.ExitStack()
        scope.push(lambda *exc_info: seen.append(exc_info[1]))
        return scope if isinstance(event, hooks.PredictionStarted) else None

    return hook


async def test_scopes_of_callers_that_handle_an_error(kind: str, server: LocalServer):
    """The context that a hook returns sees no error that the caller handles when it calls."""
    seen: list[Any] = []
    async with calling(kind, server.base_url, server.token, hooks=[recording_exits(seen)]) as call:
        try:
            raise LookupError
        except LookupError:
            await call("run", "owner/echo")
    assert seen == [None]


async def test_failed_create(kind: str, server: LocalServer):
    """The context that a hook returns sees why a prediction could not be created."""
    seen: list[Any] = []
    async with calling(kind, server.base_url, server.token, hooks=[recording_exits(seen)]) as call:
        with pytest.raises(Exception, match="404") as raised:
            await call("run", "no/model")
    assert seen == [raised.value]


async def test_hooks_from_a_generator(server: LocalServer, events: Events):
    """Any iterable of functions is taken, also one that can be read only once."""
    async with calling("async", server.base_url, server.token, hooks=(hook for hook in [events.append])) as call:
        await call("account.get")
    assert events


async def test_copies(kind: str, server: LocalServer, events: Events):
    """Copies of a client call its hooks, unless they get others."""
    others: Events = []
    async with calling(kind, server.base_url, server.token, hooks=[events.append]) as call:
        client: Any = call.client
        await call.of(client.with_options(timeout=30).account.get)
        await call.of(client.with_options(hooks=[others.append]).account.get)
        await call.of(client.copy(hooks=None).account.get)
    assert len(events) == len(others) == 2


@pytest.mark.parametrize("kind", ["async", "blocking"])
@pytest.mark.parametrize("wrong", [["x"], [1], 5, print, "ab"])
def test_wrong_hooks(kind: str, wrong: Any):
    """Anything but functions is refused at once."""
    from replicate_async import AsyncReplicate, Replicate

    with pytest.raises(TypeError, match="hooks"):
        (AsyncReplicate if kind == "async" else Replicate)(bearer_token="x", hooks=wrong)


async def test_pickled_page(server: LocalServer):
    """What refers to a client can be pickled and copied, although hooks can't."""
    async with calling("async", server.base_url, server.token, hooks=[lambda _: None]) as call:
        page = await call.client.models.list()
        assert len(pickle.loads(pickle.dumps(page)).results) == len(copy.deepcopy(page).results)


# --- the log ---


async def test_log(kind: str, server: LocalServer, caplog: pytest.LogCaptureFixture):
    """At the level of info, there is one line for each prediction."""
    caplog.set_level(logging.INFO, "replicate_async")
    async with calling(kind, server.base_url, server.token) as call:
        await call("run", "owner/echo", {"text": "secret input"})
        with pytest.raises(ModelError):
            await call("run", "owner/broken")
        await call.all(call.client.stream("owner/words"))
        await call.all(call.client.map("owner/echo", [{"text": str(number)} for number in range(3)]))
    lines = [record.getMessage() for record in caplog.records]
    for (prediction_id, prediction), line in zip(server.predictions.items(), lines[:3], strict=False):
        assert line.startswith(f"prediction {prediction_id} of {prediction.model}: {prediction.status} after ")
    assert len(lines) == 6
    assert "secret input" not in caplog.text


async def test_no_log(server: LocalServer, caplog: pytest.LogCaptureFixture):
    """Above that level, there is none, and a held response is not looked at again."""
    async with calling("async", server.base_url, server.token) as call:
        await call("run", "owner/echo", {"text": "Ada"})
    assert not caplog.records
    assert len(server.requests) == 1
