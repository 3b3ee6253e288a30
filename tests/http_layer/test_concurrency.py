"""Concurrency limits: how many calls are in flight, and in which order the others follow."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_async import RateLimitError
from replicate_async._http.concurrency import AdaptiveConcurrencyLimiter, ConcurrencyLimiter
from simulation import Simulation, simulate


async def _acquire(limiter: ConcurrencyLimiter) -> None:
    if not limiter.try_acquire():
        await limiter.acquire()


@pytest.mark.anyio
async def test_slots_go_to_waiters_in_order():
    """Waiters get free slots first in, first out, and slots in use never exceed the limit."""
    limiter = ConcurrencyLimiter(2)
    inside = 0
    order: list[int] = []

    async def visit(number: int) -> None:
        nonlocal inside
        await _acquire(limiter)
        inside += 1
        assert inside <= 2
        order.append(number)
        await asyncio.sleep(0)
        inside -= 1
        limiter.release()

    await asyncio.gather(*[visit(number) for number in range(50)])
    assert order == list(range(50))
    assert limiter.try_acquire()
    assert limiter.try_acquire()
    assert not limiter.try_acquire()


@pytest.mark.anyio
async def test_cancelled_waiters_take_no_slot():
    """A free slot skips waiters that were cancelled, even after the slot was handed to them."""
    limiter = ConcurrencyLimiter(1)
    await _acquire(limiter)
    gave_up, too_late, last = (asyncio.create_task(_acquire(limiter)) for _ in range(3))
    await asyncio.sleep(0)
    gave_up.cancel()
    # The slot goes to the second, because the first is being cancelled.
    limiter.release()
    too_late.cancel()
    await asyncio.wait([gave_up, too_late])
    await asyncio.wait_for(last, 1)
    limiter.release()
    assert limiter.try_acquire()


class Creates:
    """Makes creates that take a given time, and counts how many are in flight at once."""

    def __init__(self, *, slow_start: bool = True) -> None:
        self.limiter = AdaptiveConcurrencyLimiter()
        self._slow_start = slow_start
        self.inside = self.most = self.begun = 0

    async def create(self, seconds: float, error: Exception | None = None) -> None:
        if not self.limiter.try_acquire():
            await self.limiter.acquire()
        self.begun += 1
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            await asyncio.sleep(seconds)
            if isinstance(error, RateLimitError):
                self.limiter.on_throttled()
            if error is not None:
                raise error
            self.limiter.on_response(seconds, slow_start=self._slow_start)
        finally:
            self.inside -= 1
            self.limiter.release()

    async def create_many(self, count: int, seconds: float) -> int:
        """Return how many of them were in flight at once."""
        self.most = 0
        await asyncio.gather(*[self.create(seconds) for _ in range(count)])
        return self.most


def test_few_creates_are_in_flight_before_the_first_response():
    """Until the API has responded, four creates are in flight; then they grow by a half in each round trip."""

    async def main(_: Simulation) -> None:
        creates = Creates()
        runs = asyncio.gather(*[creates.create(0.2) for _ in range(1000)])
        most: list[int] = []
        for _ in range(6):
            await asyncio.sleep(0.1)
            most.append(creates.inside)
            await asyncio.sleep(0.1)
        await runs
        assert most == [4, 18, 27, 40, 60, 90]
        assert creates.most == AdaptiveConcurrencyLimiter.max_slots

    simulate(main)


def test_no_slow_start_if_the_api_says_how_many_may_be_made():
    """With the API's headers, the latency alone decides after the first response."""

    async def main(_: Simulation) -> None:
        creates = Creates(slow_start=False)
        runs = asyncio.gather(*[creates.create(0.2) for _ in range(1000)])
        await asyncio.sleep(0.3)
        assert creates.inside == AdaptiveConcurrencyLimiter.max_slots
        await runs

    simulate(main)


@pytest.mark.parametrize(
    ("latency", "slots"), [(0.0005, 16), (0.004, 16), (0.01, 20), (0.04, 80), (0.2, 100), (5, 100)]
)
def test_create_slots_follow_the_latency(latency, slots):
    """Slots are as many as 2,000 creates per second need, from 16 to 100."""

    async def main(_: Simulation) -> None:
        creates = Creates()
        await creates.create_many(400, latency)
        assert await creates.create_many(1000, latency) == slots

    simulate(main)


def test_the_fastest_latency_is_forgotten():
    """Slots adapt to a network that becomes slow, but only after hundreds of responses."""

    async def main(_: Simulation) -> None:
        creates = Creates()
        await creates.create_many(400, 0.004)
        assert await creates.create_many(400, 0.1) < 32
        assert await creates.create_many(4000, 0.1) == AdaptiveConcurrencyLimiter.max_slots

    simulate(main)


def test_a_429_restarts_the_slow_start():
    """After a 429 response, slots start again; before the first response, they stay as few as they are."""

    async def main(_: Simulation) -> None:
        creates = Creates()
        for _ in range(3):
            with pytest.raises(RateLimitError):
                await creates.create(0.2, RateLimitError("slow down"))
        assert await creates.create_many(4, 0.2) == 4
        await creates.create_many(1000, 0.2)
        with pytest.raises(RateLimitError):
            await creates.create(0.2, RateLimitError("slow down"))
        assert await creates.create_many(16, 0.2) == 16
        with pytest.raises(RateLimitError):
            await creates.create(0.2, RateLimitError("slow down"))
        assert await creates.create_many(100, 0.2) < 40

    simulate(main)


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(0, 3), st.sampled_from([0.01, 0.1, 1.0]), st.sampled_from(["", "429", "fails", "cancelled"])
        ),
        max_size=150,
    )
)
def test_no_slot_is_lost(visits):
    """Creates that are throttled, fail or are cancelled release their slots, and the maximum is never exceeded."""

    async def main(_: Simulation) -> None:
        creates = Creates()
        errors = {"429": RateLimitError("slow down"), "fails": KeyError("other")}

        async def visit(at: float, seconds: float, how: str) -> None:
            await asyncio.sleep(at)
            await creates.create(seconds, errors.get(how))

        tasks = [asyncio.create_task(visit(*arguments)) for arguments in visits]
        for task, (at, seconds, how) in zip(tasks, visits, strict=True):
            if how == "cancelled":
                asyncio.get_running_loop().call_later(at + seconds / 2, task.cancel)
        await asyncio.gather(*tasks, return_exceptions=True)
        assert creates.most <= AdaptiveConcurrencyLimiter.max_slots
        assert creates.begun >= sum(how != "cancelled" for *_, how in visits)
        await creates.create_many(1000, 1.0)
        assert await creates.create_many(1000, 1.0) == AdaptiveConcurrencyLimiter.max_slots
        assert creates.inside == 0

    simulate(main)
