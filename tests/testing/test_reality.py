"""The server answers as the real API does, where a tidier server would let wrong programs succeed."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import replicate_async
from replicate_async import AsyncReplicate
from replicate_async.testing import LocalServer, OutputFile, VirtualClock, models, record_metrics, sign_webhook

from .conftest import Caller, eventually, form, serve

pytestmark = pytest.mark.anyio

VERSION = "ab" * 32
FILE = "data:text/plain;base64," + base64.b64encode(b"abc").decode()


@pytest.fixture
async def call() -> AsyncIterator[Caller]:
    """Return a caller of a server with an official model and a community model."""
    async with serve(page_size=3) as (server, caller):
        server.model("acme/official", official=True)(models.hello_world)
        server.model("acme/community", version=VERSION)(models.hello_world)
        yield caller


@pytest.fixture
async def slow_call(clock: VirtualClock) -> AsyncIterator[Caller]:
    """Return a caller of a server that uses the clock that stands still."""
    async with serve(clock=clock) as (_, caller):
        yield caller


HELLO = {"input": {"text": "a"}}
OFFICIAL = "/models/acme/official/predictions"
NOT_FOUND = {"detail": "The requested resource could not be found.", "status": 404}


async def test_creates_answer_201_without_what_is_not_there_yet(call: Caller) -> None:
    """A prediction that has not started has neither times nor metrics, and nothing but its output and error is null."""
    answer = await call("POST", OFFICIAL, HELLO)
    assert (answer.status, answer.data["status"], answer.data["version"]) == (201, "starting", "hidden")
    assert {name for name, value in answer.data.items() if value is None} == {"output", "error"}
    absent = {"started_at", "completed_at", "metrics", "deadline", "deployment", "webhook", "webhook_events_filter"}
    assert not absent & answer.data.keys()
    ended = await call.until(answer.data, "succeeded")
    assert ended["metrics"].keys() == {"predict_time", "total_time"}
    # Nine digits of fraction.
    assert len(ended["started_at"].partition(".")[2]) == 10


async def test_a_held_answer_is_done_without_saying_so(call: Caller) -> None:
    """The answer of a held create has the whole output, with files as data URIs, and the status processing."""

    @call.server.model("acme/files", official=True)
    def files() -> dict[str, Any]:
        return {"files": [OutputFile(b"abc", "text/plain")], "text": "abc"}

    held = await call("POST", "/models/acme/files/predictions", {"input": {}}, headers={"Prefer": "wait=5"})
    assert (held.status, held.data["status"], held.headers["Preference-Applied"]) == (201, "processing", "wait=5")
    assert held.data["output"] == {"files": [FILE], "text": "abc"}
    assert not {"started_at", "completed_at", "metrics"} & held.data.keys()
    later = await call.get(held.data)
    assert (later["status"], later["output"]["text"]) == ("succeeded", "abc")
    (url,) = later["output"]["files"]
    assert (await call("GET", url)).body == b"abc"


async def test_a_held_answer_of_a_failure(call: Caller) -> None:
    """A prediction that failed during the hold says so."""

    @call.server.model("acme/broken", official=True)
    def broken() -> str:
        raise ValueError("out of paint")

    held = await call("POST", "/models/acme/broken/predictions", {"input": {}}, headers={"Prefer": "wait"})
    assert (held.status, held.data["status"], held.data["error"]) == (201, "failed", "out of paint")


async def test_a_hold_that_ends_early(slow_call: Caller, clock: VirtualClock) -> None:
    """When the hold ends first, the answer is the prediction as it is then, with a partial output."""
    slow_call.server.model("acme/story", official=True, output_delay=3)(models.stream_text)
    body = {"input": {"prompt": "a b c d", "delay": 0}}
    request = asyncio.create_task(
        slow_call("POST", "/models/acme/story/predictions", body, headers={"Prefer": "wait=7"})
    )
    await eventually(lambda: slow_call.server.predictions)
    await clock.advance(7)
    held = (await request).data
    assert (held["status"], held["output"]) == ("processing", ["a", " b"])
    assert "started_at" in held


async def test_community_models_run_by_version_only(call: Caller) -> None:
    """Creating by name is for official models: 404 for all others, and 422 for a name as the version."""
    refused = await call("POST", "/models/acme/community/predictions", HELLO)
    assert (refused.status, refused.data) == (404, NOT_FOUND)
    refused = await call("POST", "/predictions", {"version": "acme/community", **HELLO})
    assert (refused.status, refused.data["title"]) == (422, "Invalid version or not permitted")
    assert (await call("POST", "/predictions", {"version": VERSION, **HELLO})).status == 201
    assert (await call("POST", "/predictions", {"version": f"acme/community:{VERSION}", **HELLO})).status == 201
    assert (await call("POST", "/predictions", {"version": "acme/official", **HELLO})).status == 201


async def test_the_client_runs_community_models_by_name(call: Caller) -> None:
    """This SDK looks for the latest version after the 404."""
    server = call.server
    async with AsyncReplicate(base_url=server.base_url, bearer_token=server.token) as client:
        assert await client.run("acme/community", input={"text": "a"}) == "hello a"
    assert [request.status for request in server.requests[:3]] == [404, 200, 201]


async def test_official_models_show_no_version(call: Caller) -> None:
    """Official models have no versions to list or get, and no latest one."""
    official = (await call("GET", "/models/acme/official")).data
    assert (official["is_official"], official["latest_version"]) == (True, None)
    for path in ("/versions", f"/versions/{VERSION}"):
        answer = await call("GET", f"/models/acme/official{path}")
        assert (answer.status, answer.data) == (404, NOT_FOUND)
    assert (await call("GET", "/models/acme/community")).data["latest_version"]["id"] == VERSION
    # Some official models show their latest version, with its schema.
    call.server.model("acme/shown", official=True, version="cd" * 32)(models.hello_world)
    assert (await call("GET", "/models/acme/shown")).data["latest_version"]["id"] == "cd" * 32
    assert (await call("GET", "/models/acme/shown/versions")).status == 404


UNKNOWN = [
    ("POST", OFFICIAL, {**HELLO, "lifetime": 60}, "lifetime"),
    ("POST", "/predictions", {**HELLO, "version": VERSION, "model": "acme/official"}, "model"),
    ("POST", "/deployments/local/none/predictions", {**HELLO, "wait": True}, "wait"),
    (
        "POST",
        f"/models/acme/community/versions/{VERSION}/trainings",
        {"destination": "local/x", "input": {}, "webhook_completed": "https://example.com"},
        "webhook_completed",
    ),
    ("POST", "/models", {"owner": "local", "name": "x", "visibility": "public", "hardware": "cpu", "tags": []}, "tags"),
    ("PATCH", "/models/acme/community", {"visibility": "private"}, "visibility"),
    ("PATCH", "/deployments/local/none", {"name": "b"}, "name"),
]


@pytest.mark.parametrize(("method", "path", "body", "name"), UNKNOWN)
async def test_unknown_members_are_refused(call: Caller, method: str, path: str, body: Any, name: str) -> None:
    """A member of a body that the API doesn't know is refused, in its words."""
    refused = await call(method, path, body)
    description = f"Additional property {name} is not allowed"
    assert (refused.status, refused.data) == (
        422,
        {
            "title": "Input validation failed",
            "detail": f"- {description}\n",
            "status": 422,
            "invalid_fields": [{"type": "additional_property_not_allowed", "field": "", "description": description}],
        },
    )
    assert not call.server.predictions


INVALID = [
    ({"input": {}}, "input", "required", "text is required"),
    ({"input": {"text": 5}}, "input.text", "invalid_type", "Invalid type. Expected: string, given: integer"),
    ({"input": {"text": None}}, "input.text", "invalid_type", "Invalid type. Expected: string, given: null"),
    ({}, "", "required", "input is required"),
    ({"input": []}, "input", "invalid_type", "Invalid type. Expected: object, given: array"),
    ({**HELLO, "webhook": None}, "webhook", "invalid_type", "Invalid type. Expected: string, given: null"),
    ({**HELLO, "stream": "yes"}, "stream", "invalid_type", "Invalid type. Expected: boolean, given: string"),
    (
        {**HELLO, "webhook_events_filter": ["end"]},
        "webhook_events_filter.0",
        "enum",
        'webhook_events_filter.0 must be one of the following: "completed", "logs", "output", "start"',
    ),
]


@pytest.mark.parametrize(("body", "field", "kind", "description"), INVALID)
async def test_what_is_invalid(call: Caller, body: Any, field: str, kind: str, description: str) -> None:
    """A 422 names each invalid field, with the kind of error."""
    refused = await call("POST", OFFICIAL, body)
    assert (refused.status, refused.data["title"]) == (422, "Input validation failed")
    assert refused.data["invalid_fields"] == [{"type": kind, "field": field, "description": description}]
    assert refused.data["detail"] == (f"- {field}: {description}\n" if field else f"- {description}\n")


async def test_bounds_of_inputs(call: Caller) -> None:
    """All inputs out of bounds are named."""
    call.server.model("acme/gradient", official=True)(models.gradient)
    body = {"input": {"width": 0, "height": 1025, "red": 1.5}}
    refused = await call("POST", "/models/acme/gradient/predictions", body)
    assert refused.data["detail"] == (
        "- input.width: Must be greater than or equal to 1\n"
        "- input.height: Must be less than or equal to 1024\n"
        "- input.red: Invalid type. Expected: integer, given: number\n"
    )


async def test_numbers_of_instances(call: Caller) -> None:
    """A deployment has at most 5 instances at least, and at most 20."""
    body = {"name": "d", "model": "acme/community", "version": VERSION, "hardware": "cpu"}
    refused = await call("POST", "/deployments", {**body, "min_instances": 6, "max_instances": 21})
    assert (refused.status, refused.data["detail"]) == (
        422,
        "- min_instances: Must be less than or equal to 5\n- max_instances: Must be less than or equal to 20\n",
    )
    assert (await call("POST", "/deployments", {**body, "min_instances": 5, "max_instances": 20})).status == 200
    assert (await call("PATCH", "/deployments/local/d", {"min_instances": 6})).status == 422


async def test_the_wording_of_errors(call: Caller) -> None:
    """Errors say what the API says, often without a title."""
    for path in ("/predictions/none", "/trainings/none", "/models/no/ne", "/files/none", "/collections/none", "/none"):
        answer = await call("GET", path)
        assert (answer.status, answer.data) == (404, NOT_FOUND)
    answer = await call("GET", "/account", headers={"Authorization": "Bearer x"})
    assert answer.data == {
        "title": "Unauthenticated",
        "detail": "You did not pass a valid authentication token",
        "status": 401,
    }
    answer = await call("PUT", "/account")
    assert answer.data == {"detail": 'Method "PUT" not allowed.', "status": 405}


async def test_the_filter_of_sources(call: Caller) -> None:
    """Only predictions of the web site can be asked for: ``api`` is refused."""
    await call("POST", OFFICIAL, HELLO)
    refused = await call("GET", "/predictions?source=api")
    assert (refused.status, refused.data["invalid_fields"][0]["field"]) == (422, "source")
    assert (await call("GET", "/predictions?source=web")).data["results"] == []


async def test_every_job_has_a_stream(call: Caller) -> None:
    """Predictions of every kind of model have an event stream, and so have trainings."""
    created = await call.until((await call("POST", OFFICIAL, HELLO)).data, "succeeded")
    stream = await call("GET", created["urls"]["stream"])
    assert b"event: output\n" in stream.body
    assert b"data: hello a\n" in stream.body
    assert stream.body.endswith(b"event: done\ndata: {}\n\n")
    call.server.model("local/mine")(models.hello_world)
    path = f"/models/acme/community/versions/{VERSION}/trainings"
    training = (await call("POST", path, {"destination": "local/mine", "input": {}})).data
    stream = await call("GET", training["urls"]["stream"])
    assert stream.body.endswith(b"event: done\ndata: {}\n\n")


async def test_sizes_of_pages() -> None:
    """Pages have 25 models, and 100 predictions."""
    async with serve() as (server, call):
        for number in range(30):
            server.model(f"acme/m{number}", official=True, inline=True)(models.hello_world)
        for number in range(101):
            await call("POST", f"/models/acme/m{number % 30}/predictions", HELLO)
        assert len((await call("GET", "/models")).data["results"]) == 25
        assert len((await call("QUERY", "/models", data="acme")).data["results"]) == 25
        assert len((await call("GET", "/predictions")).data["results"]) == 100


async def test_behind_a_gateway() -> None:
    """With another origin as the API's own, all links name it, whatever host was asked."""
    async with serve(page_size=1, api_url="https://api.example.com/") as (server, call):
        server.model("acme/a", official=True)(models.hello_world)
        server.model("acme/b", official=True)(models.hello_world)
        listed = (await call("GET", "/models")).data
        assert listed["next"].startswith("https://api.example.com/v1/models?cursor=")
        created = (await call("POST", "/models/acme/a/predictions", HELLO)).data
        assert created["urls"]["get"] == f"https://api.example.com/v1/predictions/{created['id']}"
        second = listed["next"].replace("https://api.example.com", server.url)
        assert [model["name"] for model in (await call("GET", second)).data["results"]] == ["a"]


async def test_collections_in_lists(call: Caller) -> None:
    """Lists of collections have no models."""
    (listed,) = (await call("GET", "/collections")).data["results"]
    assert "models" not in listed
    got = (await call("GET", f"/collections/{listed['slug']}")).data
    assert len(got["models"]) == 2


@pytest.mark.parametrize(
    ("size", "prefer", "status", "error"),
    [
        (1_400_000, "wait", 201, None),
        (1_600_000, "wait", 403, None),
        (1_600_000, None, 201, None),
        (6_100_000, None, 201, "Prediction interrupted; please retry (code: PA)"),
        (10_100_000, None, 413, None),
    ],
)
async def test_sizes_of_bodies(call: Caller, size: int, prefer: str | None, status: int, error: str | None) -> None:
    """A large body is not held, a larger one fails before its start, and a still larger one is refused."""
    headers = {"Prefer": prefer} if prefer else {}
    # A file, because aiohttp warns of large bodies in memory.
    body = io.BytesIO(b'{"input": {"text": "%b"}}' % (b"a" * size))
    answer = await call("POST", OFFICIAL, data=body, headers={**headers, "Content-Type": "application/json"})
    assert answer.status == status
    if status == 403:
        assert answer.body == b""
    if error:
        failed = await call.until(answer.data, "failed")
        assert (failed["error"], failed["logs"], "started_at" in failed) == (error, "", False)
    assert len(call.server.predictions) == (status == 201)


async def test_metrics_of_a_model(call: Caller) -> None:
    """A model reports metrics of any name, also from a thread, a coroutine and a generator."""

    def report() -> None:
        record_metrics(image_count=2, resolution="720p", cached=True)

    @call.server.model("acme/plain", official=True)
    def plain() -> str:
        report()
        return "a"

    @call.server.model("acme/async", official=True)
    async def coroutine() -> str:
        report()
        return "a"

    @call.server.model("acme/generator", official=True)
    def generator() -> Iterator[str]:
        yield "a"
        report()

    for name in ("plain", "async", "generator"):
        created = (await call("POST", f"/models/acme/{name}/predictions", {"input": {}})).data
        metrics = (await call.until(created, "succeeded"))["metrics"]
        assert (metrics["image_count"], metrics["resolution"], metrics["cached"]) == (2, "720p", True)
        assert metrics["predict_time"] >= 0
    with pytest.raises(RuntimeError, match="LocalServer"):
        report()


async def test_a_failure_before_the_start(call: Caller) -> None:
    """An error of a model's setup fails its prediction without a start and without logs; the next one may succeed."""
    errors = iter([RuntimeError("Prediction interrupted; please retry (code: PA)")])

    def setup() -> None:
        print("loading")  # noqa: T201
        if error := next(errors, None):
            raise error

    call.server.model("acme/shaky", official=True, setup=setup)(models.hello_world)
    failed = await call.until((await call("POST", "/models/acme/shaky/predictions", HELLO)).data, "failed")
    assert (failed["error"], failed["logs"]) == ("Prediction interrupted; please retry (code: PA)", "")
    assert "started_at" not in failed
    assert failed["metrics"].keys() == {"total_time"}
    created = (await call("POST", "/models/acme/shaky/predictions", HELLO)).data
    assert (await call.until(created, "succeeded"))["output"] == "hello a"


async def test_a_list_that_lags(slow_call: Caller, clock: VirtualClock) -> None:
    """A prediction that has succeeded may still be processing in the list."""
    slow_call.server.model("acme/lag", official=True, list_lag=2)(models.hello_world)
    created = (await slow_call("POST", "/models/acme/lag/predictions", HELLO)).data
    ended = await slow_call.until(created, "succeeded")

    async def listed() -> Any:
        (entry,) = (await slow_call("GET", "/predictions")).data["results"]
        return entry

    entry = await listed()
    assert (entry["status"], entry["output"], "completed_at" in entry) == ("processing", None, False)
    await clock.advance(2)
    assert await listed() == ended


async def test_a_prediction_that_cannot_be_read_yet(slow_call: Caller, clock: VirtualClock) -> None:
    """A prediction may be 404 right after its creation, and absent from the list."""
    slow_call.server.model("acme/late", official=True, read_lag=1)(models.hello_world)
    created = (await slow_call("POST", "/models/acme/late/predictions", HELLO)).data
    assert (await slow_call("GET", f"/predictions/{created['id']}")).status == 404
    assert (await slow_call("GET", "/predictions")).data["results"] == []
    await clock.advance(1)
    assert (await slow_call.get(created))["status"] == "succeeded"
    assert len((await slow_call("GET", "/predictions")).data["results"]) == 1


async def test_generators_without_an_annotation_stream_text(call: Caller) -> None:
    """A generator is a model that streams text, unless its annotation says otherwise."""

    @call.server.model("acme/poet", version="cd" * 32)
    def poet(about):  # type: ignore[no-untyped-def]
        yield from ("Ode ", "to ", about)

    output = call.server.models["acme/poet"].latest_version.openapi_schema["components"]["schemas"]["Output"]  # type: ignore[index, union-attr]
    assert (output["items"], output["x-cog-array-display"]) == ({"type": "string"}, "concatenate")
    async with AsyncReplicate(base_url=call.server.base_url, bearer_token=call.server.token) as client:
        assert await client.use("acme/poet")(about="a cat") == "Ode to a cat"


async def test_a_schema_of_a_real_model(call: Caller) -> None:
    """A model can have the OpenAPI document of a model at Replicate, which its inputs are checked with."""
    schema = {
        "openapi": "3.0.2",
        "info": {"title": "Cog", "version": "0.1.0"},
        "components": {
            "schemas": {
                "Input": {
                    "type": "object",
                    "title": "Input",
                    "required": ["prompt"],
                    "properties": {
                        "prompt": {"type": "string", "x-order": 0},
                        "steps": {"type": "integer", "maximum": 50, "minimum": 1, "default": 28},
                        "size": {"allOf": [{"$ref": "#/components/schemas/size"}], "default": "1:1"},
                    },
                },
                "size": {"enum": ["1:1", "16:9"], "type": "string", "title": "size"},
                "Output": {"type": "string", "title": "Output"},
            }
        },
    }

    @call.server.model("acme/real", version="cd" * 32, schema=schema)
    def real(**inputs: Any) -> str:
        return ", ".join(sorted(inputs))

    body = {"version": "cd" * 32, "input": {"prompt": "a", "steps": 50, "size": "16:9", "unknown": 1}}
    assert (await call.until((await call("POST", "/predictions", body)).data, "succeeded"))["output"] == (
        "prompt, size, steps, unknown"
    )
    body["input"] = {"steps": 51, "size": "2:1"}
    assert (await call("POST", "/predictions", body)).data["detail"] == (
        "- input: prompt is required\n"
        "- input.steps: Must be less than or equal to 50\n"
        '- input.size: input.size must be one of the following: "1:1", "16:9"\n'
    )
    assert (await call("GET", "/models/acme/real")).data["latest_version"]["openapi_schema"] == schema


async def test_what_tidy_means() -> None:
    """A tidy server runs every model by name, shows versions of official models, and completes held answers."""
    async with serve(tidy=True) as (server, call):
        server.model("acme/community")(models.hello_world)
        server.model("acme/official", official=True)(models.hello_world)
        held = await call("POST", "/models/acme/community/predictions", HELLO, headers={"Prefer": "wait"})
        assert (held.status, held.data["status"], held.data["output"]) == (201, "succeeded", "hello a")
        assert held.data["metrics"]["predict_time"] >= 0
        assert (await call("GET", "/models/acme/official")).data["latest_version"] is not None


async def test_members_of_webhooks(call: Caller) -> None:
    """A prediction with a webhook says so."""
    body = {**HELLO, "webhook": "http://127.0.0.1:9/", "webhook_events_filter": ["completed"]}
    created = (await call("POST", OFFICIAL, body)).data
    assert (created["webhook"], created["webhook_events_filter"]) == ("http://127.0.0.1:9/", ["completed"])


async def test_checksums_and_model_times(call: Caller) -> None:
    """Files have two checksums, and models a time."""
    uploaded = (await call("POST", "/files", data=form(b"abc"))).data
    assert uploaded["checksums"]["md5"] == "900150983cd24fb0d6963f7d28e17f72"
    assert (await call("GET", "/models/acme/official")).data["created_at"]
    refused = await call("POST", "/files", data=form(b"abc", expires="tomorrow"))
    assert (refused.status, refused.data["detail"]) == (422, "- Additional property expires is not allowed\n")


def test_signing_a_webhook() -> None:
    """A test can make a webhook that is genuine to code that verifies it."""
    secret = "whsec_" + base64.b64encode(b"0" * 24).decode()
    with LocalServer() as server:
        server.model("acme/hello", official=True)(models.hello_world)
        with replicate_async.Replicate(base_url=server.base_url, bearer_token=server.token) as client:
            prediction = client.models.predictions.create("acme", "hello", input={"text": "a"})
    body = prediction.to_json()
    verified = replicate_async.verify_webhook(body, sign_webhook(body, secret), secret)
    assert verified.id == prediction.id
    headers = sign_webhook(body.encode(), secret, message_id="msg_1")
    assert headers["Webhook-Id"] == "msg_1"
    with pytest.raises(replicate_async.WebhookVerificationError):
        replicate_async.verify_webhook(body + " ", headers, secret)
    with pytest.raises(ValueError, match="secret"):
        sign_webhook(body, "whsec_a")
