"""Waiting by webhook: no end is missed, whatever becomes of the webhooks, and hardly any request is made."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from aiohttp import web
from fastapi import FastAPI

from replicate_async import AsyncReplicate, ModelError, Replicate, WebhookVerificationError
from replicate_async.testing import LocalServer, sign_webhook
from simulation import Simulation, simulate

SECRET = "whsec_" + "QUJD" * 8
SECONDS = 30.0


def served(**options: Any) -> LocalServer:
    """Return a server with models that take as long as their input says."""
    server = LocalServer(**options)

    @server.model("owner/slow", official=True)
    async def slow(seconds: float = SECONDS, text: str = "") -> str:
        await server.clock.sleep(seconds)
        return f"output of {text}"

    @server.model("owner/words", official=True)
    async def words(text: str = "") -> AsyncIterator[str]:
        for word in text.split():
            await server.clock.sleep(1)
            yield word

    async def train() -> None:
        await server.clock.sleep(15)

    @server.model("owner/trainable", version="e" * 64, train=train)
    def trainable() -> str:
        return ""

    @server.model("owner/fail", official=True)
    async def fail() -> str:
        await server.clock.sleep(5)
        raise ValueError("no luck")

    return server


class Address:
    """What listens at the address of a receiver; ``lost`` says which webhooks never reach it."""

    def __init__(self) -> None:
        self.url = ""
        self.receivers: list[Any] = []
        self.lost: Callable[[int], bool] = lambda number: False
        self.arrived: dict[str, float] = {}
        self.statuses: list[int] = []

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        number = len(self.statuses)
        status = 200
        if not self.lost(number):
            # As a load balancer does, which knows nothing of receivers.
            receiver = self.receivers[number % len(self.receivers)]
            transport = httpx.ASGITransport(receiver.app)
            async with httpx.AsyncClient(transport=transport) as http:
                target = f"http://receiver/?{request.query_string}"
                response = await http.post(target, content=body, headers=dict(request.headers))
            status = response.status_code
            if status == 204:
                self.arrived[json.loads(body)["id"]] = asyncio.get_running_loop().time()
        self.statuses.append(status)
        return web.Response(status=status)


@asynccontextmanager
async def listening() -> AsyncIterator[Address]:
    address = Address()
    application = web.Application()
    application.router.add_post("/hooks", address.take)
    runner = web.AppRunner(application, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, backlog=2000)
    await site.start()
    address.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hooks"
    yield address
    await runner.cleanup()


def client_of(server: LocalServer, **options: Any) -> AsyncReplicate:
    return AsyncReplicate(bearer_token=server.token, base_url=server.base_url, **options)


def calls(server: LocalServer) -> list[str]:
    return [call.operation for call in server.requests]


Main = Callable[[LocalServer, Address, AsyncReplicate, Any], Any]


def receiving(main: Main, **options: Any) -> Any:
    """Run a function in virtual time, with a server, an address, a client and its receiver."""

    async def run(sim: Simulation) -> Any:
        async with (
            served(clock=sim, **options) as server,
            listening() as address,
            client_of(server) as client,
            client.receive_webhooks(address.url) as receiver,
        ):
            address.receivers = [receiver]
            return await main(server, address, client, receiver)

    return simulate(run)


# --- webhooks that do not come ---


def test_no_webhook_ever_comes():
    """Without any delivery, the first run ends at the first poll, and later ones are polled as usual."""

    async def main(server: LocalServer, address: Address, client: AsyncReplicate, receiver: Any) -> None:
        address.lost = lambda number: True
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await client.run("owner/slow", {"seconds": 5, "text": "a"}) == "output of a"
        assert loop.time() - began < 25
        for _ in range(2):
            began = loop.time()
            assert await client.run("owner/slow", {"seconds": 5}) == "output of "
            assert loop.time() - began < 8

    receiving(main)


def test_lost_webhooks():
    """If a third of the webhooks is lost, every run ends, at most some seconds late."""

    async def main(server: LocalServer, address: Address, client: AsyncReplicate, receiver: Any) -> None:
        address.lost = lambda number: number % 3 == 0
        loop = asyncio.get_running_loop()
        outputs = await asyncio.gather(*[client.run("owner/slow", {"text": str(n)}) for n in range(60)])
        assert outputs == [f"output of {n}" for n in range(60)]
        assert loop.time() < SECONDS + 25

    receiving(main)


def test_after_the_block():
    """A caller that still waits when the block ends is polled for, and later creates register nothing."""

    async def main(sim: Simulation) -> None:
        async with served(clock=sim) as server, listening() as address, client_of(server) as client:
            async with client.receive_webhooks(address.url) as receiver:
                address.receivers = [receiver]
                waiting = asyncio.create_task(client.run("owner/slow"))
                await asyncio.sleep(1)
                others = [asyncio.create_task(client.run("owner/slow", {"seconds": 1.5})) for _ in range(5)]
                await asyncio.sleep(1)
            closed = asyncio.get_running_loop().time()
            address.lost = lambda number: True
            assert await asyncio.gather(*others) == ["output of "] * 5
            # They don't wait for the polls that would have come beside the webhooks.
            assert asyncio.get_running_loop().time() < closed + 3
            assert await waiting == "output of "
            before = len(server.webhooks)
            await client.run("owner/slow", {"seconds": 1})
            assert len(server.webhooks) == before

    simulate(main)


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_?", b"whsec_QUJD", 5])
def test_secrets_that_can_not_be_used(secret):
    """An invalid secret is noticed before there is a prediction, and so is a URL that is none."""
    client = AsyncReplicate(bearer_token="t")
    with pytest.raises(ValueError, match="secret: expected"):
        client.receive_webhooks("https://host/hooks", secret=secret)
    with pytest.raises(ValueError, match="url=None must be the https URL"):
        client.receive_webhooks(None, secret=SECRET)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["duplicate", "reorder"])
def test_repeated_and_reordered_webhooks(kind):
    """Webhooks that come twice or in the wrong order change nothing; updates come once each, in their order."""

    async def main(server: LocalServer, address: Address, client: AsyncReplicate, receiver: Any) -> None:
        server.faults.add(operation="webhook.*", kind=kind)
        seen: list[tuple[str, str]] = []
        output = await client.run(
            "owner/slow", {"seconds": 3}, on_update=lambda prediction: seen.append((prediction.id, prediction.status))
        )
        assert output == "output of "
        assert len(seen) == len(set(seen))
        assert [status for _, status in seen][-1] == "succeeded"
        # What comes after the end is no news either.
        await asyncio.sleep(5)
        handle = await client.submit("owner/slow", {"seconds": 1})
        await asyncio.sleep(5)
        assert await handle.output() == "output of "

    receiving(main)


def test_a_failure_by_webhook():
    """A failed prediction raises its error as soon as the webhook comes."""

    async def main(server: LocalServer, address: Address, client: AsyncReplicate, receiver: Any) -> None:
        with pytest.raises(ModelError, match="no luck"):
            await client.run("owner/fail")
        assert calls(server) == ["webhooks.default.secret.get", "models.predictions.create"]

    receiving(main)


def test_a_webhook_that_overtakes_the_create():
    """A prediction that ends before the response to its create is there needs no poll."""

    async def main(server: LocalServer, address: Address, client: AsyncReplicate, receiver: Any) -> None:
        server.faults.add(operation="models.predictions.create", kind="delay", seconds=2, after=True)
        assert await client.run("owner/slow", {"seconds": 0}) == "output of "
        assert calls(server)[1:] == ["models.predictions.create"]

    receiving(main)


def test_a_webhook_without_the_output():
    """A webhook that says too little is completed by a poll."""

    async def main(server: LocalServer, address: Address, client: AsyncReplicate, receiver: Any) -> None:
        waiting = asyncio.create_task(client.run("owner/slow", {"seconds": 3}))
        address.lost = lambda number: True
        await asyncio.sleep(4)
        (prediction,) = server.predictions.values()
        secret = (await client.webhooks.default.secret.get()).key
        body = json.dumps({"id": prediction.id, "status": "succeeded"})
        signed = sign_webhook(body, secret, timestamp=server.clock.now())
        assert (await receiver.deliver(body, signed)).id == prediction.id
        began = asyncio.get_running_loop().time()
        assert await waiting == "output of "
        assert asyncio.get_running_loop().time() - began < 1

    receiving(main)


# --- who registers it ---


def test_who_registers_the_receiver():
    """Runs, handles, maps and functions do; streams do not, and a webhook of the caller's own is kept."""

    async def main(server: LocalServer, address: Address, client: AsyncReplicate, receiver: Any) -> None:
        await client.run("owner/slow", {"seconds": 1})
        await (await client.submit("owner/slow", {"seconds": 1})).wait()
        assert [output async for output in client.map("owner/slow", [{"seconds": 1}] * 2)] == ["output of "] * 2
        await client.use("owner/slow")(seconds=1)
        await client.with_options(timeout=50).run("owner/slow", {"seconds": 1})
        creates = [json.loads(call.body) for call in server.requests if call.operation.endswith("create")]
        assert {(body["webhook"], *body["webhook_events_filter"]) for body in creates} == {(receiver.url, "completed")}
        assert set(calls(server)) == {"webhooks.default.secret.get", "models.predictions.create"}
        assert [str(event) async for event in client.stream("owner/words", {"text": "a b"})]
        await client.run("owner/slow", {"seconds": 1}, webhook=f"{address.url}?mine")
        creates = [json.loads(call.body) for call in server.requests if call.operation.endswith("create")]
        assert [body.get("webhook") for body in creates[-2:]] == [None, f"{address.url}?mine"]

    receiving(main)


def test_predictions_and_trainings_that_name_the_receiver():
    """``wait`` of the resources wakes for what was created with the receiver's URL."""

    async def main(server: LocalServer, address: Address, client: AsyncReplicate, receiver: Any) -> None:
        prediction = await client.models.predictions.create(
            model_owner="owner", model_name="slow", input={"seconds": 9}, webhook=receiver.url
        )
        account = (await client.account.get()).username
        await client.models.create(owner=account, name="mine", hardware="cpu", visibility="private")
        training = await client.trainings.create(
            model_owner="owner",
            model_name="trainable",
            version_id="e" * 64,
            destination=f"{account}/mine",
            input={},
            webhook=receiver.url,
        )
        before = len(server.requests)
        assert (await client.predictions.wait(prediction)).output == "output of "
        assert (await client.trainings.wait(training)).status == "succeeded"
        assert len(server.requests) == before

    receiving(main)


def test_another_account():
    """A copy of the client with another token is another account, whose webhooks have another secret."""

    async def main(server: LocalServer, address: Address, client: AsyncReplicate, receiver: Any) -> None:
        other = client.with_options(bearer_token="r8_other")
        assert receiver.url not in json.dumps([call.body.decode() for call in server.requests])
        with pytest.raises(Exception, match="401"):
            await other.run("owner/slow", {"seconds": 1})
        assert b"webhook" not in server.requests[-1].body

    receiving(main)


# --- the numbers ---


def test_a_thousand_runs():
    """1,000 runs of 30 s take at most 1.1 requests each, and each end is known within 50 ms of its delivery."""
    delays: list[float] = []

    async def main(server: LocalServer, address: Address, client: AsyncReplicate, receiver: Any) -> None:
        loop = asyncio.get_running_loop()
        handles = await asyncio.gather(*[client.submit("owner/slow", {"text": str(n)}) for n in range(500)])

        async def wait(handle: Any) -> None:
            await handle.wait()
            delays.append(loop.time() - address.arrived[handle.id])

        await asyncio.gather(*map(wait, handles))
        outputs = [output async for output in client.map("owner/slow", ({"text": str(n)} for n in range(500)))]
        assert outputs == [f"output of {n}" for n in range(500)]
        assert len(server.requests) <= 1100

    receiving(main)
    assert len(delays) == 500
    assert max(delays) <= 0.05


def test_several_processes_behind_one_address():
    """A webhook that reaches another process is refused there, and delivered again until it reaches its own."""

    async def main(sim: Simulation) -> None:
        async with (
            served(clock=sim) as server,
            listening() as address,
            client_of(server) as first,
            client_of(server) as second,
            first.receive_webhooks(address.url) as one,
            second.receive_webhooks(address.url) as two,
        ):
            address.receivers = [one, two]
            runs = [client.run("owner/slow", {"seconds": 5}) for client in (first, second) for _ in range(10)]
            assert await asyncio.gather(*runs) == ["output of "] * 20
            assert set(address.statuses) == {204, 503}
            assert asyncio.get_running_loop().time() < 40
            assert len(calls(server)) < 40

    simulate(main)


# --- the application, and the blocking client ---


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with served() as server:
        yield server


def post(app: Any, body: bytes, headers: dict[str, str], **options: Any) -> int:
    """Send a webhook to an ASGI application from a thread of its own; return the status."""

    async def send() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            method, path = options.get("method", "POST"), options.get("path", "/")
            return (await http.request(method, path, content=body, headers=headers)).status_code

    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, send()).result()


def test_refused_requests(server):
    """Whatever is not a webhook of this account and receiver is refused, and wakes nobody."""
    with (
        Replicate(bearer_token=server.token, base_url=server.base_url) as client,
        client.receive_webhooks("https://example.org/?a=1", secret=SECRET) as receiver,
    ):
        body = b'{"id": "p1", "status": "succeeded"}'
        signed = sign_webhook(body, SECRET)
        query = receiver.url.partition("?")[2]
        assert query.startswith("a=1&receiver=")
        assert post(receiver.app, body, signed, path=f"/?{query}") == 204
        assert post(receiver.app, body, signed) == 204
        assert post(receiver.app, body, signed, path="/?receiver=another") == 503
        assert post(receiver.app, body, {}) == 400
        assert post(receiver.app, body + b" ", signed) == 400
        assert post(receiver.app, b"", {}, method="GET") == 405
        assert post(receiver.app, b"x" * (33 * 1024 * 1024), signed) == 413
        with pytest.raises(WebhookVerificationError):
            receiver.deliver(b"{}", {})
    with pytest.raises(ValueError, match="https URL"):
        client.receive_webhooks("example.org/hooks")
    with pytest.raises(WebhookVerificationError, match="secret"):
        client.receive_webhooks("https://example.org").deliver(body, signed)


@pytest.mark.parametrize("way", ["app", "mounted", "deliver"])
def test_the_blocking_client(server, way):
    """Blocking callers on several threads wake when the application, or ``deliver`` on any thread, gets the webhook."""
    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        secret = client.webhooks.default.secret.get()
        receiver = client.receive_webhooks("http://127.0.0.1:9/hooks", secret=secret)
        with receiver, ThreadPoolExecutor(4) as executor:
            before = len(server.requests)
            runs = [executor.submit(client.run, "owner/slow", {"seconds": 600, "text": str(n)}) for n in range(4)]
            while len(server.predictions) < 4:
                threading.Event().wait(0.01)
            for prediction in list(server.predictions.values()):
                done = {"id": prediction.id, "status": "succeeded", "output": prediction.id}
                body = json.dumps(done).encode()
                headers = sign_webhook(body, secret)
                if way == "deliver":
                    assert receiver.deliver(body, headers).id == prediction.id
                elif way == "app":
                    assert post(receiver.app, body, headers) == 204
                else:
                    app = FastAPI()
                    app.add_route("/hooks", receiver.app, methods=["POST"])
                    assert post(app, body, headers, path=f"/hooks?{receiver.url.partition('?')[2]}") == 204
            assert {run.result(30) for run in runs} == set(server.predictions)
            assert len(server.requests) == before + 4
