"""How many calls are made and when: budgets that learn, gates and lines, alone and in a client."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_async import AsyncReplicate, RateLimit, RateLimitError
from replicate_async._http import clock as sdk_clock
from replicate_async._http.ratelimit import (
    AdaptiveConcurrencyLimiter,
    ConcurrencyLimiter,
    Limits,
    RateLimiter,
    TokenBucket,
)
from replicate_async.testing import LocalServer

from .simulation import Simulation, simulate

SECONDS = st.floats(0, 100)
HINTS = st.sampled_from(["whole", "exact", None])


class Bucket:
    """What an API allows: a token bucket, and its hint how long to wait."""

    def __init__(self, rate: float, burst: float, hint: str | None = None) -> None:
        self._rate, self._burst, self._hint = rate, burst, hint
        self._tokens, self._filled = burst, 0.0

    def take(self, now: float) -> tuple[bool, float | None]:
        """Return whether a call is accepted, and what a refusal says."""
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now
        if self._tokens < 1 - 1e-6:
            wait = (1 - self._tokens) / self._rate
            return False, {"whole": max(1, math.ceil(wait)), "exact": wait, None: None}[self._hint]
        self._tokens -= 1
        return True, None


class Traffic:
    """Some callers that would make as many calls as they may, through a gate, until so many are accepted."""

    def __init__(self, sim: Simulation, budget: TokenBucket, api: Bucket, latency: float) -> None:
        self.calls: list[tuple[float, bool]] = []
        self._sim, self._budget, self._api, self._latency = sim, budget, api, latency
        self._gate = RateLimiter(budget)
        self._shut = (-math.inf, -math.inf)  # since when, and until when

    async def run(self, accepted: int, callers: int = 4) -> None:
        """Make calls."""
        left = iter(range(accepted))
        await asyncio.gather(*[self._call_all(left) for _ in range(callers)])

    async def _call_all(self, left: Any) -> None:
        for _ in left:
            while not await self._call():
                pass

    async def _call(self) -> bool:
        if self._budget.paced:
            await self._gate.enter()
        sent = self._sim.monotonic()
        since, until = self._shut
        assert sent <= since or sent > until - 1e-6, "it was let through before a refusal's hint had passed"
        await asyncio.sleep(self._latency / 2)
        ok, hint = self._api.take(self._sim.monotonic())
        self.calls.append((self._sim.monotonic(), ok))
        await asyncio.sleep(self._latency / 2)
        if ok:
            self._budget.accepted += 1
        else:
            now = self._sim.monotonic()
            self._budget.refused(sent, now, hint)
            self._shut = now, max(self._shut[1], now + (hint or 0))
        return ok


# --- budgets ---


@settings(max_examples=15, deadline=None)
@given(a_minute=st.floats(6, 600), burst=st.integers(1, 100), hint=HINTS)
def test_a_budget_finds_what_the_api_allows(a_minute, burst, hint):
    """Whatever the limit: nobody goes ahead of a hint, soon nine tenths of it are used, and few are refused.

    It takes a limit that allows a second's worth at once: with less, what is refused depends on how long each call is
    on its way, and pauses of whole seconds can't be made up for.
    """
    rate = a_minute / 60
    burst = max(burst, math.ceil(rate))

    async def main(sim: Simulation) -> tuple[float, float]:
        traffic = Traffic(sim, TokenBucket(600), Bucket(rate, burst, hint), latency=0.02)
        await traffic.run(burst + 300)  # until it has been learnt
        before, begun = len(traffic.calls), sim.monotonic()
        await traffic.run(300)
        later = traffic.calls[before:]
        return 300 / (sim.monotonic() - begun) / rate, sum(not ok for _, ok in later) / len(later)

    used, refused = simulate(main)
    assert used > 0.85
    assert refused < 0.06


def test_a_limit_above_the_documented_one():
    """An account that may do more than others gets there by and by: ten times as much within a few minutes."""

    async def main(sim: Simulation) -> float:
        traffic = Traffic(sim, TokenBucket(60), Bucket(10, 50, "whole"), latency=0.02)
        await traffic.run(1200)
        return sim.monotonic()

    assert simulate(main) < 400


def test_low_credit():
    """Six creates a minute, one at a time: the API's lowest limit is found from the highest guess, and kept to."""

    async def main(sim: Simulation) -> tuple[int, float]:
        budget = TokenBucket(600)
        traffic = Traffic(sim, budget, Bucket(0.1, 1, "whole"), latency=0.3)
        await traffic.run(50)
        before = len(traffic.calls)
        await traffic.run(50)
        return sum(not ok for _, ok in traffic.calls[before:]), sim.monotonic()

    refused, seconds = simulate(main)
    assert refused <= 3
    assert seconds < 1200  # 990 would be perfect


def test_before_a_refusal_nothing_is_held_back():
    """An API without a limit is called as fast as it goes: the budget is open until something is refused."""
    budget = TokenBucket(600)
    assert not budget.paced
    budget.accepted += 10_000
    assert not budget.paced


def test_one_refusal_holds_all_back():
    """Siblings wait for what one was told, and then go one after the other."""

    async def main(sim: Simulation) -> list[float]:
        budget = TokenBucket(600)
        gate = RateLimiter(budget)
        budget.refused(0.0, 0.0, 30.0)
        left: list[float] = []

        async def sibling() -> None:
            await gate.enter()
            left.append(sim.monotonic())

        await asyncio.gather(*[sibling() for _ in range(5)])
        return left

    assert simulate(main) == pytest.approx([30.0, 30.1, 30.2, 30.3, 30.4])


def test_refusals_of_one_moment_are_one_lesson():
    """Of many calls that were under way when the limit showed, the refusals say only once that it was too much."""
    one, many = TokenBucket(600), TokenBucket(600)
    for budget in (one, many):
        budget.refused(0.0, 1.0, None)
    for _ in range(30):
        many.refused(1.0, 1.0, None)
    assert _a_minute(one, 100.0) == _a_minute(many, 100.0)


def _a_minute(budget: TokenBucket, start: float) -> int:
    """Return how many calls are let through in a minute."""
    now, let_through = start, 0
    while now < start + 60:
        wait = budget.take(now)
        now += wait
        let_through += not wait
    return let_through


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("time"), SECONDS),
            st.tuples(st.just("take"), st.none()),
            st.tuples(st.just("refused"), st.one_of(st.none(), SECONDS)),
            st.tuples(st.just("accepted"), st.integers(1, 100)),
        ),
        max_size=100,
    )
)
def test_whatever_happens_a_budget_goes_on(steps):
    """After any history the wait is as long as it is told, and the pace between one call and 60,000 a minute."""
    budget = TokenBucket(600)
    now = sent = 0.0
    for kind, value in steps:
        if kind == "time":
            now += value
        elif kind == "refused":
            budget.refused(sent, now, value)
        elif kind == "accepted":
            budget.accepted += value
        elif budget.paced:
            waits = []
            while wait := budget.take(now):
                waits.append(wait)
                now += wait
            assert len(waits) <= 2, "until it opens, and until it is one's turn"
            assert all(0 < wait <= 100 for wait in waits)
            sent = now
    budget.refused(now, now, None)
    assert 1 <= _a_minute(budget, now + 60) <= 60_000


def test_a_long_refusal_is_got_over():
    """After an hour in which everything was refused without a hint, calls are tried within a minute."""
    budget = TokenBucket(600)
    now = 0.0
    while now < 3600:
        budget.refused(now, now, None)
        while wait := budget.take(now):
            now += wait
        now += 0.01
    assert budget.take(now + 60) == 0


def test_a_refusal_for_no_reason_is_got_over():
    """One refusal by an API that has no limit slows down for some minutes only; and never grows beyond all bounds."""
    budget = TokenBucket(600)
    budget.refused(0.0, 0.0, None)
    now = 0.0
    for _ in range(20_000):
        now += budget.take(now) or 0.001
        budget.accepted += 1
    assert now < 600
    for _ in range(2000):
        now += 60
        assert budget.take(now) == 0
        budget.accepted += 1
    assert _a_minute(budget, now) <= 61_000


@settings(max_examples=25, deadline=None)
@given(
    a_minute=st.floats(1, 3000),
    api=st.one_of(st.none(), st.tuples(st.floats(6, 3000), st.integers(1, 50))),
    hint=HINTS,
)
def test_an_explicit_limit_is_never_exceeded(a_minute, api, hint):
    """In no stretch of time are there more calls than allowed, and a second's worth, whatever the API refuses."""

    async def main(sim: Simulation) -> list[float]:
        budget = TokenBucket(600)
        budget.limit(a_minute, 0.0)
        bucket = Bucket(api[0] / 60, api[1], hint) if api else Bucket(1e6, 1e6)
        traffic = Traffic(sim, budget, bucket, latency=0)
        await traffic.run(100)
        return [at for at, _ in traffic.calls]

    own = Bucket(a_minute / 60, max(1.0, a_minute / 60))
    assert all(own.take(at)[0] for at in simulate(main))


@pytest.mark.parametrize("fields", [{"creates": 0}, {"others": -1}, {"creates": math.inf}, {"others": math.nan}])
def test_limits_that_make_no_sense(fields):
    """A limit is a positive number of calls a minute."""
    with pytest.raises(ValueError, match="must be a positive number of calls a minute"):
        RateLimit(**fields)


@pytest.mark.parametrize("value", ["600", True])
def test_limits_that_are_no_numbers(value):
    """A text or a truth value is no number of calls."""
    with pytest.raises(TypeError, match="creates must be a number"):
        RateLimit(creates=value)


# --- gates ---


class _Counting(Simulation):
    """Counts the timers that are set at the same time."""

    def __init__(self) -> None:
        super().__init__(asyncio.get_running_loop())
        self.most = 0
        self._pending: list[asyncio.TimerHandle] = []

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Any:
        timer = self._loop.call_later(seconds, callback)
        fired = self.monotonic() + 1e-6  # the loop calls back what is due within its resolution
        self._pending = [one for one in self._pending if not one.cancelled() and one.when() > fired]
        self._pending.append(timer)
        self.most = max(self.most, len(self._pending))
        return timer


@settings(max_examples=50, deadline=None)
@given(
    visits=st.lists(st.tuples(st.floats(0, 5), st.one_of(st.none(), st.floats(0, 5))), min_size=1, max_size=40),
    a_minute=st.sampled_from([30.0, 600.0]),
)
def test_a_gate_keeps_the_order_whoever_gives_up(visits, a_minute):
    """Those who stay are let through as they came and at the pace; who gives up at whatever moment costs nobody's turn.

    However many wait, there is one timer.
    """

    async def main(_: Simulation) -> None:
        sdk_clock.current = clock = _Counting()
        budget = TokenBucket(600)
        budget.limit(a_minute, 0.0)
        gate = RateLimiter(budget)
        came: list[int] = []
        passed: list[tuple[int, float]] = []

        async def visit(number: int, at: float) -> None:
            await asyncio.sleep(at)
            came.append(number)
            await gate.enter()
            passed.append((number, clock.monotonic()))

        tasks = [asyncio.create_task(visit(number, at)) for number, (at, _) in enumerate(visits)]
        for task, (_, patience) in zip(tasks, visits, strict=True):
            if patience is not None:
                asyncio.get_running_loop().call_later(patience, task.cancel)
        await asyncio.wait(tasks)
        assert [number for number, _ in passed] == [number for number in came if not tasks[number].cancelled()]
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        assert {number for number, (_, patience) in enumerate(visits) if patience is None} <= {n for n, _ in passed}
        own = Bucket(a_minute / 60, max(1.0, a_minute / 60))
        assert all(own.take(at)[0] for _, at in passed)
        assert clock.most <= 1
        # Nothing was lost on the way: what was not used can be used now.
        await asyncio.sleep(60)
        started = clock.monotonic()
        for _ in range(max(1, int(a_minute / 60))):
            await gate.enter()
        assert clock.monotonic() == started

    simulate(main)


def test_who_gives_up_with_the_leave_in_hand_returns_it():
    """A turn that has come is for the next one, if who had it is cancelled before going on."""

    async def main(sim: Simulation) -> None:
        budget = TokenBucket(600)
        budget.limit(60, 0.0)
        gate = RateLimiter(budget)
        await gate.enter()  # the next turn is in a second
        first, second = asyncio.create_task(gate.enter()), asyncio.create_task(gate.enter())
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(1, first.cancel)  # just when its turn has come
        await asyncio.wait([first])
        assert first.cancelled()
        await second
        assert sim.monotonic() < 2.1

    simulate(main)


# --- lines ---


async def _enter(line: ConcurrencyLimiter) -> None:
    if not line.try_acquire():
        await line.enter()


@pytest.mark.anyio
async def test_places_are_given_in_the_order_of_arrival():
    """Who waits gets a place as soon as one is left, first come, first served; there are never more than the limit."""
    line = ConcurrencyLimiter(2)
    inside = 0
    order: list[int] = []

    async def visit(number: int) -> None:
        nonlocal inside
        await _enter(line)
        inside += 1
        assert inside <= 2
        order.append(number)
        await asyncio.sleep(0)
        inside -= 1
        line.leave()

    await asyncio.gather(*[visit(number) for number in range(50)])
    assert order == list(range(50))
    assert line.try_acquire()
    assert line.try_acquire()
    assert not line.try_acquire()


@pytest.mark.anyio
async def test_whoever_is_cancelled_while_waiting_takes_no_place():
    """A place that is left passes by those who gave up, also when they gave up after it was given to them."""
    line = ConcurrencyLimiter(1)
    await _enter(line)
    gave_up, too_late, last = (asyncio.create_task(_enter(line)) for _ in range(3))
    await asyncio.sleep(0)
    gave_up.cancel()
    line.leave()  # to the second: the first is being cancelled
    too_late.cancel()
    await asyncio.wait([gave_up, too_late])
    await asyncio.wait_for(last, 1)
    line.leave()
    assert line.try_acquire()


class Creates:
    """Creates that take as long as they are told, and how many there were at once."""

    def __init__(self) -> None:
        self.line = AdaptiveConcurrencyLimiter()
        self.inside = self.most = self.begun = 0

    async def one(self, seconds: float, error: Exception | None = None) -> None:
        if not self.line.try_acquire():
            await self.line.enter()
        self.begun += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(seconds)
            if isinstance(error, RateLimitError):
                self.line.refused()
            if error is not None:
                raise error
            self.line.learn(seconds)
        finally:
            self.inside -= 1
            self.line.leave()

    async def many(self, count: int, seconds: float) -> int:
        """Return how many of them there were at once."""
        self.most = 0
        await asyncio.gather(*[self.one(seconds) for _ in range(count)])
        return self.most


def test_creates_get_more_places_as_long_as_that_makes_nothing_slow():
    """From a few the creates under way become more, by and by, up to a bound; slow answers make them fewer again."""

    async def main(_: Simulation) -> None:
        creates = Creates()
        assert await creates.many(25, 0.1) == 4
        assert 4 < await creates.many(100, 0.1) < 12
        assert await creates.many(3000, 0.1) == AdaptiveConcurrencyLimiter.most
        await creates.many(100, 10)
        assert await creates.many(20, 10) == 4
        await creates.many(3000, 0.1)
        assert await creates.many(100, 0.1) > 4

    simulate(main)


def test_answers_below_the_clients_own_work_stay_quick():
    """Answers that take some milliseconds with more at once, instead of one, only show what the client itself needs."""

    async def main(_: Simulation) -> None:
        creates = Creates()
        await creates.one(0.0005)
        assert await creates.many(1000, 0.008) == AdaptiveConcurrencyLimiter.most

    simulate(main)


def test_nobody_in_line_no_more_places():
    """One create after the other shows nothing about how many could be made at once."""

    async def main(_: Simulation) -> None:
        creates = Creates()
        for _ in range(500):
            await creates.one(0.1)
        assert await creates.many(25, 0.1) == 4

    simulate(main)


def test_a_refusal_takes_the_places_back():
    """When a limit shows, it is met by a few creates at a time."""

    async def main(_: Simulation) -> None:
        creates = Creates()
        await creates.many(3000, 0.1)
        with pytest.raises(RateLimitError):
            await creates.one(0.1, RateLimitError("slow down"))
        assert await creates.many(25, 0.1) == 4

    simulate(main)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 3), st.sampled_from([0.01, 0.1, 1.0]), st.sampled_from(["", "429", "fails", "leaves"])),
        max_size=150,
    )
)
def test_no_place_is_lost(visits):
    """Refused, failed or cancelled: in the end all places are free, and never have there been too many."""

    async def main(_: Simulation) -> None:
        creates = Creates()
        errors = {"429": RateLimitError("slow down"), "fails": KeyError("own")}

        async def visit(at: float, seconds: float, how: str) -> None:
            await asyncio.sleep(at)
            await creates.one(seconds, errors.get(how))

        tasks = [asyncio.create_task(visit(*one)) for one in visits]
        for task, (at, seconds, how) in zip(tasks, visits, strict=True):
            if how == "leaves":
                asyncio.get_running_loop().call_later(at + seconds / 2, task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert creates.most <= AdaptiveConcurrencyLimiter.most
        assert creates.begun >= sum(how != "leaves" for *_, how in visits)
        assert await creates.many(100, 1.0) in range(
            AdaptiveConcurrencyLimiter.least, AdaptiveConcurrencyLimiter.most + 1
        )
        assert creates.inside == 0

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


def _refused(server: LocalServer) -> float:
    return sum(request.status == 429 for request in server.requests) / len(server.requests)


def test_a_storm_of_calls_meets_a_limit():
    """Of 500 calls at once, those that still wait for a connection when the limit shows keep to it as well."""

    async def main(sim: Simulation) -> None:
        limits = {"others": 600, "other_burst": 50}
        async with _serve(sim, limits=limits) as server, _client_of(server) as client:
            await asyncio.gather(*[client.account.get() for _ in range(500)])
            assert Counter(request.status for request in server.requests)[200] == 500
            assert _refused(server) < 0.15
            assert sim.monotonic() < 52

    simulate(main)


def test_creates_under_the_documented_limits():
    """300 predictions of two seconds take hardly longer than the limits make them, and next to nothing is refused."""

    async def main(sim: Simulation) -> None:
        async with _serve(sim, limits={}) as server, _client_of(server) as client:
            inputs = [{"text": str(number), "seconds": 2.0} for number in range(300)]
            outputs = await asyncio.gather(*[client.run("owner/model", input=one) for one in inputs])
            assert outputs == [f"hello {number}" for number in range(300)]
            assert len(server.predictions) == 300
            assert _refused(server) <= 0.02
            assert sim.monotonic() <= 1.15 * (250 / 10 + 2)

    simulate(main)


def test_what_is_refused_otherwise_counts_as_accepted():
    """A limit counts all calls, also those that end with 404: they don't make the pace slower than it need be."""

    async def main(sim: Simulation) -> None:
        limits = {"others": 600, "other_burst": 50}
        async with _serve(sim, limits=limits) as server, _client_of(server) as client:
            calls = [client.predictions.get(f"nothing{number}") for number in range(500)]
            assert {type(one).__name__ for one in await asyncio.gather(*calls, return_exceptions=True)} == {
                "NotFoundError"
            }
            assert sim.monotonic() < 52

    simulate(main)


def test_creates_and_other_calls_have_budgets_of_their_own():
    """When creates are held back, other calls aren't."""

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
    """With ``rate_limit`` nothing is ever refused by an API that allows as much; both kinds have their own."""

    async def main(sim: Simulation) -> None:
        limits = {"creates": 120, "create_burst": 3, "others": 600, "other_burst": 12}
        rate_limit = RateLimit(creates=120, others=600)
        async with _serve(sim, limits=limits) as server, _client_of(server, rate_limit=rate_limit) as client:
            await asyncio.gather(*[client.run("owner/model", input={"text": str(number)}) for number in range(40)])
            await asyncio.gather(*[client.account.get() for _ in range(100)])
            assert _refused(server) == 0
            assert sim.monotonic() > 19 + 9

    simulate(main)


def test_an_explicit_limit_outlives_its_client():
    """It is kept by all clients with its token, also where each call has a client of its own."""

    async def main(sim: Simulation) -> None:
        async with _serve(sim) as server:
            for _ in range(10):
                async with _client_of(server, rate_limit=RateLimit(others=60)) as client:
                    await client.account.get()
            assert sim.monotonic() >= 9

    simulate(main)


def test_clients_with_the_same_token_share_their_budgets():
    """A second client is held back by what the first was told, another token's isn't."""

    async def main(sim: Simulation) -> None:
        async with _serve(sim) as server, _client_of(server) as first, _client_of(server) as second:
            server.faults.add(kind="rate_limit", operation="account.get", retry_after=20, times=1)
            own = asyncio.create_task(first.account.get())
            await asyncio.sleep(1)
            await second.account.get()
            assert sim.monotonic() >= 20
            await own
            before = sim.monotonic()
            server.faults.add(kind="rate_limit", operation="account.get", retry_after=20, times=1)
            own = asyncio.create_task(first.account.get())
            await asyncio.sleep(1)
            other = AsyncReplicate(base_url=server.base_url, bearer_token="another")  # whose calls are refused
            async with other:
                await asyncio.gather(other.account.get(), return_exceptions=True)
            assert sim.monotonic() - before < 5
            await own

    simulate(main)


def test_a_pause_beyond_reason_holds_nobody_back():
    """Who is told to come back in an hour gets that as an error; others may try for themselves."""

    async def main(sim: Simulation) -> None:
        async with _serve(sim) as server, _client_of(server) as client:
            server.faults.add(kind="rate_limit", operation="account.get", retry_after=3600, times=1)
            with pytest.raises(RateLimitError) as caught:
                await client.account.get()
            assert caught.value.retry_after == 3600
            await client.account.get()
            assert sim.monotonic() < 1

    simulate(main)


def test_a_call_that_is_cancelled_while_it_waits_for_a_connection_returns_its_leave():
    """With all connections taken, those who have the leave to call and give up don't use up what others may have."""

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
    """A client's copies have what is left of its explicit limit, and not a new one each."""
    limits = Limits()
    limits.set(RateLimit(creates=60))
    assert limits.creates.take(sdk_clock.current.monotonic()) == 0
    limits.set(RateLimit(creates=60))
    assert limits.creates.take(sdk_clock.current.monotonic()) > 0
    limits.set(RateLimit(creates=600))
    assert limits.creates.take(sdk_clock.current.monotonic()) == 0
