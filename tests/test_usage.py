"""Usage: what predictions took, and what that costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest

from callers import Caller, calling
from replicate_async import ModelError, Usage, hooks
from replicate_async.testing import LocalServer, record_metrics
from replicate_async.types import Prediction

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["async", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer() as server:

        @server.model("owner/picture", official=True)
        async def picture(count: int = 1) -> str:
            record_metrics(image_count=count, resolution="720p", upscaled=True)
            return "done"

        @server.model("owner/words", official=True)
        async def words(text: str = "a b c") -> AsyncIterator[str]:
            record_metrics(token_output_count=3)
            for word in text.split():
                yield word

        @server.model("owner/broken", official=True)
        async def broken() -> str:
            raise ValueError("no luck today")

        yield server


@pytest.fixture
async def call(kind: str, server: LocalServer) -> AsyncIterator[Caller]:
    async with calling(kind, server.base_url, server.token) as call:
        yield call


async def test_block(call: Caller, server: LocalServer):
    """A block collects its runs, streams, maps and functions by model, and nothing that is outside of it."""
    await call("run", "owner/picture")
    with call.client.usage() as usage:
        assert repr(usage) == "<Usage of no predictions>"
        await call("run", "owner/picture", {"count": 2})
        await call.all(call.client.map("owner/picture", [{"count": 3}, {"count": 4}]))
        await call.all(call.client.stream("owner/words"))
        await call.of(call.client.use("owner/words"), text="x")
        with pytest.raises(ModelError):
            await call("run", "owner/broken")
    await call("run", "owner/picture")
    assert usage.predictions == 6
    assert usage.models["owner/picture"].predictions == 3
    assert usage.models["owner/picture"].metrics["image_count"] == 9
    assert usage.models["owner/words"].metrics["token_output_count"] == 6
    assert usage.models["owner/broken"].statuses == {"failed": 1}
    assert usage.metrics["predict_time"] >= 0
    assert set(usage.models["owner/picture"].metrics).isdisjoint({"resolution", "upscaled"})
    assert usage.unfinished == []


async def test_unfinished(call: Caller):
    """A prediction that has not ended is not counted but listed."""
    with call.client.usage() as usage:
        run = await call("submit", "owner/picture")
    assert usage.unfinished == [run.id]
    assert usage.predictions == 0


async def test_blocks_at_the_same_time(call: Caller):
    """Each block has its own predictions, although they share a client; an outer block has those of inner ones."""

    async def work(number: int) -> dict[str, float]:
        with call.client.usage() as usage:
            await call("run", "owner/picture", {"count": number})
            await asyncio.sleep(0.01)
            await call("run", "owner/picture", {"count": 10 * number})
        return usage.models["owner/picture"].metrics

    with call.client.usage() as all_usage:
        results = await asyncio.gather(*[work(number) for number in range(1, 6)])
    assert [result["image_count"] for result in results] == [11, 22, 33, 44, 55]
    assert all_usage.metrics["image_count"] == 165
    assert all_usage.predictions == 10


async def test_a_block_inside_of_itself(call: Caller):
    """A block that is entered again, in the same task or in another one, collects until its last end."""
    usage = call.client.usage()

    async def work() -> None:
        with usage:
            await call("run", "owner/picture")

    with usage:
        await call("run", "owner/picture")
        await work()
        await asyncio.create_task(work())
        await call("run", "owner/picture")
    await call("run", "owner/picture")
    assert usage.predictions == 4
    await work()
    assert usage.predictions == 5


async def test_a_block_that_ends_in_another_context(call: Caller):
    """A block may be entered in one context and left in another one, as in fixtures; it collects in the first one."""
    usage = call.client.usage()

    async def enter() -> None:
        usage.__enter__()
        await call("run", "owner/picture")

    await asyncio.create_task(enter())
    usage.__exit__(None, None, None)
    usage.__exit__(None, None, None)
    await call("run", "owner/picture")
    assert usage.predictions == 1


async def test_as_a_hook(kind: str, server: LocalServer):
    """As a hook, a collection has all predictions of the client, also those that it only waits for."""
    usage = Usage()
    async with calling(kind, server.base_url, server.token) as other:
        created = await other("submit", "owner/picture")
    async with calling(kind, server.base_url, server.token, hooks=[usage]) as call:
        await call("run", "owner/picture")
        await call("predictions.wait", created.id)
        await call("predictions.wait", created.id)
    assert usage.predictions == 2


def usage_of(*predictions: Any) -> Usage:
    usage = Usage()
    for number, metrics in enumerate(predictions):
        prediction = Prediction(
            id=str(number),
            model=metrics.pop("model", "owner/name") if isinstance(metrics, dict) else "owner/name",
            status="succeeded",
            created_at="2025-01-01T00:00:00Z",  # type: ignore[arg-type]
            metrics=metrics,  # type: ignore[arg-type]
        )
        usage(hooks.PredictionEnded(prediction=prediction, seconds=1.0))
    return usage


def test_cost():
    """Prices are per unit of any metric, per prediction, or per second of a hardware."""
    usage = usage_of(
        {"image_count": 2, "predict_time": 0.1},
        {"image_count": 1, "predict_time": 0.2},
        {"model": "owner/llm", "token_input_count": 1000, "token_output_count": 10},
        {"model": "owner/gpu", "predict_time": 2.5},
    )
    prices = {
        "owner/name": {"image_count": 0.1, "prediction": 0.01},
        "owner/llm": {"input_token_count": 0.000003, "output_token_count": 0.000015},
        "owner/gpu": {"hardware": "gpu-t4"},
        "hardware": {"gpu-t4": 0.000225},
    }
    cost = usage.cost(prices)
    assert cost.models == {"owner/name": 0.32, "owner/llm": 0.00315, "owner/gpu": 0.0005625}
    assert cost.total == 0.3237125
    assert cost.unpriced == {}


def test_unpriced():
    """What has no price, or did not report what the price is for, is listed, and is never free."""
    usage = usage_of({"image_count": 2}, {}, {"model": "owner/other", "predict_time": 1})
    cost = usage.cost({"owner/name": {"image_count": 0.5}})
    assert cost.total == 1.0
    assert cost.models == {"owner/name": 1.0}
    assert cost.unpriced == {"owner/name": 1, "owner/other": 1}
    assert usage.cost({}).unpriced == {"owner/name": 2, "owner/other": 1}


ODD_METRICS: list[Any] = [
    [1],
    "many",
    {"image_count": float("nan"), "predict_time": 10**400},
    {"image_count": float("-inf"), "predict_time": 1e308},
    {"image_count": True, "predict_time": [1]},
]


def test_odd_metrics():
    """Metrics that are no numbers, or cannot be added up, count as not reported."""
    usage = usage_of(*ODD_METRICS, *ODD_METRICS, {"image_count": 2, "predict_time": 1.5})
    assert usage.predictions == 11
    assert usage.metrics == {"image_count": 2, "predict_time": 1.5}
    cost = usage.cost({"owner/name": {"image_count": 0.5, "predict_time": 0}})
    assert (cost.total, cost.unpriced) == (1.0, {"owner/name": 10})


@pytest.mark.parametrize(
    "prices",
    [
        {"owner/name": 5},
        {"owner/name": {"image_count": float("nan")}},
        {"owner/name": {"image_count": 10**400}},
        {"owner/name": {"image_count": Decimal("NaN")}},
        {"owner/name": {"hardware": ["x"]}},
        {"owner/name": {"hardware": ["x"]}, "hardware": {"x": 1}},
        {"owner/name": {"image_count": "a lot"}},
        {"owner/name": {"image_count": True}},
        {"owner/name": {"hardware": "gpu-t4"}},
        {"owner/name": {"hardware": "gpu-t4"}, "hardware": {"cpu": 1}},
    ],
)
def test_wrong_prices(prices: Any):
    """A table that can't be right is refused, also before there is anything to pay."""
    with pytest.raises(ValueError, match=r"prices: .*owner/name"):
        usage_of({"image_count": 1}).cost(prices)
    with pytest.raises(ValueError, match=r"prices: .*owner/name"):
        Usage.check(prices)


def test_a_wrong_table_of_hardware():
    """The table of the hardware must be one."""
    with pytest.raises(ValueError, match="prices: hardware must have a table of prices, not 5"):
        Usage.check({"hardware": 5, "owner/name": {"hardware": "x"}})  # type: ignore[dict-item]
