"""Rate limits in situations: latencies, limits, other programs, and storms of 429 responses, with whole clients.

The API is simulated, in virtual time. ``python -m benchmarks limits`` prints the whole table.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Any

import pytest

from replicate_async import APITimeoutError, RateLimit, RateLimitError
from simulated_api import ApiLimit, Result, SimulatedApi, run_all
from simulation import Simulation, simulate

# On one Python only: what is simulated is the same on all, and takes a minute.
pytestmark = pytest.mark.endurance


LATENCIES = [0.0, 0.2, 0.8]
Make = Callable[[Simulation, float], SimulatedApi]


@pytest.fixture(autouse=True)
def _same_jitter() -> None:
    """Make the simulations repeatable."""
    random.seed(0)


def api_with(per_minute: float, burst: int, *, headers: bool = True, **fields: Any) -> Make:
    """Return a function that creates an API with a limit for creates."""
    return lambda sim, latency: SimulatedApi(
        sim,
        latency,
        creates=ApiLimit(per_minute / 60, burst, headers=headers),
        polls=ApiLimit(1000, 60_000, headers=headers),
        others=ApiLimit(50, 3000, headers=headers),
        **fields,
    )


def run(make: Make, latency: float, count: int, **options: Any) -> Result:
    """Run predictions; none fails, and none is created twice."""
    result = simulate(lambda sim: run_all(sim, make(sim, latency), count, **options))
    assert result.failed == 0
    assert sum(creation.accepted for creation in result.api.creations) == count * options.get("processes", 1)
    return result


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize(("burst", "count"), [(600, 800), (60, 300), (10, 300)])
def test_the_documented_limits(latency, burst, count):
    """With the API's headers, at most 1 % of the creates are refused, and the time is at most 1.1x the least."""
    result = run(api_with(600, burst), latency, count)
    assert result.ratio <= 1.1
    assert result.refused <= 0.01


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize(("burst", "count"), [(600, 800), (60, 300), (10, 300)])
def test_the_documented_limits_without_headers(latency, burst, count):
    """Without headers, at most 12 % are refused, and the time is at most 1.1x the least."""
    result = run(api_with(600, burst, headers=False), latency, count)
    assert result.ratio <= 1.1
    assert result.refused <= 0.12


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("latency", LATENCIES)
def test_low_credit(latency, headers):
    """At six creates per minute, the time is at most 1.15x the least."""
    assert run(api_with(6, 1, headers=headers), latency, 20).ratio <= 1.15


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize(
    ("processes", "count", "per_minute", "burst"), [(10, 1, 6, 1), (2, 10, 6, 1), (32, 1, 60, 2), (2, 100, 600, 60)]
)
def test_processes_that_share_an_account(processes, count, per_minute, burst, headers):
    """No process starves: no run fails, and together they take at most 1.3x the least time.

    Without headers, a program needs time to notice that another one has ended.
    """
    most = 1.3 if headers or burst < 60 else 1.5
    for latency in LATENCIES:
        assert run(api_with(per_minute, burst, headers=headers), latency, count, processes=processes).ratio <= most


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("latency", LATENCIES[1:])
@pytest.mark.parametrize(
    "trouble",
    [{"hogs": [(5.0, 20.0)]}, {"hogs": [(0.0, 15.0)]}, {"storms": [(5.0, 15.0)]}, {"storms": [(0.0, 10.0)]}],
    ids=["hog", "early hog", "storm", "early storm"],
)
def test_recovery_after_refusals_that_others_caused(trouble, latency, headers):
    """Ten seconds after another program's hog or a storm of 429 responses, 90 % of the allowed pace is back."""
    result = run(api_with(600, 60, headers=headers, **trouble), latency, 400)
    (_, end), *_ = trouble.get("hogs") or trouble["storms"]
    # The pace is ten per second.
    assert result.api.pace(end + 10, end + 16) >= 9


@pytest.mark.parametrize("storm_hint", [None, 0.0, 1.0, 10.0])
def test_recovery_from_any_hint(storm_hint):
    """Whatever the Retry-After of a storm, the pace is back after it, and refused creates were not repeated at once."""
    result = run(api_with(600, 60, storms=[(5.0, 15.0)], storm_hint=storm_hint), 0.2, 300)
    assert result.api.pace(25, 30) >= 9
    assert sum(not creation.accepted for creation in result.api.creations) < 100


@pytest.mark.parametrize("headers", [True, False])
def test_a_limit_that_appears_in_the_middle(headers):
    """When the account's credit becomes low in the middle, the rest follows at the lower pace."""

    async def main(sim: Simulation) -> Result:
        api = api_with(600, 600, headers=headers)(sim, 0.2)
        assert api.creates is not None
        limit = api.creates

        def reduce() -> None:
            limit.reduce(rate=2, burst=10)

        asyncio.get_running_loop().call_later(1, reduce)
        return await run_all(sim, api, 600)

    result = simulate(main)
    assert result.failed == 0
    left = sum(creation.accepted and creation.at >= 1 for creation in result.api.creations)
    assert left > 100
    assert result.seconds <= 1.1 * ((left - 10) / 2 + 1 + 5 + 0.4)
    assert result.refused < 0.25


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize(("latency", "seconds"), [(0.0, 5.8), (0.2, 9.1)])
def test_no_limit(latency, seconds, headers):
    """Where no limit is, a thousand creates take hardly longer than their connections allow."""
    limit = {"creates": ApiLimit(1e6, 1e6, headers=True)} if headers else {}
    result = run(lambda sim, latency: SimulatedApi(sim, latency, **limit), latency, 1000)
    assert result.seconds <= seconds
    assert result.connections <= 100
    assert result.requests_per_run <= 2.5
    assert result.refused == 0


# --- what is not delayed ---


def test_cancels_and_polls_are_not_delayed_by_the_limits_of_other_calls():
    """While all other calls are blocked for minutes, predictions and trainings are canceled and fetched at once."""

    async def main(sim: Simulation) -> None:
        api = SimulatedApi(sim, 0.2)
        client = api.client()
        created = await client.predictions.create(version="owner/model", input={"seconds": 1000})
        api.refuse_next("GET", "/search", retry_after=299)
        with pytest.raises(RateLimitError):
            await client.search("x", max_retries=0)
        before = sim.monotonic()
        assert (await client.predictions.get(created.id, timeout=5, max_retries=0)).status == "processing"
        assert (await client.predictions.cancel(created.id, timeout=5, max_retries=0)).status == "canceled"
        assert (await client.get(f"/predictions/{created.id}", max_retries=0)).status_code == 200
        assert sim.monotonic() - before < 1

    simulate(main)


@pytest.mark.parametrize("prefix", ["/", "", "http://simulated.test/v1/"])
def test_low_level_cancels_and_polls_are_not_delayed_either(prefix):
    """Calls by their path or URL are of the same kind as those of the resources."""

    async def main(sim: Simulation) -> None:
        api = SimulatedApi(sim, 0.2)
        client = api.client()
        created = await client.predictions.create(version="owner/model", input={"seconds": 1000})
        api.refuse_next("GET", "/search", retry_after=299)
        with pytest.raises(RateLimitError):
            await client.search("x", max_retries=0)
        url = f"{prefix}predictions/{created.id}"
        before = sim.monotonic()
        assert (await client.get(url, max_retries=0)).json()["status"] == "processing"
        assert (await client.post(f"{url}/cancel", max_retries=0)).json()["status"] == "canceled"
        assert sim.monotonic() - before < 1

    simulate(main)


@pytest.mark.parametrize("operation", ["cancel", "get"])
def test_a_refused_cancel_or_poll_delays_only_its_own_kind(operation):
    """A 429 response to a cancel delays no other cancel; one to a poll delays neither cancels nor creates."""

    async def main(sim: Simulation) -> None:
        api = SimulatedApi(sim, 0.2)
        client = api.client()
        created = await client.predictions.create(version="owner/model", input={"seconds": 1000})
        path = f"/predictions/{created.id}" + "/cancel" * (operation == "cancel")
        api.refuse_next("POST" if operation == "cancel" else "GET", path, retry_after=100)
        call = client.predictions.cancel if operation == "cancel" else client.predictions.get
        with pytest.raises(RateLimitError):
            await call(created.id, max_retries=0)
        before = sim.monotonic()
        await client.predictions.cancel(created.id)
        await client.predictions.create(version="owner/model", input={})
        assert sim.monotonic() - before < 1

    simulate(main)


def test_no_call_waits_for_its_limit_for_longer_than_its_timeout():
    """A call that is blocked for longer than its timeout raises at once; a create waits, and so does a patient call."""

    async def main(sim: Simulation) -> None:
        api = SimulatedApi(sim, 0.2)
        client = api.client()
        patient = asyncio.ensure_future(_after(1, client.account.get, timeout=None))
        waiting = asyncio.ensure_future(_after(1, client.account.get, timeout=20, max_retries=0))
        api.refuse_next("GET", "/account", retry_after=100)
        with pytest.raises(RateLimitError):
            await client.account.get(max_retries=0)
        await asyncio.sleep(1)
        before = sim.monotonic()
        with pytest.raises(APITimeoutError, match=r"rate limit lets no call through for \d+ s") as caught:
            await client.account.get(timeout=5, max_retries=0)
        assert not caught.value.sent
        with pytest.raises(APITimeoutError):
            await waiting
        assert sim.monotonic() - before < 0.1
        assert (await patient).username == "alice"
        assert 100 < sim.monotonic() < 102

    simulate(main)


async def _after(seconds: float, call: Callable[..., Any], **options: Any) -> Any:
    await asyncio.sleep(seconds)
    return await call(**options)


def test_calls_in_the_queue_are_turned_away_when_a_long_block_begins():
    """Calls that already wait in the queue raise as well when a 429 response blocks them for longer than allowed."""

    async def main(sim: Simulation) -> None:
        api = SimulatedApi(sim, 0.2)
        client = api.client(rate_limit=RateLimit(others=60))
        calls = [asyncio.ensure_future(client.account.get(timeout=30, max_retries=0)) for _ in range(10)]
        await asyncio.sleep(5)
        api.refuse_next("GET", "/account", retry_after=200)
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert sim.monotonic() < 10
        assert any(isinstance(result, APITimeoutError) for result in results)

    simulate(main)


def test_many_cancels_need_no_more_connections_than_the_limit():
    """Cancels have slots of their own, as many as the client has connections."""

    async def main(sim: Simulation) -> None:
        api = SimulatedApi(sim, 0.2)
        client = api.client(max_connections=20)
        created = await client.predictions.create(version="owner/model", input={"seconds": 1000})
        await asyncio.gather(*[client.predictions.cancel(created.id) for _ in range(100)])
        assert api.most_in_flight == 20

    simulate(main)


def test_refused_creates_are_not_repeated_for_ever():
    """If the API accepts no create for ten minutes, the error is raised; with ``max_retries``, earlier."""

    async def main(sim: Simulation) -> None:
        client = SimulatedApi(sim, 0.2, storms=[(0.0, 1e6)], storm_hint=30).client()
        with pytest.raises(RateLimitError):
            await client.run("owner/model", input={})
        assert 600 < sim.monotonic() < 660
        before = sim.monotonic()
        with pytest.raises(RateLimitError):
            await client.with_options(max_retries=1).run("owner/model", input={})
        assert sim.monotonic() - before < 70
        before = sim.monotonic()
        with pytest.raises(APITimeoutError):
            await client.run("owner/model", input={}, time_limit=45)
        assert sim.monotonic() - before == pytest.approx(45)

    simulate(main)


def test_refusals_are_logged(caplog):
    """The log says that and at which pace calls go on, once for each episode."""
    caplog.set_level(logging.INFO, "replicate_async")
    run(api_with(600, 10, headers=False), 0.2, 40)
    texts = [record.getMessage() for record in caplog.records if record.getMessage().startswith("rate limit")]
    assert texts == ["rate limit: POST /models/owner/model/predictions continues at 600 per minute"]


def test_headers_of_held_creates_are_ignored():
    """What a held response says about the limit is as old as the create."""

    async def main(sim: Simulation) -> None:
        api = SimulatedApi(sim, 0.2, creates=ApiLimit(10, 600, headers=True))
        client = api.client()
        held = asyncio.ensure_future(
            client.predictions.create(version="owner/model", input={"seconds": 20}, prefer="wait")
        )
        await asyncio.sleep(1)
        assert api.creates is not None
        await client.predictions.create(version="owner/model", input={})
        limits = client._transport.account.limits.creates
        assert limits.remaining == 599
        api.creates.drain(sim.monotonic())
        await client.predictions.create(version="owner/model", input={})
        await held
        assert limits.remaining == 0

    simulate(main)


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "1e3", "9" * 50])
def test_malformed_headers_are_ignored(text):
    """A header that is not a whole number says nothing."""

    async def main(sim: Simulation) -> None:
        api = SimulatedApi(sim, 0.2, headers={"ratelimit-remaining": text, "ratelimit-reset": text})
        client = api.client()
        await asyncio.gather(*[client.account.get() for _ in range(20)])
        assert client._transport.account.limits.others.remaining is None

    simulate(main)
