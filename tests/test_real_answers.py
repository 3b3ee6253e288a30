"""Responses as the API sends them, or might: members that are absent, null, of another type, and new.

Nothing of them may be lost or changed, and nothing may fail that does not need the odd member.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime, timezone
from operator import attrgetter
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from callers import Caller, calling
from rawserver import TOKEN, RawServer, answer, prediction, record_pauses
from replicate_async import APIError, APIResponseValidationError, ModelError, verify_webhook
from replicate_async.types import Prediction, PredictionMetrics, Training, TrainingOutput

from .test_webhooks import SECRET, signed

pytestmark = pytest.mark.anyio

URLS = {
    "get": "https://api.replicate.com/v1/predictions/abc",
    "cancel": "https://api.replicate.com/v1/predictions/abc/cancel",
    "web": "https://replicate.com/p/abc",
}
# A prediction that has ended, with all members that the API is known to send.
ENDED: dict[str, Any] = {
    **prediction(id="abc", status="succeeded", output="hello", logs="50%|##| 1/2 [00:01]", urls=URLS),
    "started_at": "2025-01-01T00:00:01.000000Z",
    "completed_at": "2025-01-01T00:00:02.123456Z",
    "metrics": {"predict_time": 1.1, "total_time": 2.1},
    "webhook": "https://example.com/hook",
    "webhook_events_filter": ["completed"],
    "source": "api",
}
# What is the same however it is written.
DEFAULTS = {"input": {}, "data_removed": False, "urls": {"get": None, "cancel": None, "stream": None, "web": None}}
ODD: dict[str, dict[str, Any]] = {
    "as documented": {},
    "metrics of all kinds": {
        "metrics": {
            "predict_time": 1,
            "image_count": 4,
            "resolution": "720p",
            "cached": True,
            "x": None,
            "y": {"z": [1]},
        }
    },
    "metrics of another type": {"metrics": [1, 2]},
    "no metrics": {"metrics": {}},
    "error of another type": {"error": {"detail": ["x"]}},
    "logs of another type": {"logs": ["one", "two"]},
    "logs as a number": {"logs": 5},
    "urls as text": {"urls": "https://replicate.com"},
    "urls with odd members": {"urls": {"get": 5, "stream": {"a": 1}}},
    "input as a list": {"input": [1]},
    "input as text": {"input": "x"},
    "times of another form": {"created_at": "yesterday", "started_at": 1735689600, "completed_at": True},
    "a time without a zone": {"created_at": "2025-01-01T00:00:00"},
    "a time in a huge year": {"created_at": "99999-01-01T00:00:00Z", "completed_at": "0000-00-00T00:00:00Z"},
    "names of another type": {"model": 5, "version": {"id": "x"}, "deployment": ["a"], "source": 1},
    "webhook of another type": {"webhook": {"url": "x"}, "webhook_events_filter": "completed", "webhook_completed": 5},
    "a flag as text": {"data_removed": "no"},
    "a huge number": {"metrics": {"predict_time": 10**30}, "output": 10**30},
}
ABSENT = ["model", "version", "urls", "input", "error", "logs", "metrics", "started_at", "completed_at", "created_at"]
ABSENT += ["data_removed", "webhook", "webhook_events_filter", "source"]


@pytest.fixture(params=["async", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=[*ODD, *(f"null {name}" for name in ABSENT), *(f"no {name}" for name in ABSENT), "the least"])
def ended(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Return an ended prediction, odd in one way."""
    case: str = request.param
    if case == "the least":
        return {"id": "abc", "status": "succeeded", "output": "hello"}
    if case.startswith("no ") and case not in ODD:
        return {name: value for name, value in ENDED.items() if name != case[3:]}
    return {**ENDED, **(ODD[case] if case in ODD else {case[5:]: None})}


@asynccontextmanager
async def serving(kind: str, *steps: bytes) -> AsyncIterator[tuple[RawServer, Caller]]:
    record_pauses()
    async with (
        RawServer(*steps) as server,
        calling(kind, f"{server.url}/v1", TOKEN, max_retries=0) as call,
    ):
        yield server, call


async def all_of(call: Caller, method: str, *arguments: Any, **options: Any) -> list[Any]:
    """Return all items that a method returns. The blocking client fetches when the method is called."""
    function = attrgetter(method)(call.client)
    if call.blocking:
        return await anyio.to_thread.run_sync(lambda: list(function(*arguments, **options)))
    return [item async for item in function(*arguments, **options)]


def assert_nothing_lost(thing: Any, source: dict[str, Any]) -> None:
    """Compare an object with the JSON that it was decoded from."""
    assert isinstance(thing, (Prediction, Training))
    plain = json.loads(thing.to_json())
    assert plain == json.loads(json.dumps(thing.to_dict()))
    for name, value in source.items():
        if isinstance(value, dict) and name == "urls":
            assert plain[name].items() >= value.items()
        elif value is None:
            assert plain[name] == DEFAULTS.get(name)
        elif isinstance(getattr(thing, name), datetime):
            assert datetime.fromisoformat(plain[name].replace("Z", "+00:00")) == getattr(thing, name)
        else:
            assert plain[name] == value, name
    for name in plain.keys() - source.keys():
        assert plain[name] == DEFAULTS.get(name)
    assert repr(thing)
    assert isinstance(thing.done, bool)


# --- predictions ---


async def test_get_and_list(kind: str, ended: dict[str, Any]) -> None:
    """A fetched prediction has all that was sent, and so has each of a page."""
    async with serving(kind, answer(200, ended)) as (server, call):
        assert_nothing_lost(await call("predictions.get", "abc"), ended)
        server.steps = [answer(200, {"results": [ENDED, ended, ENDED], "next": None, "previous": None})]
        found = await all_of(call, "predictions.list")
        assert len(found) == 3
        assert_nothing_lost(found[1], ended)
        raw = await call("predictions.with_raw_response.get", "abc")
        assert raw.json()["results"][1] == ended, "unknown members are available here"


async def test_run(kind: str, ended: dict[str, Any]) -> None:
    """The output arrives, from the create's own response or from a poll."""
    output = ended["output"]
    async with serving(kind, answer(201, ended)) as (server, call):
        assert await call("run", "owner/name", input={}) == output
        server.steps = [answer(201, {**ended, "status": "starting", "output": None}), answer(200, ended)]
        assert await call("run", "owner/name", input={}, wait=False) == output
        updates: list[Prediction] = []
        server.steps = [answer(201, {**ended, "status": "starting", "output": None}), answer(200, ended)]
        assert await call("run", "owner/name", input={}, on_update=updates.append) == output
        assert [update.status for update in updates] == ["starting", "succeeded"]
        assert_nothing_lost(updates[-1], ended)
        assert updates[-1].progress is None or updates[-1].progress.current == 1


async def test_stream(kind: str, ended: dict[str, Any]) -> None:
    """A stream yields the output, by polling if there is no usable URL of a stream."""
    steps = answer(201, {**ended, "status": "starting", "output": None, "logs": ""}), answer(200, ended)
    async with serving(kind, *steps) as (_, call):
        events = await all_of(call, "stream", "owner/name", input={})
    text = ended["output"] if isinstance(ended["output"], str) else json.dumps(ended["output"])
    assert "".join(events) == text
    assert events[-1].event == "done"


async def test_map_with_many_predictions(kind: str, ended: dict[str, Any]) -> None:
    """Outputs of a map arrive, also by polling the list, where one odd prediction doesn't matter to the others."""
    running = {**ended, "status": "processing", "output": None, "completed_at": None}
    listed = {"results": [{**ended, "id": f"p{number}"} for number in range(6)], "next": None, "previous": None}
    async with serving(kind) as (server, call):
        creates = iter([answer(201, {**running, "id": f"p{number}"}) for number in range(6)])

        def next_step() -> bytes:
            request = server.requests[-1]
            if request.method == "POST":
                return next(creates)
            path = request.target.partition("?")[0]
            one = {**ended, "id": path.rpartition("/")[2]}
            return answer(200, listed if path.endswith("/predictions") else one)

        server.steps = [b""]
        server._next_step = next_step  # type: ignore[method-assign]
        outputs = await all_of(call, "map", "owner/name", [{}] * 6, on_update=lambda _: None)
    assert outputs == [ended["output"]] * 6


@pytest.mark.parametrize("status", [..., None, 5, {}, [], "", "paused"], ids=str)
async def test_unknown_status(kind: str, status: Any) -> None:
    """A prediction whose status says nothing, or nothing known, is polled until it has ended."""
    odd = {**prediction(id="abc"), "status": status, "output": None}
    if status is ...:
        del odd["status"]
    for wait in (True, False):
        async with serving(kind, answer(201, odd), answer(200, odd), answer(200, ENDED)) as (server, call):
            assert await call("run", "owner/name", input={}, wait=wait) == "hello"
            assert len(server.requests) == 3
    async with serving(kind, answer(201, odd), answer(200, odd), answer(200, ENDED)) as (server, call):
        assert "".join(await all_of(call, "stream", "owner/name", input={})) == "hello"
    async with serving(kind, answer(200, odd)) as (server, call):
        found = await call("predictions.get", "abc")
        assert (found.id, found.done) == ("abc", False)
        server.steps = [answer(200, {"results": [odd, ENDED], "next": None})]
        assert [each.id for each in await all_of(call, "predictions.list")] == ["abc", "abc"]


@pytest.mark.parametrize("error", [{"detail": "out of memory"}, ["out of memory"], 5, None, "out of memory"], ids=str)
async def test_failures(kind: str, error: Any) -> None:
    """Whatever the error is, the failure is reported with it, and with all the rest."""
    async with serving(kind, answer(201, {**ENDED, "status": "failed", "error": error, "output": None})) as (_, call):
        with pytest.raises(ModelError) as caught:
            await call("run", "owner/name", input={})
    assert caught.value.prediction.error == error
    assert ("out of memory" in str(caught.value)) is ("out of memory" in str(error))
    assert "abc failed" in caught.value.message


async def test_metrics(kind: str) -> None:
    """All metrics are there by key, by attribute, by iteration and in the JSON, also those without a name here."""
    metrics = {"predict_time": 1.5, "image_count": 4, "resolution": "720p", "audio_output_duration_seconds": 2.5}
    async with serving(kind, answer(200, {**ENDED, "metrics": metrics})) as (server, call):
        found = (await call("predictions.get", "abc")).metrics
        assert type(found) is PredictionMetrics
        assert (found["image_count"], found.image_count, found.get("image_count")) == (4, 4, 4)
        assert (found["predict_time"], found.predict_time, found.get("predict_time")) == (1.5, 1.5, 1.5)
        assert (found.total_time, found.get("total_time"), found.get("x", 0)) == (None, None, 0)
        assert dict(found) == found.to_dict() == json.loads(found.to_json()) == metrics
        assert list(found) == list(metrics)
        assert "image_count" in found
        assert "image_count" in dir(found)
        assert repr(found).startswith("PredictionMetrics(predict_time=1.5, image_count=4")
        with pytest.raises(AttributeError, match="video_count"):
            _ = found.video_count
        server.steps = [answer(200, {"id": "abc", "status": "succeeded", "metrics": metrics})]
        training = await call("trainings.get", "abc")
        assert training.metrics.image_count == 4
        assert "PredictionMetrics(" in repr(training.metrics)


@pytest.mark.parametrize("digits", [0, 1, 3, 6, 9])
async def test_times(kind: str, digits: int) -> None:
    """Times have up to nine digits of a fraction, of which Python keeps six."""
    fraction = "123456789"[:digits]
    time = f"2025-01-01T00:00:00{'.' if digits else ''}{fraction}Z"
    async with serving(kind, answer(200, {**ENDED, "created_at": time})) as (_, call):
        found = (await call("predictions.get", "abc")).created_at
    assert found == datetime(2025, 1, 1, 0, 0, 0, round(float(f"0.{fraction or 0}") * 10**6), timezone.utc)


# --- pages ---

UNREADABLE_ITEMS = [None, 5, "x", [], {}, {"id": None}, {"id": 5, "status": "succeeded"}, {"detail": "x"}]


@pytest.mark.parametrize("item", UNREADABLE_ITEMS, ids=str)
async def test_an_item_without_an_id(kind: str, item: Any, caplog: pytest.LogCaptureFixture) -> None:
    """An item of a page that can't be read costs that item only: it is plain data, and the log says so."""
    async with serving(kind, answer(200, {"results": [ENDED, item, ENDED], "next": None})) as (server, call):
        first, plain, last = await all_of(call, "predictions.list")
        assert (first.id, plain, last.id) == ("abc", item, "abc")
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        for method in ("models.list", "deployments.list", "trainings.list", "files.list", "collections.list"):
            server.steps = [answer(200, {"results": [item], "next": None})]
            assert await all_of(call, method) == [item]
        server.steps = [answer(200, [{"name": "CPU", "sku": "cpu"}, item])]
        assert [type(each).__name__ for each in await call("hardware.list")] == ["Hardware", type(item).__name__]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'"\ud800 lone"', "\ufffd lone"),
        (r'"\udc00\ud800"', "\ufffd\ufffd"),
        (r'"\ud83d\ude00 \\ud800"', "\U0001f600 \\ud800"),
        ('"\udcff"', "\ufffd"),
        ("Infinity", float("inf")),
        ("1e999", float("inf")),
        ("1" * 5000, "1" * 5000),
        ("-" + "1" * 30, -int("1" * 30)),
    ],
    ids=lambda text: repr(text)[:20],
)
async def test_json_that_strict_decoders_refuse(kind: str, text: str, value: Any) -> None:
    """A lone surrogate, a byte that is no text, or a huge number in one prediction costs nothing."""
    odd = json.dumps({**ENDED, "output": "ODD"}).replace('"ODD"', text).encode("utf-8", "surrogateescape")
    plain = json.dumps(ENDED).encode()
    async with serving(kind, answer(200, odd)) as (server, call):
        assert (await call("predictions.get", "abc")).output == value
        server.steps = [answer(200, b'{"results":[%b,%b],"next":null}' % (plain, odd))]
        assert [each.output for each in await all_of(call, "predictions.list")] == ["hello", value]
        server.steps = [answer(201, odd)]
        assert await call("run", "owner/name", input={}) == value


async def test_nan(kind: str) -> None:
    """NaN, which is not JSON, is read as such."""
    async with serving(kind, answer(200, json.dumps({**ENDED, "output": float("nan")}).encode())) as (_, call):
        found = await call("predictions.get", "abc")
        assert found.output != found.output
        assert json.loads(found.to_json())["output"] is None


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b"5", b'"x"', b"<html>", b"{}", b'{"id":5}', b'{"id":"', b"[" * 100_000, b"\xff"]
)
async def test_what_is_no_prediction(kind: str, body: bytes) -> None:
    """What has no id raises an APIError, with the call and the body."""
    async with serving(kind, answer(200, body)) as (_, call):
        for method, argument in (("predictions.get", "abc"), ("predictions.cancel", "abc"), ("trainings.get", "abc")):
            with pytest.raises(APIResponseValidationError) as caught:
                await call(method, argument)
            assert caught.value.body == body
            assert (caught.value.status, caught.value.prediction_id) == (200, None)
        with pytest.raises(APIError):
            await call("models.get", "owner/name")
        with pytest.raises(APIError):
            await call("account.get")


# --- other objects ---


@pytest.mark.parametrize(
    "output",
    [{"version": "a/b:c", "weights": None, "lora": "https://a"}, "a/b:c", ["a", 1], None, 5, {"loss": 1}],
    ids=str,
)
async def test_outputs_of_trainings(kind: str, output: Any) -> None:
    """The output of a training is an object, a text or a list, and keeps what it has."""
    training = {"id": "abc", "status": "succeeded", "output": output, "urls": URLS}
    async with serving(kind, answer(200, training)) as (_, call):
        for found in (await call("trainings.get", "abc"), await call("trainings.wait", "abc")):
            assert found.output == output
            assert_nothing_lost(found, training)
            if isinstance(output, dict):
                assert type(found.output) is TrainingOutput
                assert found.output.version == output.get("version")
    body = json.dumps({**training, "urls": {"get": "https://api.replicate.com/v1/trainings/abc"}})
    webhook = verify_webhook(body, signed(body), SECRET)
    assert (type(webhook), webhook.output) == (Training, output)


async def test_members_that_were_dropped(kind: str) -> None:
    """Members that the API sends without documenting them are there."""
    model = {
        "owner": "a",
        "name": "b",
        "created_at": "2025-01-01T00:00:00Z",
        "run_count": 10**20,
        "latest_version": None,
    }
    file = {"id": "f", "checksums": {"sha256": "a", "md5": "b"}, "urls": {"get": "https://a"}}
    async with serving(kind, answer(200, model)) as (server, call):
        found = await call("models.get", "a/b")
        assert found.created_at == datetime(2025, 1, 1, tzinfo=timezone.utc)
        assert (found.run_count, found.latest_version) == (10**20, None)
        server.steps = [answer(200, file)]
        found = await call("files.get", "f")
        assert (found.id, found.checksums.md5, found.urls.get, found.size) == ("f", "b", "https://a", None)
        server.steps = [answer(200, {"query": "x", "models": [{"model": model}, {"model": 5}], "pages": None})]
        results = await call("search", "x")
        assert [type(each.model).__name__ for each in results.models] == ["Model", "int"]
        assert (results.collections, results.pages) == ([], [])


async def test_odd_models_as_functions(kind: str) -> None:
    """A model whose version, example or schema is odd still runs, and has a signature and documentation."""
    for odd in (
        {},
        {"latest_version": 5},
        {"latest_version": {"id": "v", "openapi_schema": [1]}},
        {"default_example": 5},
    ):
        async with serving(kind, answer(200, {"owner": "a", "name": "b", **odd})) as (server, call):
            function = call.client.use("a/b")
            assert list((await call.of(function.signature)).parameters) == []
            assert "Run a/b" in await call.of(function.documentation)
            assert await call.of(function.default_example) is None
            server.steps = [answer(201, {**ENDED, "output": ["a", "b"]})]
            assert await call.of(function) == ["a", "b"]


@pytest.mark.parametrize(
    "schemas",
    [
        5,
        {"Input": 5},
        {"Input": {"properties": 5}},
        {"Input": {"properties": {"x": 5}, "required": 5}},
        {"Input": {"properties": {"x": {"x-order": "first", "enum": 5, "description": 5}, "y": {"x-order": 1}}}},
        {"Input": {"properties": {"x": {"$ref": "#/components/schemas/Input"}}, "allOf": {"a": 1}}},
        {"Input": {"$ref": "#/components/schemas/Input"}},
        {"Input": {"allOf": [{"$ref": 5}, {"$ref": "#/components/schemas/Other"}]}, "Other": {"$ref": "#/x/y"}},
        {"Input": {"properties": {"x": {"type": "string", "maxLength": "5", "minLength": [], "pattern": 5}}}},
    ],
    ids=str,
)
async def test_odd_schemas(kind: str, schemas: Any) -> None:
    """Whatever a schema is, it gives a signature and documentation, and inputs can be checked."""
    version = {"id": "v", "openapi_schema": {"components": {"schemas": schemas}}}
    async with serving(kind, answer(200, {"owner": "a", "name": "b", "latest_version": version})) as (server, call):
        function = call.client.use("a/b", validate=True)
        await call.of(function.signature)
        assert "Run a/b" in await call.of(function.documentation)
        server.steps = [answer(201, ENDED)]
        with suppress(ValueError):
            assert await call.of(function, x="y") == "hello"


# --- webhooks and the command ---


def test_webhooks(ended: dict[str, Any]) -> None:
    """A webhook has all that was sent."""
    body = json.dumps(ended)
    assert_nothing_lost(verify_webhook(body, signed(body), SECRET), ended)


async def command(server: RawServer, *arguments: str) -> tuple[int | None, str, str]:
    environment = {**os.environ, "REPLICATE_BASE_URL": f"{server.url}/v1", "REPLICATE_API_TOKEN": TOKEN}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "replicate_async.cli", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


async def test_the_command(tmp_path: Path) -> None:
    """The command prints outputs and whole predictions, whatever else they have, and resumes from such results."""
    odd = {
        **ENDED,
        "error": {"a": 1},
        "logs": [1],
        "urls": None,
        "created_at": "yesterday",
        "metrics": {"image_count": 4},
    }
    async with RawServer(answer(201, odd)) as server:
        status, output, errors = await command(server, "run", "owner/name", "--json")
        assert (status, errors) == (0, "")
        shown = json.loads(output)
        del odd["urls"], odd["started_at"]
        assert {name: shown[name] for name in odd} == odd
        inputs, results = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
        inputs.write_text("{}\n{}\n", encoding="utf-8")
        status, _, errors = await command(server, "map", "owner/name", str(inputs), "-o", str(results))
        assert (status, errors) == (0, "")
    lines = [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()]
    assert [line["output"] for line in lines] == ["hello"] * 2
    assert [line["metrics"] for line in lines] == [{"image_count": 4}] * 2
