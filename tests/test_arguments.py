"""Arguments: objects of the API in place of their ids and names, and None in place of nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timezone
from operator import attrgetter
from typing import Any

import pytest

from callers import Caller, calling
from rawserver import TOKEN, RawServer, answer, prediction
from replicate_async.types import (
    Account,
    Collection,
    Deployment,
    File,
    Hardware,
    Model,
    ModelVersion,
    Prediction,
    Training,
)

pytestmark = pytest.mark.anyio

NOW = datetime(2025, 1, 1, tzinfo=timezone.utc)
VERSION_ID = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
PREDICTION = Prediction(id="p1", status="starting", created_at=NOW)
TRAINING = Training(id="t1", status="starting")
VERSION = ModelVersion(id=VERSION_ID, created_at=NOW)
MODEL = Model(owner="acme", name="cat", latest_version=VERSION)
DEPLOYMENT = Deployment(owner="acme", name="fast")
HARDWARE = Hardware(name="CPU", sku="cpu")
ACCOUNT = Account(type="user", username="acme")
COLLECTION = Collection(name="Super resolution", slug="super-resolution", description="")
FILE = File(id="f1", content_type="a/b", size=1, created_at=NOW, checksums=None, metadata={}, urls=None)  # type: ignore[arg-type]

# A response that every type can be decoded from.
ANYTHING = {
    **prediction(id="p1"),
    "owner": "acme",
    "name": "cat",
    "slug": "x",
    "username": "x",
    "results": [],
    "next": None,
    "query": "",
}
POST, GET, PATCH, DELETE = "POST", "GET", "PATCH", "DELETE"


@pytest.fixture(params=["async", "blocking"])
async def call(request: pytest.FixtureRequest, server: RawServer) -> AsyncIterator[Caller]:
    async with calling(request.param, f"{server.url}/v1", TOKEN, max_retries=0) as caller:
        yield caller


@pytest.fixture
async def server() -> AsyncIterator[RawServer]:
    async with RawServer(answer(200, ANYTHING)) as server:
        yield server


@pytest.mark.parametrize(
    ("method", "arguments", "options", "request_line"),
    [
        ("predictions.get", [PREDICTION], {}, (GET, "/predictions/p1")),
        ("predictions.get", [], {"prediction_id": PREDICTION}, (GET, "/predictions/p1")),
        ("predictions.cancel", [PREDICTION], {}, (POST, "/predictions/p1/cancel")),
        ("trainings.get", [TRAINING], {}, (GET, "/trainings/t1")),
        ("trainings.cancel", [TRAINING], {}, (POST, "/trainings/t1/cancel")),
        ("files.get", [FILE], {}, (GET, "/files/f1")),
        ("files.delete", [FILE], {}, (DELETE, "/files/f1")),
        ("collections.get", [COLLECTION], {}, (GET, "/collections/super-resolution")),
        ("models.get", [MODEL], {}, (GET, "/models/acme/cat")),
        ("models.get", [], {"model_owner": MODEL, "model_name": MODEL}, (GET, "/models/acme/cat")),
        ("models.update", [MODEL], {"description": "x"}, (PATCH, "/models/acme/cat")),
        ("models.delete", [MODEL], {}, (DELETE, "/models/acme/cat")),
        ("models.readme.get", [MODEL], {}, (GET, "/models/acme/cat/readme")),
        ("models.predictions.create", [MODEL], {"input": {}}, (POST, "/models/acme/cat/predictions")),
        ("models.versions.get", [MODEL, MODEL, VERSION], {}, (GET, f"/models/acme/cat/versions/{VERSION_ID}")),
        ("models.versions.delete", ["acme", "cat", VERSION], {}, (DELETE, f"/models/acme/cat/versions/{VERSION_ID}")),
        ("deployments.get", [DEPLOYMENT], {}, (GET, "/deployments/acme/fast")),
        ("deployments.delete", [DEPLOYMENT], {}, (DELETE, "/deployments/acme/fast")),
        ("deployments.predictions.create", [DEPLOYMENT], {"input": {}}, (POST, "/deployments/acme/fast/predictions")),
    ],
)
async def test_objects_in_paths(
    call: Caller, server: RawServer, method: str, arguments: Any, options: Any, request_line: tuple[str, str]
) -> None:
    """An object stands for its id, or its owner and name, wherever these are part of the path."""
    await call(method, *arguments, **options)
    assert (server.requests[-1].method, server.requests[-1].target) == (request_line[0], "/v1" + request_line[1])


@pytest.mark.parametrize(
    ("method", "options", "body"),
    [
        ("predictions.create", {"version": VERSION, "input": {}}, {"version": VERSION_ID, "input": {}}),
        ("predictions.create", {"version": MODEL, "input": {}}, {"version": "acme/cat", "input": {}}),
        (
            "deployments.create",
            {
                "name": "x",
                "model": MODEL,
                "version": VERSION,
                "hardware": HARDWARE,
                "min_instances": 0,
                "max_instances": 0,
            },
            {
                "name": "x",
                "model": "acme/cat",
                "version": VERSION_ID,
                "hardware": "cpu",
                "min_instances": 0,
                "max_instances": 0,
            },
        ),
        (
            "deployments.update",
            {"deployment_owner": DEPLOYMENT, "version": VERSION, "hardware": HARDWARE},
            {"version": VERSION_ID, "hardware": "cpu"},
        ),
        (
            "models.create",
            {"owner": ACCOUNT, "name": "x", "visibility": "private", "hardware": HARDWARE},
            {"owner": "acme", "name": "x", "visibility": "private", "hardware": "cpu"},
        ),
        (
            "trainings.create",
            {
                "model_owner": MODEL,
                "model_name": MODEL,
                "version_id": VERSION,
                "destination": MODEL,
                "input": {},
            },
            {"destination": "acme/cat", "input": {}},
        ),
    ],
)
async def test_objects_in_bodies(call: Caller, server: RawServer, method: str, options: Any, body: Any) -> None:
    """An object stands for its id, its ``owner/name``, its SKU or its name in a body."""
    await call(method, **options)
    assert json.loads(server.requests[-1].body) == body


@pytest.mark.parametrize(
    ("method", "arguments", "options", "named"),
    [
        ("predictions.get", [FILE], {}, "prediction_id must be a str, not File"),
        ("predictions.get", [MODEL], {}, "prediction_id must be a str, not Model"),
        ("predictions.get", [None], {}, "prediction_id must be a str, not NoneType"),
        ("models.get", [VERSION], {}, "model_owner must be a str, not ModelVersion"),
        ("models.get", [5], {}, "model_owner must be a str, not int"),
        ("deployments.get", [MODEL], {}, "deployment_owner must be a str, not Model"),
        ("predictions.create", [], {"version": PREDICTION, "input": {}}, "version must be a str, not Prediction"),
    ],
)
async def test_other_objects(
    call: Caller, server: RawServer, method: str, arguments: Any, options: Any, named: str
) -> None:
    """Any other object is refused by the name of the argument, before anything is sent."""
    with pytest.raises(TypeError, match=named):
        await call(method, *arguments, **options)
    assert server.requests == []


NOTHING: dict[str, Any] = {"webhook": None, "webhook_events_filter": None, "cancel_after": None}
NO_OPTIONS: dict[str, Any] = {"extra_headers": None, "extra_query": None, "extra_body": None, "max_retries": None}


@pytest.mark.parametrize(
    ("method", "options", "body"),
    [
        (
            "predictions.create",
            {
                "version": VERSION_ID,
                "input": {"seed": None},
                "stream": None,
                "prefer": None,
                "file_encoding_strategy": None,
                **NOTHING,
            },
            {"version": VERSION_ID, "input": {"seed": None}},
        ),
        (
            "models.predictions.create",
            {"model_owner": "a/b", "model_name": None, "input": {}, **NOTHING},
            {"input": {}},
        ),
        ("deployments.predictions.create", {"deployment_owner": "a/b", "input": {}, **NOTHING}, {"input": {}}),
        (
            "trainings.create",
            {
                "model_owner": "a",
                "model_name": "b",
                "version_id": "v",
                "destination": "a/c",
                "input": {},
                "webhook": None,
                "webhook_events_filter": None,
            },
            {"destination": "a/c", "input": {}},
        ),
        ("models.update", {"model_owner": "a/b", "description": "", "readme": None}, {"description": ""}),
        (
            "deployments.update",
            {"deployment_owner": "a/b", "version": None, "min_instances": 0, "max_instances": None},
            {"min_instances": 0},
        ),
        ("search", {"query": "x", "limit": None}, None),
        ("post", {"url": "/x", "content": None, "params": None, "headers": None}, None),
        ("post", {"url": "/x", "json": {"a": None}}, {"a": None}),
    ],
)
async def test_none_is_nothing(call: Caller, server: RawServer, method: str, options: Any, body: Any) -> None:
    """An optional argument that is None is as good as omitted; what is falsy otherwise is sent."""
    await call(method, **options, **NO_OPTIONS)
    request = server.requests[-1]
    assert (json.loads(request.body) if request.body else None) == body
    assert request.header_values("prefer") == request.header_values("cancel-after") == []
    assert request.target in {request.target.partition("?")[0], "/v1/search?query=x"}


async def test_none_of_lists_and_runs(call: Caller, server: RawServer) -> None:
    """The same for the query of a list, for a run, and for a model as a function."""
    lists: list[tuple[str, dict[str, Any]]] = [
        ("predictions.list", {"created_after": None, "created_before": None, "source": None}),
        ("models.list", {"sort_by": None, "sort_direction": None}),
    ]
    for method, options in lists:
        await (call(method, **options) if call.blocking else attrgetter(method)(call.client)(**options))
        assert "?" not in server.requests[-1].target
    server.steps = [answer(201, {**prediction(id="p1"), "status": "succeeded", "output": "x"})]
    assert await call("run", "a/b", None, stream=None, wait=None, time_limit=None, **NOTHING, **NO_OPTIONS) == "x"
    request = server.requests[-1]
    assert json.loads(request.body) == {"input": {}}
    assert request.header_values("prefer") == ["wait"]
    function = call.client.use("a/b", validate=None, cancel_on_abort=None, **NOTHING)
    assert await call.of(function) == "x"


async def test_retries_that_are_none(server: RawServer) -> None:
    """``max_retries=None`` is the client's own number, not the default one."""
    server.steps = [answer(500, {})]
    async with calling("async", f"{server.url}/v1", TOKEN, max_retries=0) as call:
        with pytest.raises(Exception, match="500"):
            await call("account.get", max_retries=None)
        assert len(server.requests) == 1
