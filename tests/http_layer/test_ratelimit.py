"""Rate limits and concurrency limits: token buckets that learn, and their queues, alone and in a client."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rawserver import RawServer, answer
from replicate_async import AsyncReplicate, NotFoundError, RateLimit, RateLimitError
from replicate_async._http import clock as sdk_clock
from replicate_async._http.ratelimit import Limits, RateLimited, RateLimiter, TokenBucket
from replicate_async.testing import LocalServer
from simulated_api import ApiLimit
from simulation import Simulation, simulate

SECONDS = st.floats(0, 100)
HINTS = st.sampled_from(["whole", "exact", None])
# Each call has a key of its own.
KEYS = itertools.count()


class Traffic:
    """Callers that make as many calls as the limiter allows, until a number of calls is accepted."""

    def __init__(self, sim: Simulation, bucket: TokenBucket, api: ApiLimit, latency: float) -> None:
        self.calls: list[tuple[float, bool]] = []
        self._sim, self._bucket, self._api, self._latency = sim, bucket, api, latency
        self._limiter = RateLimiter(bucket)
        # When the last 429 response arrived, and until when it blocks.
        self._blocked = (-math.inf, -math.inf)

    async def run(self, accepted: int, callers: int = 4) -> None:
        """Make calls."""
        remaining = iter(range(accepted))
        await asyncio.gather(*[self._call_all(remaining) for _ in range(callers)])

    async def _call_all(self, remaining: Any) -> None:
        for _ in remaining:
            while not await self._call():
                pass

    async def _call(self) -> bool:
        key = next(KEYS)
        if self._bucket.reserve(self._sim.monotonic(), key):
            await self._limiter.acquire(key)
        sent = self._sim.monotonic()
        since, until = self._blocked
        assert sent <= since or sent > until - 1e-6, (
            "a call was sent before the Retry-After of a 429 response had passed"
        )
        await asyncio.sleep(self._latency / 2)
        ok, hint = self._api.take(self._sim.monotonic())
        remaining = self._api.remaining
        self.calls.append((self._sim.monotonic(), ok))
        await asyncio.sleep(self._latency / 2)
        now = self._sim.monotonic()
        self._bucket.in_flight.pop(key)
        if ok:
            self._bucket.on_accepted(sent, now, remaining)
        else:
            self._bucket.on_throttled(sent, now, hint)
            self._blocked = now, max(self._blocked[1], now + (hint or 0))
        return ok


# --- token buckets ---


@settings(max_examples=15, deadline=None, derandomize=True)
@given(per_minute=st.floats(6, 600), burst=st.integers(1, 100), hint=HINTS)
def test_a_bucket_learns_the_rate_of_the_api(per_minute, burst, hint):
    """At any rate, no call ignores a Retry-After, nine tenths of the rate are soon used, and few calls are throttled.

    The API must allow a burst of one second's worth. With less, the number of 429 responses depends on how long each
    call is on its way, and waits of whole seconds cannot be made up for.
    """
    rate = per_minute / 60
    burst = max(burst, math.ceil(rate))

    async def main(sim: Simulation) -> tuple[float, float]:
        traffic = Traffic(sim, TokenBucket(600), ApiLimit(rate, burst, hint), latency=0.02)
        # The rate is learned from these calls.
        await traffic.run(burst + 300)
        before, begun = len(traffic.calls), sim.monotonic()
        await traffic.run(300)
        later = traffic.calls[before:]
        return 300 / (sim.monotonic() - begun) / rate, sum(not ok for _, ok in later) / len(later)

    used, refused = simulate(main)
    # Without a hint, the client has to try.
    assert used > (0.8 if hint is None else 0.85)
    assert refused < (0.12 if hint is None else 0.06)


def test_a_limit_above_the_documented_one():
    """An account with ten times the documented limit reaches it within a few minutes."""

    async def main(sim: Simulation) -> float:
        traffic = Traffic(sim, TokenBucket(60), ApiLimit(10, 50, "whole"), latency=0.02)
        await traffic.run(1200)
        return sim.monotonic()

    assert simulate(main) < 400


def test_low_credit():
    """The API's lowest limit, six creates per minute one at a time, is learned from the highest first guess."""

    async def main(sim: Simulation) -> tuple[int, float]:
        bucket = TokenBucket(600)
        traffic = Traffic(sim, bucket, ApiLimit(0.1, 1, "whole"), latency=0.3)
        await traffic.run(50)
        before = len(traffic.calls)
        await traffic.run(50)
        return sum(not ok for _, ok in traffic.calls[before:]), sim.monotonic()

    refused, seconds = simulate(main)
    assert refused <= 3
    # 990 would be perfect.
    assert seconds < 1200


def test_a_bucket_is_inactive_before_the_first_429():
    """Without a 429 response, calls are not limited."""
    bucket = TokenBucket(600)
    assert not bucket.active
    bucket.on_accepted(0.0, 0.0, None)
    assert not bucket.active


def test_one_429_blocks_all_calls():
    """All calls wait for the Retry-After of one 429 response, and then follow one after the other."""

    async def main(sim: Simulation) -> list[float]:
        bucket = TokenBucket(600)
        limiter = RateLimiter(bucket)
        bucket.on_throttled(0.0, 0.0, 30.0)
        sent_at: list[float] = []

        async def call() -> None:
            await limiter.acquire(next(KEYS))
            sent_at.append(sim.monotonic())

        await asyncio.gather(*[call() for _ in range(5)])
        return sent_at

    assert simulate(main) == pytest.approx([30.0, 30.1, 30.2, 30.3, 30.4])


def test_concurrent_429s_lower_the_rate_once():
    """Many 429 responses to calls in flight at the same time lower the rate only once."""
    single, many = TokenBucket(600), TokenBucket(600)
    for bucket in (single, many):
        bucket.on_throttled(0.0, 1.0, None)
    for _ in range(30):
        many.on_throttled(1.0, 1.0, None)
    assert _calls_in_a_minute(single, 100.0) == _calls_in_a_minute(many, 100.0)


def _calls_in_a_minute(bucket: TokenBucket, start: float) -> int:
    """Return how many calls get a token within a minute."""
    now, calls = start, 0
    while now < start + 60:
        wait = bucket.reserve(now, next(KEYS))
        now += wait
        calls += not wait
    return calls


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("time"), SECONDS),
            st.tuples(st.just("reserve"), st.none()),
            st.tuples(st.just("throttled"), st.one_of(st.none(), SECONDS)),
            st.tuples(st.just("accepted"), st.integers(1, 100)),
        ),
        max_size=100,
    )
)
def test_waits_and_rates_are_bounded(steps):
    """After any history, waits are at most as long as Retry-After, and rates are from 1 to 60,000 calls per minute."""
    bucket = TokenBucket(600)
    now = sent = 0.0
    for kind, value in steps:
        if kind == "time":
            now += value
        elif kind == "throttled":
            bucket.on_throttled(sent, now, value)
        elif kind == "accepted":
            for _ in range(value):
                bucket.on_accepted(now, now, None)
        elif bucket.active:
            waits = []
            while wait := bucket.reserve(now, next(KEYS)):
                waits.append(wait)
                now += wait
            assert len(waits) <= 2, "one until the block ends, and one until there is a token"
            assert all(0 < wait <= 100 for wait in waits)
            sent = now
    bucket.on_throttled(now, now, None)
    assert 1 <= _calls_in_a_minute(bucket, now + 60) <= 60_000


def test_recovery_from_an_hour_of_429s():
    """After an hour of 429 responses without Retry-After, the next call is made within a minute."""
    bucket = TokenBucket(600)
    now = 0.0
    while now < 3600:
        bucket.on_throttled(now, now, None)
        while wait := bucket.reserve(now, next(KEYS)):
            now += wait
        now += 0.01
    assert bucket.reserve(now + 60, next(KEYS)) == 0


def test_recovery_from_a_single_429():
    """One 429 response without a real limit slows calls down for minutes only, and the rate stays bounded."""
    bucket = TokenBucket(600)
    bucket.on_throttled(0.0, 0.0, None)
    now = 0.0
    for _ in range(20_000):
        now += bucket.reserve(now, next(KEYS)) or 0.001
        bucket.on_accepted(now, now, None)
    assert now < 600
    for _ in range(2000):
        now += 60
        assert bucket.reserve(now, next(KEYS)) == 0
        bucket.on_accepted(now, now, None)
    assert _calls_in_a_minute(bucket, now) <= 61_000


@settings(max_examples=25, deadline=None)
@given(
    per_minute=st.floats(1, 3000),
    api=st.one_of(st.none(), st.tuples(st.floats(6, 3000), st.integers(1, 50))),
    hint=HINTS,
)
def test_an_explicit_limit_is_never_exceeded(per_minute, api, hint):
    """Calls never exceed the explicit rate, with a burst of one second's worth, despite the API's 429 responses."""

    async def main(sim: Simulation) -> list[float]:
        bucket = TokenBucket(600)
        bucket.set_rate(per_minute, 0.0)
        api_limit = ApiLimit(api[0] / 60, api[1], hint) if api else ApiLimit(1e6, 1e6)
        traffic = Traffic(sim, bucket, api_limit, latency=0)
        await traffic.run(100)
        return [at for at, _ in traffic.calls]

    limit = ApiLimit(per_minute / 60, max(1.0, per_minute / 60))
    assert all(limit.take(at)[0] for at in simulate(main))


@pytest.mark.parametrize("fields", [{"creates": 0}, {"others": -1}, {"creates": math.inf}, {"others": math.nan}])
def test_invalid_limits(fields):
    """A limit must be a positive number of calls per minute."""
    with pytest.raises(ValueError, match="must be a positive number of calls per minute"):
        RateLimit(**fields)


@pytest.mark.parametrize("value", ["600", True])
def test_limits_of_the_wrong_type(value):
    """A limit must be a number, not a str or a bool."""
    with pytest.raises(TypeError, match="creates must be a number"):
        RateLimit(creates=value)


# --- the queue for tokens ---


class _TimerCountingClock(Simulation):
    """Counts the timers that are pending at the same time."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.most = 0
        self._pending: list[asyncio.TimerHandle] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        timer = self.loop.call_later(seconds, callback)
        # The loop runs callbacks that are due within its resolution.
        fired = self.monotonic() + 1e-6
        self._pending = [pending for pending in self._pending if not pending.cancelled() and pending.when() > fired]
        self._pending.append(timer)
        self.most = max(self.most, len(self._pending))
        return timer


@settings(max_examples=50, deadline=None)
@given(
    visits=st.lists(st.tuples(st.floats(0, 5), st.one_of(st.none(), st.floats(0, 5))), min_size=1, max_size=40),
    per_minute=st.sampled_from([30.0, 600.0]),
)
def test_tokens_go_to_waiters_in_order(visits, per_minute):
    """Waiters get tokens first in, first out at the limited rate, and cancelled waiters cost nothing.

    There is only one timer for all waiters.
    """

    async def main(_: Simulation) -> None:
        sdk_clock.current = clock = _TimerCountingClock()
        bucket = TokenBucket(600)
        bucket.set_rate(per_minute, 0.0)
        limiter = RateLimiter(bucket)
        arrived: list[int] = []
        passed: list[tuple[int, float]] = []

        async def visit(number: int, at: float) -> None:
            await asyncio.sleep(at)
            arrived.append(number)
            await limiter.acquire(next(KEYS))
            passed.append((number, clock.monotonic()))

        tasks = [asyncio.create_task(visit(number, at)) for number, (at, _) in enumerate(visits)]
        for task, (_, patience) in zip(tasks, visits, strict=True):
            if patience is not None:
                asyncio.get_running_loop().call_later(patience, task.cancel)
        await asyncio.wait(tasks)
        assert [number for number, _ in passed] == [number for number in arrived if not tasks[number].cancelled()]
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        assert {number for number, (_, patience) in enumerate(visits) if patience is None} <= {n for n, _ in passed}
        limit = ApiLimit(per_minute / 60, max(1.0, per_minute / 60))
        assert all(limit.take(at)[0] for _, at in passed)
        assert clock.most <= 1
        # No token was lost: unused ones can be used now.
        await asyncio.sleep(60)
        started = clock.monotonic()
        for _ in range(max(1, int(per_minute / 60))):
            await limiter.acquire(next(KEYS))
        assert clock.monotonic() == started

    simulate(main)


def test_waiters_that_are_turned_away_leave_no_timers():
    """Each call that does not wait for a long Retry-After is turned away at once; a single timer remains."""

    async def main(_: Simulation) -> None:
        sdk_clock.current = clock = _TimerCountingClock()
        bucket = TokenBucket(600)
        bucket.on_throttled(0.0, 0.0, 100.0)
        limiter = RateLimiter(bucket)
        patient = asyncio.create_task(limiter.acquire(next(KEYS)))
        await asyncio.sleep(1)
        for _ in range(3):
            with pytest.raises(RateLimited, match="99 s"):
                await limiter.acquire(next(KEYS), 5.0)
        assert clock.monotonic() == 1
        await patient
        assert (clock.monotonic(), clock.most) == (pytest.approx(100), 1)

    simulate(main)


def test_a_waiter_cancelled_with_a_token_returns_it():
    """The token of a waiter that is cancelled as its turn comes goes to the next waiter."""

    async def main(sim: Simulation) -> None:
        bucket = TokenBucket(600)
        bucket.set_rate(60, 0.0)
        limiter = RateLimiter(bucket)
        await limiter.acquire(next(KEYS))
        # The next turn is in a second.
        first, second = (
            asyncio.create_task(limiter.acquire(next(KEYS))),
            asyncio.create_task(limiter.acquire(next(KEYS))),
        )
        await asyncio.sleep(0)
        # It is cancelled at the moment when its turn comes.
        asyncio.get_running_loop().call_later(1, first.cancel)
        await asyncio.wait([first])
        assert first.cancelled()
        await second
        assert sim.monotonic() < 2.1

    simulate(main)


# --- in a client ---


def _serve(sim: Simulation, **options: Any) -> LocalServer:
    server = LocalServer(clock=sim, **options)

    @server.model("owner/model", official=True)
    async def model(text: str = "", seconds: float = 0.0) -> str:
        await sim.sleep(seconds)
        return f"hello {text}"

    return server


def _client_of(server: LocalServer, **options: Any) -> AsyncReplicate:
    return AsyncReplicate(base_url=server.base_url, bearer_token=server.token, **options)


def _throttled_fraction(server: LocalServer) -> float:
    return sum(request.status == 429 for request in server.requests) / len(server.requests)


def test_a_burst_of_calls_meets_a_limit():
    """Of 500 concurrent calls, those that wait for a connection when the first 429 response comes respect the limit."""

    async def main(sim: Simulation) -> None:
        limits = {"others": 600, "other_burst": 50}
        async with _serve(sim, limits=limits) as server, _client_of(server) as client:
            await asyncio.gather(*[client.account.get() for _ in range(500)])
            assert Counter(request.status for request in server.requests)[200] == 500
            assert _throttled_fraction(server) < 0.15
            assert sim.monotonic() < 52

    simulate(main)


def test_creates_under_the_documented_limits():
    """300 predictions take hardly longer than the limits require, and almost no create gets a 429 response."""

    async def main(sim: Simulation) -> None:
        async with _serve(sim, limits={}) as server, _client_of(server) as client:
            inputs = [{"text": str(number), "seconds": 2.0} for number in range(300)]
            outputs = await asyncio.gather(*[client.run("owner/model", input=input) for input in inputs])
            assert outputs == [f"hello {number}" for number in range(300)]
            assert len(server.predictions) == 300
            assert _throttled_fraction(server) <= 0.02
            assert sim.monotonic() <= 1.15 * (250 / 10 + 2)

    simulate(main)


def test_other_errors_count_as_accepted():
    """Calls that end with 404 count towards a limit like successful ones, and do not lower the learned rate."""

    async def main(sim: Simulation) -> None:
        limits = {"others": 600, "other_burst": 50}
        async with _serve(sim, limits=limits) as server, _client_of(server) as client:
            calls = [client.predictions.get(f"nothing{number}") for number in range(500)]
            results = await asyncio.gather(*calls, return_exceptions=True)
            assert {type(result).__name__ for result in results} == {"NotFoundError"}
            assert sim.monotonic() < 52

    simulate(main)


def test_creates_and_other_calls_have_separate_limits():
    """Other calls do not wait when creates do."""

    async def main(sim: Simulation) -> None:
        limits = {"creates": 6, "create_burst": 1, "others": None}
        async with _serve(sim, limits=limits) as server, _client_of(server) as client:
            runs = asyncio.gather(*[client.run("owner/model", input={"text": str(number)}) for number in range(10)])
            await asyncio.sleep(5)
            before = sim.monotonic()
            await asyncio.gather(*[client.account.get() for _ in range(200)])
            assert sim.monotonic() - before < 1
            assert len(await runs) == 10
            assert sim.monotonic() < 150

    simulate(main)


def test_an_explicit_limit_in_a_client():
    """With the API's own limits as ``rate_limit``, no call gets a 429 response; both kinds are separate."""

    async def main(sim: Simulation) -> None:
        limits = {"creates": 120, "create_burst": 3, "others": 600, "other_burst": 12}
        rate_limit = RateLimit(creates=120, others=600)
        async with _serve(sim, limits=limits) as server, _client_of(server, rate_limit=rate_limit) as client:
            await asyncio.gather(*[client.run("owner/model", input={"text": str(number)}) for number in range(40)])
            await asyncio.gather(*[client.account.get() for _ in range(100)])
            assert _throttled_fraction(server) == 0
            assert sim.monotonic() > 19 + 9

    simulate(main)


def test_an_explicit_limit_outlives_its_client():
    """An explicit limit applies to clients with the same token that are created one after the other."""

    async def main(sim: Simulation) -> None:
        async with _serve(sim) as server:
            for _ in range(10):
                async with _client_of(server, rate_limit=RateLimit(others=60)) as client:
                    await client.account.get()
            assert sim.monotonic() >= 9

    simulate(main)


def test_clients_with_the_same_token_share_limits():
    """A 429 response blocks other clients with the same token, but not those with another token."""

    async def main(sim: Simulation) -> None:
        async with _serve(sim) as server, _client_of(server) as first, _client_of(server) as second:
            server.faults.add(kind="rate_limit", operation="account.get", retry_after=20, times=1)
            throttled = asyncio.create_task(first.account.get())
            await asyncio.sleep(1)
            await second.account.get()
            assert sim.monotonic() >= 20
            await throttled
            before = sim.monotonic()
            server.faults.add(kind="rate_limit", operation="account.get", retry_after=20, times=1)
            throttled = asyncio.create_task(first.account.get())
            await asyncio.sleep(1)
            # The server rejects this token, which takes a call as well.
            async with AsyncReplicate(base_url=server.base_url, bearer_token="another") as other_client:
                await asyncio.gather(other_client.account.get(), return_exceptions=True)
            assert sim.monotonic() - before < 5
            await throttled

    simulate(main)


def test_errors_say_what_remains_as_well():
    """The calls that remain by the headers of an error slow further calls down, like those of any other response."""

    async def main(sim: Simulation) -> None:
        many, none = ({"ratelimit-remaining": remaining} for remaining in ("100", "0"))
        async with RawServer(answer(404, {}, many), answer(404, {}, none)) as server, server.client() as client:
            for _ in range(12):
                with pytest.raises(NotFoundError):
                    await client.account.get()
            assert 1 < sim.monotonic() < 3

    simulate(main)


def test_a_too_long_retry_after_blocks_no_other_call():
    """A Retry-After of an hour is raised to the caller, and other calls are made at once."""

    async def main(sim: Simulation) -> None:
        async with _serve(sim) as server, _client_of(server) as client:
            server.faults.add(kind="rate_limit", operation="account.get", retry_after=3600, times=1)
            with pytest.raises(RateLimitError) as caught:
                await client.account.get()
            assert caught.value.retry_after == 3600
            await client.account.get()
            assert sim.monotonic() < 1

    simulate(main)


def test_a_call_cancelled_while_it_waits_for_a_connection_returns_its_token():
    """When all connections are in use, a cancelled call returns its token for other calls."""

    async def main(sim: Simulation) -> None:
        async with (
            _serve(sim) as server,
            _client_of(server, max_connections=1, rate_limit=RateLimit(others=60)) as client,
        ):
            server.faults.add(kind="delay", operation="account.get", seconds=10, times=1)
            slow = asyncio.create_task(client.account.get())
            await asyncio.sleep(5)
            impatient = asyncio.create_task(client.account.get())
            await asyncio.sleep(4.9)
            impatient.cancel()
            await slow
            before = sim.monotonic()
            await client.account.get()
            assert sim.monotonic() - before < 0.5

    simulate(main)


def test_copies_of_a_client_do_not_refill_an_explicit_limit():
    """Setting the same explicit limit again does not refill its tokens."""
    limits = Limits()
    limits.set_rates(RateLimit(creates=60))
    assert limits.creates.reserve(sdk_clock.current.monotonic(), next(KEYS)) == 0
    limits.set_rates(RateLimit(creates=60))
    assert limits.creates.reserve(sdk_clock.current.monotonic(), next(KEYS)) > 0
    limits.set_rates(RateLimit(creates=600))
    assert limits.creates.reserve(sdk_clock.current.monotonic(), next(KEYS)) == 0
