"""What users write with the blocking client, as type checkers see it. Checked, never run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import tenacity
from typing_extensions import assert_type

import replicate_async as replicate
from replicate_async import Page, Replicate, types


def the_life_of_a_client() -> None:
    with Replicate() as client:
        assert_type(client, Replicate)
    client = Replicate(
        bearer_token="r8_x",
        base_url="http://localhost/v1",
        timeout=5,
        max_retries=3,
        default_headers={"X-A": "b"},
        default_query={"a": 1, "b": None},
        max_connections=5,
        retry=tenacity.AsyncRetrying(stop=tenacity.stop_after_attempt(3)),
    )
    Replicate(api_token="r8_x", timeout=None)
    assert_type(client.with_options(timeout=5.0, retry=None), Replicate)
    assert_type(client.copy(max_retries=1), Replicate)
    assert_type(client.is_closed(), bool)
    assert_type(client.close(), None)
    assert_type(replicate.Client(), Replicate)


class Mine(Replicate):
    """A client of a user's own."""


def a_subclass_stays_one() -> None:
    with Mine() as client:
        assert_type(client, Mine)
        assert_type(client.with_options(timeout=5), Mine)


def running(client: Replicate, version: types.ModelVersion, model: types.Model) -> None:
    assert_type(client.run("owner/name", input={"prompt": "hi"}), Any)
    assert_type(client.run("owner/name", {"prompt": "hi"}, wait=5, time_limit=60.0), Any)
    client.run(version, wait=False, cancel_on_abort=False)
    client.run(
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


def report(progress: replicate.MapProgress) -> None:
    assert_type(progress.failed, int)
    assert_type(progress.prediction, types.Prediction | None)


def many(client: Replicate) -> None:
    for output in client.map("owner/name", [{"prompt": "hi"}, {"seed": 1}]):
        assert_type(output, Any)
    outputs = client.map("owner/name", ({"n": n} for n in range(9)), concurrency=2, ordered=False, on_update=report)
    assert_type(next(outputs), Any)
    outputs.close()
    assert_type(list(replicate.map("owner/name", [], return_exceptions=True)), list[Any])


def a_handle(client: Replicate) -> None:
    run = client.submit("owner/name", {"prompt": "hi"}, cancel_after="5m")
    assert_type(run.id, str)
    assert_type(run.prediction, types.Prediction)
    assert_type(run.logs(), str)
    assert_type(run.wait(), types.Prediction)
    assert_type(run.cancel(), types.Prediction)
    assert_type(run.output(), Any)


def streaming(client: Replicate) -> None:
    for event in client.stream("owner/name", input={"prompt": "hi"}):
        assert_type(event.event, str)
        assert_type(event.data, str)
        assert_type(event + "x", str)


def caption(prompt: str, *, steps: int = 4) -> list[str]:
    """Say what a model takes and returns."""
    return [prompt] * steps


def functions(client: Replicate) -> None:
    model = client.use("owner/name")
    assert_type(model(prompt="hi", anything=5), Any)
    hinted = client.use("owner/name", hint=caption)
    assert_type(hinted("hi", steps=5), list[str])
    streamed = client.use("owner/name", streaming=True)
    for piece in streamed(prompt="hi"):
        assert_type(piece, Any)


def predictions(client: Replicate) -> None:
    made = client.predictions.create(
        version="owner/name", input={"text": "Alice"}, stream=True, prefer="wait=5", cancel_after=30
    )
    assert_type(made, types.Prediction)
    assert_type(client.models.predictions.create("owner", "name", input={}), types.Prediction)
    assert_type(client.models.predictions.create("owner/name", input={}), types.Prediction)
    client.models.predictions.create(model_owner="owner", model_name="name", input={})
    assert_type(client.deployments.predictions.create("owner", "name", input={}), types.Prediction)
    assert_type(client.predictions.get("abc"), types.Prediction)
    assert_type(client.predictions.get(prediction_id="abc", timeout=5), types.Prediction)
    assert_type(client.predictions.cancel("abc"), types.Prediction)
    assert_type(client.predictions.wait(made, time_limit=60), types.Prediction)
    assert_type(client.predictions.wait("abc"), types.Prediction)

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


def lists(client: Replicate) -> None:
    after = datetime.now(timezone.utc) - timedelta(days=1)
    page = client.predictions.list(created_after=after, created_before="2025-01-01T00:00:00Z", source="web")
    assert_type(page, Page[types.Prediction])
    assert_type(page.results, list[types.Prediction])
    assert_type(page.next, "str | None")
    assert_type(page.has_next_page(), bool)
    assert_type(page.get_next_page(), Page[types.Prediction])
    for prediction in page:
        assert_type(prediction, types.Prediction)
    for other in page.iter_pages():
        assert_type(other, Page[types.Prediction])
    for model in client.models.list(sort_by="model_created_at", sort_direction="desc"):
        assert_type(model, types.Model)
    assert_type(list(client.models.versions.list("o", "n")), list[types.ModelVersion])
    assert_type(client.models.examples.list("o", "n").results, list[types.Prediction])
    assert_type(client.models.search("upscale").results, list[types.Model])
    assert_type(client.trainings.list().results, list[types.Training])
    assert_type(client.deployments.list().results, list[types.Deployment])
    assert_type(client.collections.list().results, list[types.Collection])
    assert_type(client.files.list().results, list[types.File])


def other_resources(client: Replicate) -> None:
    assert_type(client.account.get(), types.Account)
    assert_type(client.hardware.list(), list[types.Hardware])
    assert_type(client.models.get("owner", "name"), types.Model)
    assert_type(client.models.get("owner/name"), types.Model)
    assert_type(client.models.delete("owner", "name"), None)
    assert_type(client.models.update("owner", "name", description=""), types.Model)
    assert_type(client.models.readme.get("owner", "name"), str)
    assert_type(client.models.versions.get("owner", "name", "abc"), types.ModelVersion)
    assert_type(client.models.versions.delete("owner", "name", "abc"), None)
    assert_type(
        client.models.create(owner="o", name="n", visibility="public", hardware="cpu"),
        types.Model,
    )
    assert_type(
        client.deployments.create(name="n", model="o/n", version="v", hardware="cpu", min_instances=0, max_instances=1),
        types.Deployment,
    )
    assert_type(client.deployments.update("o", "n", max_instances=0), types.Deployment)
    assert_type(client.collections.get("super-resolution"), types.Collection)
    assert_type(client.trainings.create("o", "n", "v", destination="o/m", input={}), types.Training)
    assert_type(client.webhooks.default.secret.get(), types.WebhookSecret)
    assert_type(client.search("upscale", limit=5), types.SearchResults)
    assert_type(client.files.create(b"abc", filename="a.txt", metadata={"a": 1}), types.File)


def raw_access(client: Replicate) -> None:
    raw = client.predictions.with_raw_response.create(version="v", input={})
    assert_type(raw, replicate.APIResponse[types.Prediction])
    assert_type(raw.parse(), types.Prediction)
    assert_type(raw.status_code, int)
    assert_type(raw.elapsed, timedelta)
    assert_type(raw.read(), bytes)
    assert_type(raw.text(), str)
    page = client.predictions.with_raw_response.list().parse()
    assert_type(page, Page[types.Prediction])
    assert_type(client.models.with_raw_response.delete("o", "n").parse(), None)
    download = client.files.with_raw_response.download("f", owner="o", expiry=1, signature="s")
    assert_type(download.parse(), bytes)
    with client.files.with_streaming_response.download("f", owner="o", expiry=1, signature="s") as streamed:
        assert_type(streamed.parse(), bytes)
    assert_type(client.models.with_raw_response.versions.get("o", "n", "v").parse(), types.ModelVersion)
    with client.account.with_streaming_response.get() as response:
        assert_type(response, replicate.StreamedResponse[types.Account])
        assert_type(response.parse(), types.Account)
        assert_type(response.read(), bytes)
        for chunk in response.iter_bytes():
            assert_type(chunk, bytes)
        for line in response.iter_lines():
            assert_type(line, str)


def low_level(client: Replicate) -> None:
    assert_type(client.get("/account", cast_to=types.Account), types.Account)
    assert_type(client.get("/hardware", cast_to=list[types.Hardware]), list[types.Hardware])
    assert_type(client.get("/models/o/n/readme", cast_to=str), str)
    assert_type(client.get("/account"), replicate.APIResponse[Any])
    assert_type(
        client.post("/predictions", json={"a": 1}, params={"b": 2}, headers={"C": "d"}, timeout=5),
        replicate.APIResponse[Any],
    )
    assert_type(client.request("QUERY", "/models", content="x", cast_to=dict[str, Any]), dict[str, Any])


def errors(client: Replicate) -> None:
    try:
        client.run("owner/name")
    except replicate.ModelError as error:
        assert_type(error.prediction, types.Prediction)
    except replicate.APIStatusError as error:
        assert_type(error.status_code, int)
        assert_type(error.detail, "str | None")
        assert_type(error.retry_after, "float | None")
        assert_type(error.prediction_id, "str | None")
    except replicate.APIConnectionError as error:
        assert_type(error.sent, bool)


def webhooks(body: bytes, headers: dict[str, str], client: Replicate) -> None:
    secret = client.webhooks.default.secret.get()
    assert_type(replicate.verify_webhook(body, headers, secret), "types.Prediction | types.Training")
    replicate.verify_webhook("text", headers, "whsec_x", tolerance=60)


def what_is_passed_on(client: Replicate, events: Sequence[types.WebhookEvent]) -> types.Prediction:
    options: replicate.RequestOptions = {"timeout": 5, "max_retries": 1}
    return client.predictions.create(version="v", input={}, webhook_events_filter=events, **options)


def the_module() -> None:
    assert_type(replicate.run("owner/name", input={"prompt": "hi"}), Any)
    assert_type(replicate.predictions.get("abc"), types.Prediction)
    assert_type(replicate.predictions.create(version="v", input={}), types.Prediction)
    assert_type(replicate.models.list().results, list[types.Model])
    assert_type(replicate.models.versions.get("o", "n", "v"), types.ModelVersion)
    assert_type(replicate.account.get(), types.Account)
    assert_type(replicate.hardware.list(), list[types.Hardware])
    assert_type(replicate.search("upscale"), types.SearchResults)
    assert_type(replicate.get("/account", cast_to=types.Account), types.Account)
    assert_type(replicate.post("/x", json={}), replicate.APIResponse[Any])
    assert_type(replicate.default_client(), Replicate)
    assert_type(replicate.__version__, str)


def journals(client: Replicate) -> None:
    with replicate.Journal(Path("run.db")) as journal:
        assert_type(client.run("owner/name", {}, key="k", journal=journal), Any)
        assert_type(client.submit("owner/name", {}, key="k", journal=Path("run.db")), replicate.Run)
        client.map("owner/name", [{}], journal=journal)
        client.use("owner/name", key="k", journal=journal)(prompt="hi")
        replicate.run("owner/name", {}, key="k", journal=replicate.SQLiteStore("run.db"))
        for result in journal.results():
            assert_type(result, replicate.JournalResult)
        assert_type(journal.remove("k"), None)
    Replicate(rate_limit=replicate.RateLimit(creates=60, store=journal.store))
