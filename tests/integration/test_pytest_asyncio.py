"""The pytest plugin's fixtures under pytest-asyncio, in its modes and with its loops."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

pytest_plugins = ["pytester"]

NAME = "replicate_async.testing.plugin"
OPTIONS = [
    *([] if entry_points(group="pytest11", name=NAME) else ["-p", NAME]),
    *("-p", "no:anyio", "-p", "no:schemathesis", "-p", "no:cacheprovider", "--strict-markers", "-W", "error"),
]
TESTS = """
    import gc

    import aiohttp
    import pytest
    import pytest_asyncio
    import replicate_async
    from replicate_async import AsyncReplicate
    from replicate_async.testing import VirtualClock

    def shout(text: str) -> str:
        return text.upper()

    pytestmark = pytest.mark.replicate_model("me/shout", shout, official=True)
    in_its_loop = pytest.mark.asyncio(loop_scope="SCOPE")

    @pytest_asyncio.fixture(loop_scope="SCOPE")
    async def prediction(async_replicate):
        prediction = await async_replicate.models.predictions.create("me", "shout", input={"text": "a"})
        yield prediction
        # The client is still open.
        await async_replicate.predictions.cancel(prediction.id)

    @pytest.mark.parametrize("time", [1, 2])
    @in_its_loop
    async def test_client(replicate_server, async_replicate, time):
        assert await async_replicate.run("me/shout", input={"text": "hi"}) == "HI"
        assert len(replicate_server.predictions) == 1

    @in_its_loop
    async def test_fixture(async_replicate, prediction):
        assert (await async_replicate.predictions.wait(prediction)).output == "A"

    @in_its_loop
    async def test_its_own_clients():
        async with AsyncReplicate() as client:
            assert await client.run("me/shout", input={"text": "hi"}) == "HI"
        assert await replicate_async.use("me/shout", use_async=True)(text="hi") == "HI"

    @pytest.mark.replicate_server(clock=VirtualClock)
    @pytest.mark.replicate_faults(kind="rate_limit", retry_after=120, times=1)
    @in_its_loop
    async def test_time(async_replicate):
        assert (await async_replicate.account.get()).username == "local"

    def test_blocking(replicate_client):
        assert replicate_client.run("me/shout", input={"text": "hi"}) == "HI"
        # Anything that was left open would give a warning now.
        gc.collect()

    def test_nothing_is_left_open():
        sessions = [thing for thing in gc.get_objects() if isinstance(thing, aiohttp.ClientSession)]
        assert all(session.closed for session in sessions)
"""


@pytest.mark.parametrize("scope", ["function", "session"])
@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_modes_and_loops(pytester: pytest.Pytester, mode: str, scope: str) -> None:
    """The fixtures work in either mode, with one loop for each test or one for all, and leave nothing open."""
    pytester.makeini(f"[pytest]\nasyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = {scope}\n")
    pytester.makepyfile(TESTS.replace("SCOPE", scope))
    result = pytester.runpytest_subprocess(*OPTIONS)
    result.assert_outcomes(passed=7)
