"""Rate limits, as the API documents them."""

from __future__ import annotations

import asyncio
import collections
from typing import Any

import pytest

import replicate_async
from replicate_async.testing import Limits, LocalServer, VirtualClock, models

from .conftest import Caller, serve

pytestmark = pytest.mark.anyio

HELLO = "/models/replicate/hello-world/predictions"
BODY = {"input": {"text": "a"}}


async def statuses(call: Caller, number: int, method: str = "GET", path: str = "/account", body: Any = None) -> Any:
    answers = await asyncio.gather(*(call(method, path, body) for _ in range(number)))
    return collections.Counter(answer.status for answer in answers)


async def test_no_limits(call: Caller) -> None:
    """By default there are no limits."""
    assert call.server.limits is None
    assert await statuses(call, 400) == {200: 400}


async def test_the_documented_limits(clock: VirtualClock) -> None:
    """Creates and other requests have separate limits: a burst, and then a rate per minute."""
    async with serve(tidy=True, limits=Limits(), clock=clock) as (server, call):
        models.register(server)
        server.model("replicate/hello-world", inline=True)(models.hello_world)
        assert await statuses(call, 60, "POST", HELLO, BODY) == {201: 50, 429: 10}
        assert await statuses(call, 3010) == {200: 3000, 429: 10}
        await clock.advance(1)
        assert await statuses(call, 20, "POST", HELLO, BODY) == {201: 10, 429: 10}
        assert await statuses(call, 60) == {200: 50, 429: 10}
        # A pause doesn't save up more than a burst.
        await clock.advance(60)
        assert await statuses(call, 60, "POST", HELLO, BODY) == {201: 50, 429: 10}
        assert len(server.predictions) == 110


async def test_all_creates_are_one_budget(clock: VirtualClock) -> None:
    """All three operations that create a prediction count as creates; creating a training doesn't."""
    version = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
    async with serve(tidy=True, limits={"create_burst": 2}, clock=clock, username="me") as (server, call):
        models.register(server)
        server.model("me/mine")(models.hello_world)
        deployment = {"name": "d", "model": "replicate/hello-world", "version": version, "hardware": "cpu"}
        await call("POST", "/deployments", {**deployment, "min_instances": 0, "max_instances": 0})
        seen = [
            (await call("POST", path, {**BODY, **more})).status
            for path, more in [
                ("/predictions", {"version": version}),
                ("/deployments/me/d/predictions", {}),
                (HELLO, {}),
                (f"/models/replicate/hello-world/versions/{version}/trainings", {"destination": "me/mine"}),
            ]
        ]
        assert seen == [201, 201, 429, 201]


async def test_hints(clock: VirtualClock) -> None:
    """A 429 gives the delay in three places, rounded up to seconds; a client that waits so long succeeds."""
    async with serve(
        tidy=True, limits={"creates": 6, "create_burst": 1, "others": 1, "other_burst": 1}, clock=clock
    ) as (
        server,
        call,
    ):
        models.register(server)
        assert (await call("POST", HELLO, BODY)).status == 201
        await clock.advance(1.5)
        refused = await call("POST", HELLO, BODY)
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.headers["Retry-After"] == "9"
        assert refused.data == {
            "detail": "Request was throttled. Your rate limit for creating predictions is 6 requests per minute with a "
            "burst of 1 requests. Your rate limit resets in ~9s.",
            "status": 429,
            "retry_after": 9,
        }
        await clock.advance(9)
        assert (await call("POST", HELLO, BODY)).status == 201
        assert [(await call("GET", "/account")).status for _ in range(2)] == [200, 429]
        for _ in range(3):
            await clock.advance(60)
            assert (await call("GET", "/account")).status == 200


async def test_what_counts_for_nothing(clock: VirtualClock) -> None:
    """Refused requests don't count, nor do requests without the token, nor those to the delivery origin."""
    async with serve(tidy=True, limits={"others": 60, "other_burst": 1}, clock=clock) as (server, call):
        models.register(server)
        prediction = await call.run("replicate-local/stream-text", prompt="a", delay=0)
        for _ in range(3):
            assert (await call("GET", "/account", headers={"Authorization": "x"})).status == 401
            assert (await call("GET", prediction["urls"]["stream"])).status == 200
        assert await statuses(call, 5) == {200: 1, 429: 4}
        await clock.advance(1)
        assert await statuses(call, 5) == {200: 1, 429: 4}


async def test_new_limits(call: Caller) -> None:
    """Limits can be changed and removed while the server runs."""
    call.server.limits = Limits(others=1, other_burst=1)
    assert await statuses(call, 3) == {200: 1, 429: 2}
    call.server.limits = Limits(others=None, creates=1)
    assert await statuses(call, 3) == {200: 3}
    call.server.limits = None
    assert await statuses(call, 3) == {200: 3}


async def test_what_is_left(clock: VirtualClock) -> None:
    """Each response says how many requests of its kind are left, and when there will be as many as at first."""
    async with serve(tidy=True, limits="default", clock=clock) as (server, call):
        server.model("acme/hello", official=True)(models.hello_world)

        async def left(method: str, path: str, body: Any = None) -> tuple[str, str]:
            headers = (await call(method, path, body)).headers
            return headers["ratelimit-remaining"], headers["ratelimit-reset"]

        assert await left("GET", "/account") == ("2999", "1")
        assert await left("GET", "/predictions/nothing") == ("59999", "1")
        for _ in range(99):
            await call("GET", "/account")
        assert await left("GET", "/hardware") == ("2899", "3")
        assert await left("POST", "/models/acme/hello/predictions", BODY) == ("49", "1")
        assert await left("POST", "/models/acme/hello/predictions", {"input": {}}) == ("48", "1")
        assert "ratelimit-remaining" not in (await call("GET", "/account", headers={"Authorization": "x"})).headers


async def test_what_is_left_without_limits(call: Caller) -> None:
    """Without limits, the headers are always those of the first request."""
    for _ in range(3):
        headers = (await call("GET", "/account")).headers
        assert (headers["ratelimit-remaining"], headers["ratelimit-reset"]) == ("2999", "1")


async def test_an_account_low_on_credit(clock: VirtualClock) -> None:
    """An account with less than 5 dollars may create 6 predictions per minute, one at a time, and poll as usual."""
    async with serve(tidy=True, limits="low_credit", clock=clock) as (server, call):
        server.model("acme/hello", official=True)(models.hello_world)
        path = "/models/acme/hello/predictions"
        created = await call("POST", path, BODY)
        assert created.headers["ratelimit-remaining"] == "0"
        await clock.advance(5)
        refused = await call("POST", path, BODY)
        assert (refused.status, refused.data["retry_after"], refused.headers["ratelimit-reset"]) == (429, 5, "5")
        assert refused.headers["ratelimit-remaining"] == "0"
        assert refused.data["detail"] == (
            "Request was throttled. Your rate limit for creating predictions is reduced to 6 requests per minute with "
            "a burst of 1 requests while you have less than $5.0 in credit. Your rate limit resets in ~5s."
        )
        assert await statuses(call, 100, path=f"/predictions/{created.data['id']}") == {200: 100}
        await clock.advance(5)
        assert await statuses(call, 2, "POST", path, BODY) == {created.status: 1, 429: 1}


async def test_an_account_without_credit(call: Caller) -> None:
    """Creates get a 402 and cost nothing; everything else works."""
    models.register(call.server)
    call.server.limits = "no_credit"
    refused = await call("POST", HELLO, BODY)
    assert (refused.status, refused.data["title"]) == (402, "Insufficient credit")
    assert refused.data["detail"].startswith("You have insufficient credit to run this model.")
    assert (await call("GET", "/account")).status == 200
    assert not call.server.predictions


async def test_latency(clock: VirtualClock) -> None:
    """Every request takes the latency in addition: also refused ones, streams and files; requests overlap."""
    async with serve(tidy=True, latency=0.2, clock=clock) as (server, call):
        server.model("acme/hello", official=True)(models.stream_text)
        paths = ["/account", "/nothing", f"{server.delivery_url}/nothing", f"{server.delivery_url}/nothing/x"]
        requests = [asyncio.create_task(call("GET", path)) for path in paths * 5]
        requests.append(asyncio.create_task(call("GET", "/account", headers={"Authorization": "x"})))
        await clock.advance(0.19)
        assert not any(request.done() for request in requests)
        await clock.advance(0.02)
        answers = await asyncio.gather(*requests)
        assert collections.Counter(answer.status for answer in answers) == {200: 5, 404: 15, 401: 1}


def test_latency_in_virtual_time() -> None:
    """With a virtual clock, the latency takes no real time, and clients see it pass."""
    clock = VirtualClock()
    with LocalServer(tidy=True, latency=30.0, clock=clock) as server:
        with replicate_async.Replicate(bearer_token=server.token, base_url=server.base_url) as client:
            assert client.account.get().username == "local"
        assert 30 <= clock.monotonic() < 31


@pytest.mark.parametrize("latency", [-1, float("inf"), float("nan")])
def test_an_invalid_latency(latency: float) -> None:
    """A latency is a number of seconds."""
    with pytest.raises(ValueError, match="latency"):
        LocalServer(tidy=True, latency=latency)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"creates": 0}, "> 0.0 - at `$.creates`"),
        ({"create_burst": 0}, ">= 1 - at `$.create_burst`"),
        ({"others": "many"}, "others"),
        ({"creats": 1}, "unknown field `creats`"),
        ("low-credit", "expected one of default, low_credit, no_credit"),
    ],
)
def test_what_makes_no_sense(limits: Any, reason: str) -> None:
    """Invalid limits raise an error with the reason."""
    with pytest.raises(ValueError, match=reason.replace("$", r"\$")):
        LocalServer(tidy=True, limits=limits)
