"""The helpers for FastAPI applications, under uvicorn and in Starlette's TestClient."""

from __future__ import annotations

import asyncio
import json
import logging
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import anyio
import fastapi
import httpx
import pytest
import uvicorn
from fastapi import Depends, FastAPI
from httpx_sse import aconnect_sse

from replicate_async import AsyncReplicate, Replicate, errors
from replicate_async import fastapi as helpers
from replicate_async.fastapi import (
    ReplicateDep,
    VerifiedWebhook,
    cancel_on_disconnect,
    exception_handlers,
    lifespan,
    sse,
    verified_webhook,
)
from replicate_async.testing import LocalServer, VirtualClock, models, sign_webhook
from replicate_async.types import Prediction

with warnings.catch_warnings():
    # Newer versions of starlette warn about httpx.
    warnings.simplefilter("ignore")
    from fastapi.testclient import TestClient

pytestmark = pytest.mark.anyio

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

# --- an application ---


def create_app() -> FastAPI:
    """Return an application whose client finds the server by the environment."""
    app = FastAPI(lifespan=lifespan(), exception_handlers=exception_handlers)

    @app.get("/plain")
    async def plain(client: ReplicateDep, model: str = "replicate/hello-world", text: str = "") -> Any:
        return await client.run(model, input={"text": text})

    @app.post("/run")
    async def run(request: fastapi.Request, client: ReplicateDep, model: str) -> Any:
        return await cancel_on_disconnect(request, client.run(model))

    @app.post("/body")
    async def body(request: fastapi.Request, client: ReplicateDep) -> Any:
        output = await cancel_on_disconnect(request, client.run("replicate/hello-world", {"text": "Bob"}))
        return [output, (await request.body()).decode()]

    @app.post("/form")
    async def form(request: fastapi.Request, client: ReplicateDep, file: fastapi.UploadFile) -> Any:
        return await cancel_on_disconnect(request, client.run("local/size", {"file": file}))

    @app.get("/stream")
    async def stream(client: ReplicateDep, model: str, text: str = "") -> Any:
        return sse(client.stream(model, input={"prompt": text} if text else {}))

    @app.get("/function")
    async def function(client: ReplicateDep) -> Any:
        return sse(client.use("local/lines", streaming=True)())

    @app.post("/hook")
    async def hook(webhook: VerifiedWebhook) -> dict[str, str]:
        return {"id": webhook.id, "status": webhook.status}

    @app.get("/prediction/{prediction_id}")
    async def prediction(client: ReplicateDep, prediction_id: str) -> Prediction:
        return await client.predictions.get(prediction_id)

    return app


@pytest.fixture
def server(replicate_server: LocalServer) -> LocalServer:
    models.register(replicate_server)

    @replicate_server.model("local/endless")
    async def endless() -> AsyncIterator[str]:
        yield "on and on"
        await asyncio.sleep(3600)

    @replicate_server.model("local/lines")
    def lines() -> Iterator[str]:
        yield from ("one\n", "two\r\n\n", " three")

    @replicate_server.model("local/size")
    def size(file: Path) -> int:
        return len(file.read_bytes())

    @replicate_server.model("local/broken")
    def broken(text: str = "") -> str:
        raise ValueError(text or "CUDA out of memory")

    @replicate_server.model("local/broken-story")
    def broken_story() -> Iterator[str]:
        yield "once"
        raise ValueError("the end")

    return replicate_server


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Serve an application with uvicorn, and give a client of it."""
    uvicorn_server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", ws="none"))
    task = asyncio.create_task(uvicorn_server.serve())
    try:
        while not uvicorn_server.started:
            assert not task.done()
            await asyncio.sleep(0.01)
        port = uvicorn_server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            yield client
    finally:
        uvicorn_server.should_exit = True
        await task


async def until(condition: Any) -> None:
    with anyio.fail_after(20):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def statuses(server: LocalServer) -> list[str]:
    return [prediction.status for prediction in server.predictions.values()]


# --- the client ---


def test_an_application_starts_again_and_again(server: LocalServer) -> None:
    """Each start of an application has a client of its own, which is closed at the end."""
    app = create_app()
    clients: list[AsyncReplicate] = []
    for number in range(3):
        with TestClient(app) as client:
            assert client.get("/plain", params={"text": str(number)}).json() == f"hello {number}"
            clients.append(app.state.replicate)
    assert len({id(client) for client in clients}) == 3
    assert all(client.is_closed() for client in clients)


def test_two_applications(server: LocalServer) -> None:
    """Two applications, and one that is mounted in another, have the clients that they were started with."""
    outer, other = FastAPI(lifespan=lifespan(lambda: AsyncReplicate(timeout=7))), create_app()
    outer.mount("/inner", create_app())
    with TestClient(outer) as first, TestClient(other) as second:
        assert first.get("/inner/plain", params={"text": "a"}).json() == "hello a"
        assert second.get("/plain", params={"text": "b"}).json() == "hello b"
        assert outer.state.replicate is not other.state.replicate


def test_a_lifespan_of_ones_own(server: LocalServer) -> None:
    """The lifespan can be part of another one."""

    @asynccontextmanager
    async def own(app: FastAPI) -> AsyncIterator[Any]:
        async with lifespan()(app) as state:
            yield {**state, "other": 5}

    app = FastAPI(lifespan=own)

    @app.get("/")
    async def root(request: fastapi.Request, client: ReplicateDep) -> Any:
        return [request.state.other, await client.run("replicate/hello-world", {"text": "x"})]

    with TestClient(app) as client:
        assert client.get("/").json() == [5, "hello x"]


def test_an_application_without_a_client(server: LocalServer) -> None:
    """An application that was not started says what is missing."""
    with pytest.raises(RuntimeError, match=r"lifespan=replicate_async\.fastapi\.lifespan\(\)"):
        TestClient(create_app()).get("/plain")


# --- hang-ups ---


async def test_a_hang_up_cancels(server: LocalServer, caplog: pytest.LogCaptureFixture) -> None:
    """A client that hangs up cancels the prediction of its request, without a trace in the log."""
    async with serving(create_app()) as client:
        request = asyncio.create_task(client.post("/run", params={"model": "local/endless"}))
        await until(lambda: "processing" in statuses(server))
        request.cancel()
        await until(lambda: statuses(server) == ["canceled"])
        assert (await client.get("/plain", params={"text": "after"})).json() == "hello after"
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_results_and_errors_pass(server: LocalServer) -> None:
    """Without a hang-up, the result and the error are those of the awaitable; the body can be read afterwards."""
    async with serving(create_app()) as client:
        assert (await client.post("/run", params={"model": "local/lines"})).json() == ["one\n", "two\r\n\n", " three"]
        failed = await client.post("/run", params={"model": "local/broken"})
        assert (failed.status_code, "CUDA out of memory" in failed.json()["detail"]) == (502, True)
        assert (await client.post("/body", content=b"text")).json() == ["hello Bob", "text"]
        assert (await client.post("/form", files={"file": b"12345"})).json() == 5


def test_no_hang_up_in_tests(server: LocalServer) -> None:
    """The TestClient, which never hangs up, gets the result."""
    with TestClient(create_app()) as client:
        assert client.post("/form", files={"file": b"12345"}).json() == 5
        assert client.get("/stream", params={"model": "local/lines"}).text.count("event: output") == 3


async def test_a_canceled_handler_cancels(server: LocalServer) -> None:
    """What cancels the handler itself cancels the awaitable."""
    client = AsyncReplicate()

    async def never() -> Any:
        await asyncio.sleep(3600)

    request = fastapi.Request({"type": "http"}, never)
    task = asyncio.create_task(cancel_on_disconnect(request, client.run("local/endless")))
    await until(lambda: "processing" in statuses(server))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: statuses(server) == ["canceled"])
    await client.close()


# --- server-sent events ---


async def test_events(server: LocalServer) -> None:
    """Events keep their names, ids and line ends; the response is not buffered on its way."""
    async with (
        serving(create_app()) as client,
        aconnect_sse(client, "GET", "/stream", params={"model": "local/lines"}) as source,
    ):
        events = [event async for event in source.aiter_sse()]
        headers = source.response.headers
    assert [(event.event, event.data) for event in events] == [
        ("output", "one\n"),
        # A browser does not tell line ends apart.
        ("output", "two\n\n"),
        ("output", " three"),
        ("done", "{}"),
    ]
    (prediction,) = server.predictions.values()
    direct = AsyncReplicate()
    ids = [event.id async for event in direct.predictions.stream(prediction.id)]
    # The end has none. A browser takes it for that of the event before.
    assert [event.id for event in events] == [*ids[:3], ids[2]]
    await direct.close()
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["cache-control"] == "no-store"
    assert headers["x-accel-buffering"] == "no"


async def test_events_of_a_function(server: LocalServer) -> None:
    """Pieces have no id, and get one, so that a browser says that it reconnects."""
    async with serving(create_app()) as client, aconnect_sse(client, "GET", "/function") as source:
        events = [(event.event, event.data, event.id) async for event in source.aiter_sse()]
    assert events == [("output", "one\n", "0"), ("output", "two\n\n", "0"), ("output", " three", "0")]


async def test_a_reconnect_runs_nothing(server: LocalServer) -> None:
    """A browser that reconnects after the end is told to stop, and the model does not run again."""
    async with serving(create_app()) as client:
        answer = await client.get("/stream", params={"model": "local/lines"}, headers={"Last-Event-ID": "1"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert statuses(server) == []


async def test_a_reader_that_leaves_cancels(server: LocalServer, caplog: pytest.LogCaptureFixture) -> None:
    """A reader that leaves cancels the prediction, also while the model is silent."""
    async with serving(create_app()) as client:
        async with aconnect_sse(client, "GET", "/stream", params={"model": "local/endless"}) as source:
            events = source.aiter_sse()
            assert (await anext(events)).data == "on and on"
            await events.aclose()
        await until(lambda: statuses(server) == ["canceled"])
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_errors_of_streams(server: LocalServer) -> None:
    """An error before the first event is a status. A later one is an event."""
    async with serving(create_app()) as client:
        early = await client.get("/stream", params={"model": "local/missing"})
        assert early.status_code == 404
        async with aconnect_sse(client, "GET", "/stream", params={"model": "local/broken-story"}) as source:
            events = [event async for event in source.aiter_sse()]
    assert [event.event for event in events] == ["output", "logs", "error"]
    problem = json.loads(events[-1].data)
    assert (problem["status"], problem["detail"].rpartition(": ")[2]) == (502, "the end")


@pytest.mark.replicate_server(clock=VirtualClock)
async def test_keep_alive(server: LocalServer) -> None:
    """While a model is silent, comments keep the connection open."""

    @server.model("local/slow", startup=40, official=True)
    def slow() -> Iterator[str]:
        yield "at last"

    async with serving(create_app()) as client:
        text = (await client.get("/stream", params={"model": "local/slow"})).text
    comments, _, events = text.partition("event: ")
    assert comments == ": waiting\n\n" * 2
    assert events.startswith("output\n")


def test_blocking_events_are_refused() -> None:
    """A generator of the blocking client would block the server."""
    with pytest.raises(TypeError, match="AsyncReplicate, not generator"):
        sse(iter_nothing())  # type: ignore[arg-type]


def iter_nothing() -> Any:
    yield


# --- errors ---


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (errors.NotFoundError("404 no such prediction", status_code=404), 404, "404 no such prediction"),
        (errors.ConflictError("409 busy", status_code=409), 409, "409 busy"),
        (errors.UnprocessableEntityError("422 invalid", status_code=422), 422, "422 invalid"),
        (errors.BadRequestError("400 malformed", status_code=400), 422, "400 malformed"),
        (errors.WebhookVerificationError("webhook-id: missing"), 400, "webhook-id: missing"),
        (errors.AuthenticationError("401 secret"), 500, "the application may not use Replicate"),
        (errors.PaymentRequiredError("402 secret"), 500, "the application may not use Replicate"),
        (errors.PermissionDeniedError("403 secret"), 500, "the application may not use Replicate"),
        (errors.RateLimitError("429 secret", retry_after=4.6), 503, "Replicate is busy"),
        (errors.APITimeoutError("secret"), 504, "Replicate did not respond in time"),
        (errors.APIConnectionError("secret"), 502, "Replicate failed"),
        (errors.InternalServerError("secret", status_code=500), 502, "Replicate failed"),
        (errors.APIResponseValidationError("secret"), 502, "Replicate failed"),
        (errors.CreateOutcomeUnknown("secret"), 502, "Replicate failed"),
        (errors.ReplicateError("the output was removed"), 502, "the output was removed"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_statuses(error: errors.ReplicateError, status: int, detail: str, caplog: pytest.LogCaptureFixture) -> None:
    """Each error has a status. What concerns the operator only is in the log, and not in the response."""
    app = FastAPI(exception_handlers=exception_handlers)

    @app.get("/")
    async def fail() -> None:
        raise error

    response = TestClient(app).get("/")
    assert (response.status_code, response.json()) == (status, {"detail": detail})
    assert response.headers.get("retry-after") == ("5" if isinstance(error, errors.RateLimitError) else None)
    assert (str(error) in caplog.text) == (status >= 500)


def test_every_error_has_a_status() -> None:
    """No error of this package is an unhandled one."""
    kinds = [getattr(errors, name) for name in errors.__all__]
    assert all(issubclass(kind, errors.ReplicateError) for kind in kinds)


def test_failed_models(server: LocalServer) -> None:
    """A failed model is a bad gateway, unless the input is the reason."""
    with TestClient(create_app()) as client:
        broken = client.get("/plain", params={"model": "local/broken"})
        assert (broken.status_code, broken.json()["detail"].rpartition(": ")[2]) == (502, "CUDA out of memory")
        flagged = client.get("/plain", params={"model": "local/broken", "text": "flagged as sensitive (E005)"})
        assert flagged.status_code == 422
        assert client.get("/prediction/nothing").status_code == 404


# --- webhooks ---


def body_of(server: LocalServer) -> bytes:
    """Run a model, and return the body of a webhook about it."""
    with TestClient(create_app()) as client:
        client.get("/plain", params={"text": "x"})
    (prediction,) = server.predictions.values()
    return prediction.to_json().encode()


def test_verified_webhooks(server: LocalServer) -> None:
    """A webhook that Replicate has signed reaches the handler. The secret is fetched once."""
    body = body_of(server)
    with Replicate() as replicate:
        secret = replicate.webhooks.default.secret.get()
    with TestClient(create_app()) as client:
        for _ in range(2):
            headers = sign_webhook(body, secret)
            answer = client.post("/hook", content=body, headers=headers)
            assert answer.json() == {"id": next(iter(server.predictions)), "status": "succeeded"}
        forged = client.post("/hook", content=body + b" ", headers=headers)
        assert (forged.status_code, forged.json()["detail"].partition(":")[0]) == (400, "webhook-signature")
        assert client.post("/hook", content=body).status_code == 400
    assert [call.operation for call in server.requests].count("webhooks.default.secret.get") == 2


def test_a_given_secret(server: LocalServer) -> None:
    """With a secret of its own, the dependency needs no client."""
    app = FastAPI()

    @app.post("/hook")
    async def hook(webhook: Annotated[Prediction, Depends(verified_webhook(SECRET))]) -> str:
        return webhook.id

    body = body_of(server)
    answer = TestClient(app).post("/hook", content=body, headers=sign_webhook(body, SECRET))
    assert answer.json() == next(iter(server.predictions))


def test_all_names_are_public() -> None:
    """The module's names are listed."""
    assert all(hasattr(helpers, name) for name in helpers.__all__)
