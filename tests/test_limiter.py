"""The line in front of a client's connections."""

from __future__ import annotations

import asyncio

import pytest

from replicate_async._limits import Line

pytestmark = pytest.mark.anyio


async def _enter(line: Line) -> None:
    if not line.enter_now():
        await line.enter()


async def test_places_are_given_in_the_order_of_arrival():
    """Who waits gets a place as soon as one is left, first come, first served; there are never more than the limit."""
    line = Line(2)
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
    assert line.enter_now()
    assert line.enter_now()
    assert not line.enter_now()


async def test_whoever_is_cancelled_while_waiting_takes_no_place():
    """A place that is left passes by those who gave up, also when they gave up after it was given to them."""
    line = Line(1)
    await _enter(line)
    gave_up, too_late, last = (asyncio.create_task(_enter(line)) for _ in range(3))
    await asyncio.sleep(0)
    gave_up.cancel()
    line.leave()  # to the second: the first is being cancelled
    too_late.cancel()
    await asyncio.wait([gave_up, too_late])
    await asyncio.wait_for(last, 1)
    line.leave()
    assert line.enter_now()
