"""Rate limits, as the API documents them."""

from __future__ import annotations

import asyncio
import collections
from typing import Any

import pytest

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
    async with serve(limits=Limits(), clock=clock) as (server, call):
        models.register(server)
        server.model("replicate/hello-world", inline=True)(models.hello_world)
        assert await statuses(call, 60, "POST", HELLO, BODY) == {202: 50, 429: 10}
        assert await statuses(call, 260) == {200: 250, 429: 10}
        await clock.advance(1)
        assert await statuses(call, 20, "POST", HELLO, BODY) == {202: 10, 429: 10}
        assert await statuses(call, 60) == {200: 50, 429: 10}
        # A pause doesn't save up more than a burst.
        await clock.advance(60)
        assert await statuses(call, 60, "POST", HELLO, BODY) == {202: 50, 429: 10}
        assert len(server.predictions) == 110


async def test_all_creates_are_one_budget(clock: VirtualClock) -> None:
    """All three operations that create a prediction count as creates; creating a training doesn't."""
    version = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
    async with serve(limits={"create_burst": 2}, clock=clock, username="me") as (server, call):
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
        assert seen == [202, 202, 429, 201]


async def test_hints(clock: VirtualClock) -> None:
    """A 429 gives the delay in three places, rounded up to seconds; a client that waits so long succeeds."""
    async with serve(limits={"creates": 6, "create_burst": 1, "others": 1, "other_burst": 1}, clock=clock) as (
        server,
        call,
    ):
        models.register(server)
        assert (await call("POST", HELLO, BODY)).status == 202
        await clock.advance(1.5)
        refused = await call("POST", HELLO, BODY)
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.headers["Retry-After"] == "9"
        assert refused.data == {
            "title": "Too many requests",
            "detail": "Request was throttled. Your rate limit for creating predictions is 6 requests per minute with a "
            "burst of 1 requests. Your rate limit resets in ~9s.",
            "status": 429,
            "retry_after": 9,
        }
        await clock.advance(9)
        assert (await call("POST", HELLO, BODY)).status == 202
        assert [(await call("GET", "/account")).status for _ in range(2)] == [200, 429]
        for _ in range(3):
            await clock.advance(60)
            assert (await call("GET", "/account")).status == 200


async def test_what_counts_for_nothing(clock: VirtualClock) -> None:
    """Refused requests don't count, nor do requests without the token, nor those to the delivery origin."""
    async with serve(limits={"others": 60, "other_burst": 1}, clock=clock) as (server, call):
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


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"creates": 0}, "> 0.0 - at `$.creates`"),
        ({"create_burst": 0}, ">= 1 - at `$.create_burst`"),
        ({"others": "many"}, "others"),
        ({"creats": 1}, "unknown field `creats`"),
    ],
)
def test_what_makes_no_sense(limits: dict[str, Any], reason: str) -> None:
    """Invalid limits raise an error with the reason."""
    with pytest.raises(ValueError, match=reason.replace("$", r"\$")):
        LocalServer(limits=limits)
