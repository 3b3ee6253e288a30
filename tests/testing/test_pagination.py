"""Lists: order, filters and cursors."""

from __future__ import annotations

import asyncio

import pytest

from replicate_async.testing import VirtualClock, models

from .conftest import Caller, form

pytestmark = pytest.mark.anyio


async def walk(call: Caller, url: str | None, direction: str = "next") -> list[list[str]]:
    """Return the ids on each page."""
    pages: list[list[str]] = []
    while url is not None:
        page = (await call("GET", url)).data
        pages.append([entry["id"] for entry in page["results"]])
        url = page[direction]
    return pages


@pytest.fixture
def quick(call: Caller) -> Caller:
    call.server.model("me/quick", inline=True)(models.hello_world)
    return call


async def test_forth_and_back(quick: Caller) -> None:
    """``next`` leads from the newest page to the oldest, and previous back; both are null at the ends."""
    ids = [(await quick.run("me/quick", text="a"))["id"] for _ in range(7)][::-1]
    first = (await quick("GET", "/predictions")).data
    assert first["previous"] is None
    assert first["next"].startswith(f"{quick.server.base_url}/predictions?cursor=")
    assert await walk(quick, "/predictions") == [ids[:3], ids[3:6], ids[6:]]
    second = (await quick("GET", first["next"])).data
    third = (await quick("GET", second["next"])).data
    assert third["next"] is None
    assert await walk(quick, third["previous"], "previous") == [ids[3:6], ids[:3]]


async def test_exactly_one_page(quick: Caller) -> None:
    """A list that exactly fills its page has no next page, and neither has an empty list."""
    assert (await quick("GET", "/predictions")).data == {"results": [], "next": None, "previous": None}
    for _ in range(3):
        await quick.run("me/quick", text="a")
    page = (await quick("GET", "/predictions")).data
    assert (len(page["results"]), page["next"], page["previous"]) == (3, None, None)


async def test_changes_between_pages(quick: Caller) -> None:
    """Entries that are added or removed between two pages neither repeat nor hide others."""

    async def files(url: str) -> tuple[list[str], str | None]:
        page = (await quick("GET", url)).data
        return [file["name"] for file in page["results"]], page["next"]

    for number in range(6):
        await quick("POST", "/files", data=form(b"x", f"m{number}"))
    first, following = await files("/files")
    assert (first, following is not None) == (["m5", "m4", "m3"], True)
    listed = (await quick("GET", "/files")).data["results"]
    # The cursor contains the key of this file.
    await quick("DELETE", f"/files/{listed[2]['id']}")
    await quick("POST", "/files", data=form(b"x", "new"))
    assert await files(following or "") == (["m2", "m1", "m0"], None)


async def test_predictions_that_go(call: Caller) -> None:
    """Predictions that are deleted with their version leave no gap in the pages, and their cursors stay valid."""
    for name, version in (("local/stays", "ab" * 32), ("local/goes", "cd" * 32)):
        call.server.model(name, version=version, visibility="private", inline=True)(models.hello_world)
    ids = [(await call.run(f"local/{'goes' if n % 2 else 'stays'}", text="a"))["id"] for n in range(16)][::-1]
    first = (await call("GET", "/predictions")).data
    second = (await call("GET", first["next"])).data
    third = (await call("GET", second["next"])).data
    # Both ends of this page are deleted next.
    assert [run["id"] for run in third["results"]] == ids[6:9]
    assert (await call("DELETE", f"/models/local/goes/versions/{'cd' * 32}")).status == 202
    remaining = ids[1::2]
    assert await walk(call, "/predictions") == [remaining[:3], remaining[3:6], remaining[6:]]
    assert await walk(call, third["previous"], "previous") == [remaining[:3]]
    assert await walk(call, third["next"]) == [remaining[4:7], remaining[7:]]


async def test_created_filters(slow_call: Caller, clock: VirtualClock) -> None:
    """created_after is inclusive, created_before is exclusive, and pages keep the filter."""
    slow_call.server.model("me/quick", inline=True)(models.hello_world)
    ids: list[str] = []
    for _ in range(3):
        ids.append((await slow_call.run("me/quick", text="a"))["id"])
        await clock.advance(60)
    after, before = {"created_after": "2025-01-01T00:01:00Z"}, {"created_before": "2025-01-01T01:01:00+01:00"}

    async def listed(**params: str) -> list[str]:
        return [
            prediction["id"] for prediction in (await slow_call("GET", "/predictions", params=params)).data["results"]
        ]

    assert await listed(**after) == [ids[2], ids[1]]
    assert await listed(**before) == [ids[0]]
    assert await listed(created_after="2025-01-01T00:01:00") == [ids[2], ids[1]]
    assert await listed() == ids[::-1]
    assert await listed(source="web") == []


async def test_pages_keep_filters(quick: Caller) -> None:
    """The URL of the next page has the query of the first."""
    for _ in range(5):
        await quick.run("me/quick", text="a")
    params = {"created_after": "2020-01-01T00:00:00+01:00", "limit": "5"}
    page = (await quick("GET", "/predictions", params=params)).data
    await quick("GET", page["next"])
    query = quick.server.requests[-1].query
    assert {**query, "cursor": ""} == {**params, "cursor": ""}


@pytest.mark.parametrize(
    "query", ["created_after=yesterday", "created_before=1", "source=mail", "cursor=x", "cursor=W10=", "cursor=WzFd"]
)
async def test_bad_queries(quick: Caller, query: str) -> None:
    """Invalid filters and cursors are refused with their name."""
    answer = await quick("GET", f"/predictions?{query}")
    assert (answer.status in {400, 422}, query.partition("=")[0] in answer.data["detail"]) == (True, True)


async def test_models_by_either_time(slow_call: Caller, clock: VirtualClock) -> None:
    """models.list is sorted by the time of the latest version, newest first, if no other order is requested."""
    for name in ("me/a", "me/b", "me/c"):
        slow_call.server.model(name)(models.hello_world)
        await clock.advance(1)
    slow_call.server.model("me/a", version="ab" * 32)(models.hello_world)

    async def listed(**params: str) -> str:
        page = (await slow_call("GET", "/models", params=params)).data
        return "".join(model["name"] for model in page["results"])

    assert await listed() == "acb"
    assert await listed(sort_direction="asc") == "bca"
    assert await listed(sort_by="model_created_at") == "cba"
    assert await listed(sort_by="model_created_at", sort_direction="asc") == "abc"
    assert (await slow_call("GET", "/models?sort_by=name")).status == 422
    assert (await slow_call("GET", "/models?sort_direction=up")).status == 422


async def test_pages_of_a_search(call: Caller) -> None:
    """Further pages of a search continue the search, with QUERY and with GET."""
    for number in range(5):
        call.server.model(f"me/cat-{number}")(models.hello_world)
        call.server.model(f"me/dog-{number}")(models.hello_world)
    first = (await call("QUERY", "/models", data="cat", headers={"Content-Type": "text/plain"})).data
    again = await asyncio.gather(call("QUERY", first["next"], data="cat"), call("GET", first["next"]))
    assert [[model["name"] for model in page.data["results"]] for page in again] == [["cat-1", "cat-0"]] * 2
