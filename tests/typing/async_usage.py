"""What users write with the asynchronous client, as type checkers see it. Checked, never run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import aiohttp
import tenacity
from typing_extensions import assert_type

import replicate_async as replicate
from replicate_async import AsyncPage, AsyncReplicate, types


async def the_life_of_a_client() -> None:
    async with AsyncReplicate() as client:
        assert_type(client, AsyncReplicate)
    async with aiohttp.ClientSession() as session:
        client = AsyncReplicate(
            bearer_token="r8_x",
            base_url="http://localhost/v1",
            timeout=aiohttp.ClientTimeout(total=5),
            max_retries=3,
            default_headers={"X-A": "b"},
            default_query={"a": 1, "b": None},
            session=session,
            max_connections=5,
            retry=tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(3)),
        )
    AsyncReplicate(api_token="r8_x", timeout=None)
    assert_type(client.with_options(timeout=5.0, retry=None), AsyncReplicate)
    assert_type(client.copy(max_retries=1), AsyncReplicate)
    assert_type(client.is_closed(), bool)
    assert_type(await client.close(), None)
    assert_type(replicate.AsyncClient(), AsyncReplicate)


class Mine(AsyncReplicate):
    """A client of a user's own."""


async def a_subclass_stays_one() -> None:
    async with Mine() as client:
        assert_type(client, Mine)
        assert_type(client.with_options(timeout=5), Mine)


async def running(client: AsyncReplicate, version: types.ModelVersion, model: types.Model) -> None:
    assert_type(await client.run("owner/name", input={"prompt": "hi"}), Any)
    assert_type(await client.run("owner/name", {"prompt": "hi"}, wait=5, time_limit=60.0), Any)
    await client.run(version, wait=False, cancel_on_abort=False)
    await client.run(
        model,
        input={},
        webhook="https://example.com",
        webhook_events_filter=["start", "output", "logs", "completed"],
        cancel_after="5m",
        extra_headers={"X-A": "b"},
        extra_query={"a": True},
        extra_body={"b": [1]},
        timeout=None,
        max_retries=0,
    )
    assert_type(await asyncio.gather(client.run("a/b"), client.account.get()), tuple[Any, types.Account])


def report(progress: replicate.MapProgress) -> None:
    assert_type(progress.succeeded, int)
    assert_type(progress.prediction, types.Prediction | None)


async def many(client: AsyncReplicate, rows: AsyncIterator[dict[str, str]]) -> None:
    async for output in client.map("owner/name", [{"prompt": "hi"}, {"seed": 1}]):
        assert_type(output, Any)
    outputs = client.map("owner/name", ({"n": n} for n in range(9)), concurrency=2, ordered=False, on_update=report)
    assert_type(await anext(outputs), Any)
    await outputs.aclose()
    client.map("owner/name", rows, return_exceptions=True, cancel_on_abort=False, use_file_output=False, timeout=5)


async def a_handle(client: AsyncReplicate) -> None:
    run = await client.submit("owner/name", {"prompt": "hi"}, cancel_after="5m")
    assert_type(run.id, str)
    assert_type(run.prediction, types.Prediction)
    assert_type(await run.logs(), str)
    assert_type(await run.wait(), types.Prediction)
    assert_type(await run.cancel(), types.Prediction)
    assert_type(await run.output(), Any)


async def streaming(client: AsyncReplicate) -> None:
    async for event in client.stream("owner/name", input={"prompt": "hi"}):
        assert_type(event.event, str)
        assert_type(event.data, str)
        assert_type(event + "x", str)


def caption(prompt: str, *, steps: int = 4) -> list[str]:
    """Say what a model takes and returns."""
    return [prompt] * steps


async def functions(client: AsyncReplicate) -> None:
    model = client.use("owner/name")
    assert_type(await model(prompt="hi", anything=5), Any)
    hinted = client.use("owner/name", hint=caption)
    assert_type(await hinted("hi", steps=5), list[str])
    streamed = client.use("owner/name", streaming=True)
    async for piece in streamed(prompt="hi"):
        assert_type(piece, Any)


async def predictions(client: AsyncReplicate) -> None:
    made = await client.predictions.create(
        version="owner/name", input={"text": "Alice"}, stream=True, prefer="wait=5", cancel_after=30
    )
    assert_type(made, types.Prediction)
    assert_type(await client.models.predictions.create("owner", "name", input={}), types.Prediction)
    assert_type(await client.models.predictions.create("owner/name", input={}), types.Prediction)
    await client.models.predictions.create(model_owner="owner", model_name="name", input={})
    assert_type(await client.deployments.predictions.create("owner", "name", input={}), types.Prediction)
    assert_type(await client.predictions.get("abc"), types.Prediction)
    assert_type(await client.predictions.get(prediction_id="abc", timeout=5), types.Prediction)
    assert_type(await client.predictions.cancel("abc"), types.Prediction)
    assert_type(await client.predictions.wait(made, time_limit=60), types.Prediction)
    assert_type(await client.predictions.wait("abc"), types.Prediction)

    assert_type(made.id, str)
    assert_type(made.status, types.Status)
    assert_type(made.output, Any)
    assert_type(made.error, "str | None")
    assert_type(made.created_at, datetime)
    assert_type(made.completed_at, "datetime | None")
    assert_type(made.urls.get, "str | None")
    assert_type(made.metrics.predict_time if made.metrics else None, "float | None")
    assert_type(made.done, bool)
    assert_type(made.to_dict(), dict[str, Any])
    assert_type(made.to_json(), str)


async def lists(client: AsyncReplicate) -> None:
    after = datetime.now(timezone.utc) - timedelta(days=1)
    listing = client.predictions.list(created_after=after, created_before="2025-01-01T00:00:00Z", source="web")
    assert_type(listing, replicate.AsyncPaginator[types.Prediction])
    page = await listing
    assert_type(page, AsyncPage[types.Prediction])
    assert_type(page.results, list[types.Prediction])
    assert_type(page.next, "str | None")
    assert_type(page.has_next_page(), bool)
    assert_type(await page.get_next_page(), AsyncPage[types.Prediction])
    async for prediction in listing:
        assert_type(prediction, types.Prediction)
    async for prediction in page:
        assert_type(prediction, types.Prediction)
    async for other in page.iter_pages():
        assert_type(other, AsyncPage[types.Prediction])
    async for model in client.models.list(sort_by="model_created_at", sort_direction="desc"):
        assert_type(model, types.Model)
    assert_type([version async for version in client.models.versions.list("o", "n")], list[types.ModelVersion])
    assert_type((await client.models.examples.list("o", "n")).results, list[types.Prediction])
    assert_type((await client.models.search("upscale")).results, list[types.Model])
    assert_type((await client.trainings.list()).results, list[types.Training])
    assert_type((await client.deployments.list()).results, list[types.Deployment])
    assert_type((await client.collections.list()).results, list[types.Collection])
    assert_type((await client.files.list()).results, list[types.File])


async def other_resources(client: AsyncReplicate) -> None:
    assert_type(await client.account.get(), types.Account)
    assert_type(await client.hardware.list(), list[types.Hardware])
    assert_type(await client.models.get("owner", "name"), types.Model)
    assert_type(await client.models.get("owner/name"), types.Model)
    assert_type(await client.models.delete("owner", "name"), None)
    assert_type(await client.models.update("owner", "name", description=""), types.Model)
    assert_type(await client.models.readme.get("owner", "name"), str)
    assert_type(await client.models.versions.get("owner", "name", "abc"), types.ModelVersion)
    assert_type(await client.models.versions.delete("owner", "name", "abc"), None)
    assert_type(
        await client.models.create(owner="o", name="n", visibility="public", hardware="cpu"),
        types.Model,
    )
    assert_type(
        await client.deployments.create(
            name="n", model="o/n", version="v", hardware="cpu", min_instances=0, max_instances=1
        ),
        types.Deployment,
    )
    assert_type(await client.deployments.update("o", "n", max_instances=0), types.Deployment)
    assert_type(await client.collections.get("super-resolution"), types.Collection)
    assert_type(await client.trainings.create("o", "n", "v", destination="o/m", input={}), types.Training)
    assert_type(await client.webhooks.default.secret.get(), types.WebhookSecret)
    assert_type(await client.search("upscale", limit=5), types.SearchResults)
    assert_type(await client.files.create(b"abc", filename="a.txt", metadata={"a": 1}), types.File)


async def raw_access(client: AsyncReplicate) -> None:
    raw = await client.predictions.with_raw_response.create(version="v", input={})
    assert_type(raw, replicate.APIResponse[types.Prediction])
    assert_type(raw.parse(), types.Prediction)
    assert_type(raw.status_code, int)
    assert_type(raw.elapsed, timedelta)
    assert_type(raw.read(), bytes)
    assert_type(raw.text(), str)
    page = (await client.predictions.with_raw_response.list()).parse()
    assert_type(page, AsyncPage[types.Prediction])
    assert_type((await client.models.with_raw_response.delete("o", "n")).parse(), None)
    download = await client.files.with_raw_response.download("f", owner="o", expiry=1, signature="s")
    assert_type(download.parse(), bytes)
    async with client.files.with_streaming_response.download("f", owner="o", expiry=1, signature="s") as streamed:
        assert_type(await streamed.parse(), bytes)
    assert_type((await client.models.with_raw_response.versions.get("o", "n", "v")).parse(), types.ModelVersion)
    async with client.account.with_streaming_response.get() as response:
        assert_type(response, replicate.AsyncStreamedResponse[types.Account])
        assert_type(await response.parse(), types.Account)
        assert_type(await response.read(), bytes)
        async for chunk in response.iter_bytes():
            assert_type(chunk, bytes)
        async for line in response.iter_lines():
            assert_type(line, str)


async def low_level(client: AsyncReplicate) -> None:
    assert_type(await client.get("/account", cast_to=types.Account), types.Account)
    assert_type(await client.get("/hardware", cast_to=list[types.Hardware]), list[types.Hardware])
    assert_type(await client.get("/models/o/n/readme", cast_to=str), str)
    assert_type(await client.get("/account"), replicate.APIResponse[Any])
    assert_type(
        await client.post("/predictions", json={"a": 1}, params={"b": 2}, headers={"C": "d"}, timeout=5),
        replicate.APIResponse[Any],
    )
    assert_type(await client.request("QUERY", "/models", content="x", cast_to=dict[str, Any]), dict[str, Any])


async def errors(client: AsyncReplicate) -> None:
    try:
        await client.run("owner/name")
    except replicate.ModelError as error:
        assert_type(error.prediction, types.Prediction)
    except replicate.APIStatusError as error:
        assert_type(error.status_code, int)
        assert_type(error.detail, "str | None")
        assert_type(error.retry_after, "float | None")
        assert_type(error.prediction_id, "str | None")
    except replicate.APIConnectionError as error:
        assert_type(error.sent, bool)


async def webhooks(body: bytes, headers: dict[str, str], client: AsyncReplicate) -> None:
    secret = await client.webhooks.default.secret.get()
    assert_type(replicate.verify_webhook(body, headers, secret), "types.Prediction | types.Training")
    replicate.verify_webhook("text", headers, "whsec_x", tolerance=60)


async def what_is_passed_on(client: AsyncReplicate, events: Sequence[types.WebhookEvent]) -> types.Prediction:
    options: replicate.RequestOptions = {"timeout": 5, "max_retries": 1}
    return await client.predictions.create(version="v", input={}, webhook_events_filter=events, **options)


async def journals(client: AsyncReplicate) -> None:
    async with replicate.AsyncJournal("run.db") as journal:
        assert_type(await client.run("owner/name", {}, key="k", journal=journal), Any)
        assert_type(await client.submit("owner/name", {}, key="k", journal="run.db"), replicate.AsyncRun)
        client.map("owner/name", [{}], journal=replicate.PostgresStore("postgresql://host/database"))
        await client.use("owner/name", key="k", journal=journal)(prompt="hi")
        async for result in journal.results():
            assert_type(result, replicate.JournalResult)
        assert_type(await journal.remove("k"), None)
    AsyncReplicate(rate_limit=replicate.RateLimit(creates=60, store=journal.store))
