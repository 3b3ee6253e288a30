"""Thousands of predictions at once."""

from __future__ import annotations

import asyncio

import pytest

from replicate_async.testing import VirtualClock

from .conftest import Caller, serve

pytestmark = pytest.mark.anyio

MANY = 10_000


async def statuses(call: Caller) -> dict[str, str]:
    """Return the status of each prediction on all pages."""
    statuses: dict[str, str] = {}
    path: str | None = "/predictions"
    while path:
        page = (await call("GET", path)).data
        statuses |= {prediction["id"]: prediction["status"] for prediction in page["results"]}
        path = page["next"]
    return statuses


@pytest.mark.endurance
async def test_ten_thousand_pending() -> None:
    """Ten thousand predictions of half a minute each are pending at once, are all listed, and all end."""
    clock = VirtualClock(auto=False)
    async with serve(tidy=True, clock=clock) as (server, call):

        @server.model("me/slow")
        async def slow(number: int) -> int:
            await clock.sleep(30)
            return number

        queue = iter(range(MANY))

        async def create() -> set[str]:
            return {(await call.start("me/slow", number=number))["id"] for number in queue}

        created = set[str]().union(*await asyncio.gather(*[create() for _ in range(50)]))
        pending = await statuses(call)
        assert (pending.keys(), set(pending.values())) == (created, {"processing"})
        await clock.advance(31)
        ended = await statuses(call)
        assert (len(ended), set(ended.values())) == (MANY, {"succeeded"})
        assert sorted(prediction.output for prediction in server.predictions.values()) == list(range(MANY))
