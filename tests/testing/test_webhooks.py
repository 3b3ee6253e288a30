"""Webhooks: events, signatures, retries and faults."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import itertools
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from replicate_async import verify_webhook
from replicate_async.testing import LocalServer, VirtualClock, models

from .conftest import Caller, eventually, serve

pytestmark = pytest.mark.anyio


@dataclass
class Receiver:
    """An application that receives webhooks."""

    url: str = ""
    received: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    # The statuses of the first responses; later ones are 200.
    statuses: list[int] = field(default_factory=list)
    # The number of requests without a response.
    closing: int = 0

    async def take(self, request: web.Request) -> web.Response:
        self.received.append(request)
        self.bodies.append(await request.read())
        if self.closing:
            self.closing -= 1
            assert request.transport is not None
            request.transport.abort()
        headers = {"Location": f"{self.url}/elsewhere"}
        return web.Response(status=self.statuses.pop(0) if self.statuses else 200, headers=headers)

    @property
    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.received]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    application = web.Application()
    application.router.add_post("/{path:.*}", receiver.take)
    runner = web.AppRunner(application, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    receiver.url = site.name.replace(":0", f":{runner.addresses[0][1]}")
    yield receiver
    await runner.cleanup()


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    """Return a caller of a server whose clock stands still."""
    async with serve(tidy=True, clock=VirtualClock(auto=False, patience=0.05)) as (_, caller):
        yield caller


async def start(call: Caller, receiver: Receiver, model: str, events: list[str] | None = None, **inputs: Any) -> Any:
    body: dict[str, Any] = {"input": inputs, "webhook": f"{receiver.url}/hook?a=1"}
    if events is not None:
        body["webhook_events_filter"] = events
    answer = await call("POST", f"/models/{model}/predictions", body)
    assert answer.status == 201
    return answer.data


def delivered(server: LocalServer) -> list[str]:
    return [attempt.operation.removeprefix("webhook.") for attempt in server.webhooks]


async def advance(call: Caller, seconds: float) -> None:
    clock = call.server.clock
    assert isinstance(clock, VirtualClock)
    await clock.advance(seconds)


async def settled(call: Caller, prediction: Any, number: int) -> None:
    """Wait until a prediction has ended, and a number of attempts have a response."""
    await call.until(prediction, "succeeded")
    await eventually(lambda: len(call.server.webhooks) == number and call.server.webhooks[-1].status)


async def test_all_events(call: Caller, receiver: Receiver) -> None:
    """Start, output, logs and completed are delivered in this order, each with the prediction as it was then."""
    call.server.model("me/words", output_delay=1)(models.stream_text)
    prediction = await start(call, receiver, "me/words", prompt="a b", delay=0)
    await advance(call, 3)
    await settled(call, prediction, 4)
    assert delivered(call.server) == ["start", "output", "output", "completed"]
    bodies = [attempt.json() for attempt in call.server.webhooks]
    assert [(body["status"], body["output"]) for body in bodies] == [
        ("processing", None),
        ("processing", ["a"]),
        ("processing", ["a", " b"]),
        ("succeeded", ["a", " b"]),
    ]
    assert bodies[-1] == await call.get(prediction)
    assert receiver.bodies == [attempt.body for attempt in call.server.webhooks]
    assert [attempt.path for attempt in call.server.webhooks] == [f"{receiver.url}/hook?a=1"] * 4
    assert str(receiver.received[0].rel_url) == "/hook?a=1"
    assert receiver.received[0].content_type == "application/json"
    assert "Authorization" not in receiver.received[0].headers


@pytest.mark.parametrize(
    "events", [list(events) for n in range(4) for events in itertools.combinations(("start", "logs", "completed"), n)]
)
async def test_filter(call: Caller, receiver: Receiver, events: list[Any]) -> None:
    """Only the requested events are delivered."""

    @call.server.model("me/chatty")
    async def chatty() -> str:
        sys.stdout.write("hello")
        return "done"

    prediction = await start(call, receiver, "me/chatty", events)
    await settled(call, prediction, len(events)) if events else await call.until(prediction, "succeeded")
    assert delivered(call.server) == events


async def test_signature(call: Caller, receiver: Receiver) -> None:
    """A webhook is signed as Standard Webhooks specifies, with the account's secret."""
    models.register(call.server)
    prediction = await start(call, receiver, "replicate/hello-world", ["completed"], text="a")
    await settled(call, prediction, 1)
    secret = (await call("GET", "/webhooks/default/secret")).data["key"]
    headers, body = receiver.received[0].headers, receiver.bodies[0]
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    digest = hmac.new(base64.b64decode(secret.split("_")[1]), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert int(headers["webhook-timestamp"]) == int(call.server.clock.now().timestamp())
    verified = verify_webhook(body, headers, secret)
    assert (verified.id, verified.output) == (prediction["id"], "hello a")


async def test_trainings(call: Caller, receiver: Receiver) -> None:
    """Trainings have webhooks, too."""
    version = "ab" * 32
    call.server.model("local/mine", version=version)(models.hello_world)
    body = {"destination": "local/mine", "input": {}, "webhook": receiver.url, "webhook_events_filter": ["completed"]}
    training = (await call("POST", f"/models/local/mine/versions/{version}/trainings", body)).data
    await eventually(lambda: receiver.bodies)
    verified = verify_webhook(
        receiver.bodies[0], receiver.received[0].headers, (await call("GET", "/webhooks/default/secret")).data["key"]
    )
    assert (verified.id, verified.status) == (training["id"], "succeeded")


async def test_pauses(call: Caller, receiver: Receiver) -> None:
    """Output and logs are delivered every 500 ms at most, with all progress so far; the end is delivered at once."""
    clock = call.server.clock

    @call.server.model("me/words")
    async def words() -> AsyncIterator[str]:
        for n in range(9):
            sys.stdout.write(f"{n}")
            yield str(n)
            await clock.sleep(0.125)
        yield "end"

    prediction = await start(call, receiver, "me/words")
    await advance(call, 2)
    await settled(call, prediction, 5)
    events = [
        (event, attempt.json()) for event, attempt in zip(delivered(call.server), call.server.webhooks, strict=True)
    ]
    assert [(event, len(body["output"] or []), body["logs"]) for event, body in events] == [
        ("start", 0, ""),
        ("logs", 0, "0"),
        ("output", 4, "0123"),
        ("output", 8, "01234567"),
        ("completed", 10, "012345678"),
    ]


async def test_retries(call: Caller, receiver: Receiver) -> None:
    """The completed webhook is retried with growing delays for a minute, with the same id, until it is accepted."""
    models.register(call.server)
    receiver.statuses = [500] * 6
    prediction = await start(call, receiver, "replicate/hello-world", ["completed"], text="a")
    await settled(call, prediction, 1)
    for number, pause in enumerate((1, 2, 4, 8, 16, 32), 2):
        await advance(call, pause - 0.1)
        assert len(call.server.webhooks) == number - 1
        await advance(call, 0.1)
        await settled(call, prediction, number)
    assert [attempt.status for attempt in call.server.webhooks] == [500] * 6 + [200]
    assert len(set(receiver.ids)) == 1
    assert len(set(receiver.bodies)) == 1
    times = [int(request.headers["webhook-timestamp"]) for request in receiver.received]
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == [1, 2, 4, 8, 16, 32]
    await advance(call, 1000)
    assert len(receiver.received) == 7


async def test_giving_up(receiver: Receiver) -> None:
    """After seven attempts the server gives up."""
    async with serve(tidy=True, clock=VirtualClock(patience=5)) as (server, call):
        models.register(server)
        receiver.statuses = [503] * 100
        await start(call, receiver, "replicate/hello-world", text="a")
        await eventually(lambda: delivered(server).count("completed") == 7 and server.webhooks[-1].status)
        # Only completed is retried.
        assert delivered(server) == ["start", "output"] + ["completed"] * 7
        assert server.clock.monotonic() == 63


async def test_connection_errors(receiver: Receiver) -> None:
    """A receiver that disconnects or doesn't exist is a failed attempt as well."""
    async with serve(tidy=True, clock=VirtualClock(patience=5)) as (server, call):
        models.register(server)
        receiver.closing = 1
        await start(call, receiver, "replicate/hello-world", ["completed"], text="a")
        await eventually(lambda: len(server.webhooks) == 2 and server.webhooks[-1].status)
        assert [attempt.status for attempt in server.webhooks] == [0, 200]
        await start(call, Receiver("http://127.0.0.1:1"), "replicate/hello-world", ["completed"], text="a")
        await eventually(lambda: len(server.webhooks) == 9)
        assert {attempt.status for attempt in server.webhooks[2:]} == {0}


@pytest.mark.parametrize("status", [307, 400, 404, 410])
async def test_what_is_not_tried_again(call: Caller, receiver: Receiver, status: int) -> None:
    """Redirects aren't followed, and a 4xx response isn't retried."""
    models.register(call.server)
    receiver.statuses = [status]
    prediction = await start(call, receiver, "replicate/hello-world", ["completed"], text="a")
    await settled(call, prediction, 1)
    await advance(call, 1000)
    assert [attempt.status for attempt in call.server.webhooks] == [status]
    assert len(receiver.received) == 1


async def test_duplicates(call: Caller, receiver: Receiver) -> None:
    """Duplicates are delivered only because of a fault, with the same id."""
    models.register(call.server)
    fault = call.server.faults.add(operation="webhook.completed", kind="duplicate", copies=2, times=1)
    for expected in (["start", "output"] + ["completed"] * 3, ["start", "output", "completed"]):
        call.server.webhooks.clear()
        receiver.received.clear()
        prediction = await start(call, receiver, "replicate/hello-world", text="a")
        await settled(call, prediction, len(expected))
        assert delivered(call.server) == expected
        assert len(set(receiver.ids)) == 3
        assert {attempt.fault for attempt in call.server.webhooks[:2]} == {None}
    assert call.server.webhooks[-1].fault is None
    assert fault in call.server.faults


async def test_reordering(call: Caller, receiver: Receiver) -> None:
    """A fault delivers one webhook after the next, with its original content."""
    models.register(call.server)
    call.server.faults.add(operation="webhook.start", kind="reorder")
    prediction = await start(call, receiver, "replicate/hello-world", text="a")
    await settled(call, prediction, 3)
    assert delivered(call.server) == ["output", "start", "completed"]
    assert call.server.webhooks[1].json()["output"] is None
    call.server.webhooks.clear()
    prediction = await start(call, receiver, "replicate/hello-world", ["start", "completed"], text="a")
    await settled(call, prediction, 2)
    assert delivered(call.server) == ["completed", "start"]


@pytest.mark.parametrize("events", [["start"], ["completed"]])
async def test_reordering_what_comes_alone(call: Caller, receiver: Receiver, events: list[str]) -> None:
    """A reordered webhook without a next one is delivered at the end."""
    models.register(call.server)
    call.server.faults.add(operation="webhook.*", kind="reorder")
    prediction = await start(call, receiver, "replicate/hello-world", events, text="a")
    await settled(call, prediction, 1)
    assert delivered(call.server) == events


async def test_delay(call: Caller, receiver: Receiver) -> None:
    """A fault can delay a webhook and those after it; a predicate gets the delivery as a call."""
    models.register(call.server)
    call.server.faults.add(
        operation="webhook.*", kind="delay", seconds=10, when=lambda call: call.json()["status"] == "succeeded"
    )
    prediction = await start(call, receiver, "replicate/hello-world", text="a")
    await call.until(prediction, "succeeded")
    await advance(call, 9.9)
    assert delivered(call.server) == ["start", "output"]
    await advance(call, 0.1)
    await settled(call, prediction, 3)


async def test_a_broken_predicate(call: Caller, receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    """If a predicate raises, its traceback is in the log, and all webhooks are delivered nevertheless."""
    models.register(call.server)
    call.server.faults.add(operation="webhook.*", kind="delay", seconds=9, when=lambda call: call.json()["nothing"])
    prediction = await start(call, receiver, "replicate/hello-world", text="a")
    await settled(call, prediction, 3)
    assert delivered(call.server) == ["start", "output", "completed"]
    assert caplog.text.count("KeyError: 'nothing'") == 3


async def test_a_host_that_cannot_be(receiver: Receiver) -> None:
    """A URL with an impossible host is a failed attempt as well, and is retried like others."""
    async with serve(tidy=True, clock=VirtualClock(patience=5)) as (server, call):
        models.register(server)
        await start(call, Receiver(f"http://{'a' * 70}.example"), "replicate/hello-world", text="a")
        await eventually(lambda: delivered(server).count("completed") == 7)
        assert {attempt.status for attempt in server.webhooks} == {0}


async def test_stopping_while_a_receiver_is_silent() -> None:
    """A server that stops cancels pending deliveries."""

    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    before = asyncio.all_tasks()
    silent = await asyncio.start_server(silence, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        async with serve(tidy=True) as (server, call):
            models.register(server)
            await start(call, Receiver(f"http://127.0.0.1:{port}"), "replicate/hello-world", text="a")
            await eventually(lambda: server.webhooks)
    await eventually(lambda: asyncio.all_tasks() == before)


async def test_no_webhook_no_work(call: Caller) -> None:
    """Without a webhook URL nothing is delivered."""
    models.register(call.server)
    await call.run("replicate/hello-world", text="a")
    assert call.server.webhooks == []
