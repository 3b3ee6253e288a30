"""Deployments, trainings, collections, hardware, the webhook secret and search: requests and invalid arguments."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from operator import attrgetter
from typing import Any

import pytest

import replicate_async
from replicate_async import (
    APITimeoutError,
    AsyncPage,
    AsyncReplicate,
    NotFoundError,
    Page,
    Replicate,
    UnprocessableEntityError,
)
from replicate_async.testing import LocalServer
from replicate_async.types import Deployment, Hardware, Training

pytestmark = pytest.mark.anyio

MODEL = "alice/base"
VERSION = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
NEW_DEPLOYMENT = {
    "name": "mine",
    "model": MODEL,
    "version": VERSION,
    "hardware": "cpu",
    "min_instances": 0,
    "max_instances": 0,
}
NEW_TRAINING = {
    "model_owner": "alice",
    "model_name": "base",
    "version_id": VERSION,
    "destination": "alice/trained",
    "input": {},
}


async def train(seconds: float = 0.0, *, fail: bool = False) -> str:
    await asyncio.sleep(seconds)
    if fail:
        raise ValueError("no data")
    return "weights"


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with LocalServer(username="alice", page_size=2) as server:

        @server.model(MODEL, version=VERSION, train=train)
        def base(text: str = "world") -> str:
            """Greet someone."""
            return f"hello {text}"

        server.model("alice/trained")(base)
        yield server


@pytest.fixture
async def client(server: LocalServer) -> AsyncIterator[AsyncReplicate]:
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url, max_retries=0) as client:
        yield client


@pytest.fixture
def blocking(server: LocalServer) -> Iterator[Replicate]:
    with Replicate(bearer_token=server.token, base_url=server.base_url, max_retries=0) as client:
        yield client


def sent(server: LocalServer) -> str:
    """Return the last request's operation, path and query."""
    call = server.requests[-1]
    return f"{call.operation} {call.path}{'?' if call.query_string else ''}{call.query_string}"


# --- deployments ---


async def test_deployment_life(server: LocalServer, client: AsyncReplicate) -> None:
    """A deployment is created with exactly the given values, including zeros, then fetched, changed and deleted."""
    deployment = await client.deployments.create(**NEW_DEPLOYMENT)
    assert sent(server) == "deployments.create /v1/deployments"
    assert server.requests[-1].json() == NEW_DEPLOYMENT

    assert await client.deployments.get("alice", "mine") == deployment
    assert await client.deployments.get("alice/mine") == deployment
    assert await client.deployments.get(deployment_owner="alice", deployment_name="mine") == deployment
    assert {sent(server)} == {"deployments.get /v1/deployments/alice/mine"}

    changed = await client.deployments.update("alice", "mine", max_instances=3)
    assert server.requests[-1].json() == {"max_instances": 3}, "omitted arguments are not sent"
    assert changed.current_release is not None
    assert changed.current_release.number == 2

    assert await client.deployments.delete("alice", "mine") is None
    with pytest.raises(NotFoundError, match="mine"):
        await client.deployments.get("alice", "mine")


async def test_deployment_update_sends_falsy_values(server: LocalServer, client: AsyncReplicate) -> None:
    """Zero instances and empty text are sent; an update without arguments sends an empty object."""
    await client.deployments.create(**NEW_DEPLOYMENT)
    await client.deployments.update("alice/mine", min_instances=0, max_instances=0)
    assert server.requests[-1].json() == {"min_instances": 0, "max_instances": 0}
    with pytest.raises(UnprocessableEntityError, match="hardware"):
        await client.deployments.update("alice/mine", hardware="")
    assert server.requests[-1].json() == {"hardware": ""}
    await client.deployments.update("alice/mine")
    assert server.requests[-1].json() == {}


async def test_version_and_input_by_position(server: LocalServer, client: AsyncReplicate) -> None:
    """As in version 1 of the official SDK, a version and an input may be passed by position."""
    for create in (client.predictions.create, client.predictions.with_raw_response.create):
        await create(VERSION, {"text": "Ada"})
        assert server.requests[-1].json() == {"version": VERSION, "input": {"text": "Ada"}}


async def test_deployment_prediction(server: LocalServer, client: AsyncReplicate) -> None:
    """A deployment runs with an input and no version; other arguments become members or headers."""
    await client.deployments.create(**NEW_DEPLOYMENT)
    prediction = await client.deployments.predictions.create(
        "alice", "mine", input={"text": ""}, stream=False, prefer="wait=5", cancel_after=90
    )
    assert prediction.output == "hello "
    assert sent(server) == "deployments.predictions.create /v1/deployments/alice/mine/predictions"
    call = server.requests[-1]
    assert call.json() == {"input": {"text": ""}, "stream": False}
    assert (call.headers["Prefer"], call.headers["Cancel-After"]) == ("wait=5", "90")

    prediction = await client.deployments.predictions.create("alice/mine", input={})
    call = server.requests[-1]
    assert call.json() == {"input": {}}
    assert "Prefer" not in call.headers
    assert "Cancel-After" not in call.headers


async def test_deployments_in_pages(client: AsyncReplicate, blocking: Replicate) -> None:
    """Deployments are listed in pages, newest first, and iterating continues through all of them."""
    for name in ("one", "two", "three"):
        await client.deployments.create(**{**NEW_DEPLOYMENT, "name": name})
    page = await client.deployments.list()
    assert type(page) is AsyncPage
    assert [type(item) for item in page.results] == [Deployment, Deployment]
    assert [deployment.name for deployment in (await page.get_next_page()).results] == ["one"]
    assert [deployment.name async for deployment in client.deployments.list()] == ["three", "two", "one"]

    blocking_page = blocking.deployments.list()
    assert type(blocking_page) is Page
    assert blocking_page.results == page.results
    assert [deployment.name for deployment in blocking_page] == ["three", "two", "one"]


# --- trainings ---


async def test_training_life(server: LocalServer, client: AsyncReplicate) -> None:
    """A training is created with exactly the given values, and makes a version of its destination."""
    training = await client.trainings.create(
        "alice",
        "base",
        VERSION,
        destination="alice/trained",
        input={"seconds": 0},
        webhook="https://example.com/hook",
        webhook_events_filter=[],
    )
    assert sent(server) == f"trainings.create /v1/models/alice/base/versions/{VERSION}/trainings"
    assert server.requests[-1].json() == {
        "destination": "alice/trained",
        "input": {"seconds": 0},
        "webhook": "https://example.com/hook",
        "webhook_events_filter": [],
    }
    done = await client.trainings.wait(training)
    assert sent(server) == f"trainings.get /v1/trainings/{training.id}"
    assert done.status == "succeeded"
    assert done.output is not None
    assert done.output.version is not None
    owner, _, version = done.output.version.partition("/trained:")
    assert owner == "alice"
    assert (await client.models.versions.get("alice", "trained", version)).id == version
    assert await client.trainings.get(training.id) == done


async def test_training_minimal(server: LocalServer, client: AsyncReplicate) -> None:
    """Omitted arguments are not sent, but an empty input is."""
    await client.trainings.create(**NEW_TRAINING)
    assert server.requests[-1].json() == {"destination": "alice/trained", "input": {}}


async def test_training_canceled(server: LocalServer, client: AsyncReplicate) -> None:
    """A canceled training has ended, and canceling it again changes nothing."""
    training = await client.trainings.create(**{**NEW_TRAINING, "input": {"seconds": 60}})
    canceled = await client.trainings.cancel(training.id)
    assert sent(server) == f"trainings.cancel /v1/trainings/{training.id}/cancel"
    assert canceled.status in {"canceled", "aborted"}
    assert await client.trainings.cancel(training_id=training.id) == canceled


async def test_trainings_in_pages(client: AsyncReplicate, blocking: Replicate) -> None:
    """Trainings are listed in pages, newest first, and iterating continues through all of them."""
    ids = [(await client.trainings.create(**NEW_TRAINING)).id for _ in range(3)][::-1]
    page = await client.trainings.list()
    assert type(page) is AsyncPage
    assert [type(item) for item in page.results] == [Training, Training]
    assert [training.id async for training in client.trainings.list()] == ids

    blocking_page = blocking.trainings.list()
    assert type(blocking_page) is Page
    assert [training.id for training in blocking_page.results] == ids[:2]
    assert [training.id for training in blocking_page] == ids


async def test_wait_for_failed_training(client: AsyncReplicate) -> None:
    """Waiting for a training returns it even if it failed."""
    training = await client.trainings.create(**{**NEW_TRAINING, "input": {"fail": True}})
    done = await client.trainings.wait(training.id)
    assert (done.status, done.error) == ("failed", "no data")


async def test_wait_makes_no_unnecessary_calls(server: LocalServer, client: AsyncReplicate) -> None:
    """A training that has ended is not fetched again; an id needs one fetch."""
    done = await client.trainings.wait(await client.trainings.create(**NEW_TRAINING))
    server.requests.clear()
    assert await client.trainings.wait(done, time_limit=0) is done
    assert server.requests == []
    assert await client.trainings.wait(done.id) == done
    assert [call.operation for call in server.requests] == ["trainings.get"]


@pytest.mark.parametrize("by_id", [True, False])
async def test_wait_with_time_limit(client: AsyncReplicate, by_id: bool) -> None:
    """When the time limit passes, the error has the training's id, and the training continues."""
    training = await client.trainings.create(**{**NEW_TRAINING, "input": {"seconds": 60}})
    with pytest.raises(APITimeoutError, match=r"0\.05 s") as caught:
        await client.trainings.wait(training.id if by_id else training, time_limit=0.05)
    assert caught.value.prediction_id == training.id
    assert not (await client.trainings.get(training.id)).done


async def test_wait_for_unknown_training(client: AsyncReplicate) -> None:
    """Errors of the polling calls have the training's id."""
    with pytest.raises(NotFoundError) as caught:
        await client.trainings.wait("nowhere")
    assert caught.value.prediction_id == "nowhere"


def test_wait_blocking(blocking: Replicate) -> None:
    """The blocking client waits, too."""
    training = blocking.trainings.create(**NEW_TRAINING)
    assert blocking.trainings.wait(training, time_limit=10).status == "succeeded"


# --- read-only resources ---


async def test_collections(server: LocalServer, client: AsyncReplicate, blocking: Replicate) -> None:
    """Collections are listed in pages without their models, and fetched with them."""
    page = await client.collections.list()
    assert type(page) is AsyncPage
    assert sent(server) == "collections.list /v1/collections"
    first = page.results[0]
    assert first.models is None
    slugs = [collection.slug async for collection in client.collections.list()]
    assert slugs == [collection.slug for collection in blocking.collections.list()]
    assert type(blocking.collections.list()) is Page

    collection = await client.collections.get(first.slug)
    assert sent(server) == f"collections.get /v1/collections/{first.slug}"
    assert collection.models is not None
    assert MODEL in {f"{model.owner}/{model.name}" for model in collection.models}
    with pytest.raises(NotFoundError, match="gr%C3%B6%C3%9Fe%202"):
        await client.collections.get(collection_slug="größe 2")
    assert sent(server) == "collections.get /v1/collections/gr%C3%B6%C3%9Fe%202"


async def test_hardware(server: LocalServer, client: AsyncReplicate, blocking: Replicate) -> None:
    """Hardware is a plain list, without pages."""
    hardware = await client.hardware.list()
    assert sent(server) == "hardware.list /v1/hardware"
    assert type(hardware) is list
    assert Hardware(name="CPU", sku="cpu") in hardware
    assert blocking.hardware.list() == hardware


async def test_webhook_secret(server: LocalServer, client: AsyncReplicate, blocking: Replicate) -> None:
    """The secret has its key, which its repr does not show."""
    secret = await client.webhooks.default.secret.get()
    assert sent(server) == "webhooks.default.secret.get /v1/webhooks/default/secret"
    assert secret.key.startswith("whsec_")
    assert secret.key not in repr(secret)
    assert blocking.webhooks.default.secret.get() == secret


async def test_the_query_of_a_search_for_models(client: AsyncReplicate) -> None:
    """The query has two names, one of which is required: ``query``, or the official SDK's ``body``."""
    by_query, by_body = await client.models.search("alice"), await client.models.search(body="alice")
    assert by_query.results == by_body.results
    for wrong in ({}, {"query": "alice", "body": "alice"}):
        with pytest.raises(TypeError, match="query"):
            client.models.search(**wrong)


async def test_search(server: LocalServer, client: AsyncReplicate, blocking: Replicate) -> None:
    """Search finds models, collections and pages; the limit applies to models, and is sent only if it is passed."""
    results = await client.search("alice")
    assert sent(server) == "search /v1/search?query=alice"
    assert {f"{result.model.owner}/{result.model.name}" for result in results.models} == {MODEL, "alice/trained"}
    limited = await client.search(query="alice", limit=1)
    assert sent(server) == "search /v1/search?query=alice&limit=1"
    assert len(limited.models) == 1
    assert [page.name for page in (await client.search("webhooks", limit=50)).pages] == ["Webhooks"]
    assert blocking.search("alice") == results


def test_module_level(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module's resources and its search belong to the default client."""
    monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
    monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)
    replicate_async.default_client.cache_clear()
    try:
        with replicate_async.default_client() as client:
            for name in ("collections", "deployments", "hardware", "trainings", "webhooks"):
                assert getattr(replicate_async, name) is getattr(client, name)
            assert replicate_async.hardware.list() == client.hardware.list()
            assert replicate_async.search(query="alice", limit=1) == client.search("alice", limit=1)
    finally:
        replicate_async.default_client.cache_clear()


# --- invalid arguments ---

OWN_DEPLOYMENT = {"deployment_owner": "alice", "deployment_name": "mine"}
CALLS: Mapping[str, Mapping[str, Any]] = {
    "collections.get": {"collection_slug": "one"},
    "deployments.create": NEW_DEPLOYMENT,
    "deployments.delete": OWN_DEPLOYMENT,
    "deployments.get": OWN_DEPLOYMENT,
    "deployments.predictions.create": {**OWN_DEPLOYMENT, "input": {}},
    "deployments.update": OWN_DEPLOYMENT,
    "search": {"query": "cats"},
    "trainings.cancel": {"training_id": "t1"},
    "trainings.create": NEW_TRAINING,
    "trainings.get": {"training_id": "t1"},
}
IN_PATHS = {"collection_slug", "deployment_owner", "deployment_name", "training_id"} | {
    "model_owner",
    "model_name",
    "version_id",
}


def error_of(server: LocalServer, client: Replicate, operation: str, arguments: Mapping[str, Any], /) -> str:
    """Make a call with invalid arguments, check that nothing is sent, and return the error's type and text."""
    with pytest.raises((TypeError, ValueError)) as caught:
        attrgetter(operation)(client)(**arguments)
    assert server.requests == [], "nothing is sent"
    return f"{caught.type.__name__}: {caught.value}"


@pytest.mark.parametrize(
    ("operation", "name"), [(operation, name) for operation, arguments in CALLS.items() for name in arguments]
)
def test_missing_argument(server: LocalServer, blocking: Replicate, operation: str, name: str) -> None:
    """A missing required argument raises TypeError, which names it."""
    arguments = {key: value for key, value in CALLS[operation].items() if key != name}
    message = error_of(server, blocking, operation, arguments)
    assert message.startswith("TypeError: ")
    assert "missing" in message
    assert name in message


@pytest.mark.parametrize(
    ("operation", "name"),
    [(operation, name) for operation, arguments in CALLS.items() for name in arguments if name in IN_PATHS],
)
@pytest.mark.parametrize(
    ("value", "kind"), [("", "ValueError"), ("a/b", "ValueError"), ("..", "ValueError"), (7, "TypeError")]
)
def test_invalid_path_argument(
    server: LocalServer, blocking: Replicate, operation: str, name: str, value: object, kind: str
) -> None:
    """A path argument that is empty, would leave its segment, or is not a str raises an error that names it."""
    message = error_of(server, blocking, operation, {**CALLS[operation], name: value})
    assert message.startswith(f"{kind}: {name}")


@pytest.mark.parametrize(
    ("operation", "changes", "message"),
    [
        *(
            (operation, {name: value}, message)
            for operation in ("deployments.create", "deployments.update")
            for name in ("min_instances", "max_instances")
            for value, message in [
                (-1, f"ValueError: {name}=-1 must not be negative"),
                (1.0, f"TypeError: {name} must be an int, not float"),
                ("1", f"TypeError: {name} must be an int, not str"),
                (True, f"TypeError: {name} must be an int, not bool"),
            ]
        ),
        ("deployments.create", {"min_instances": None}, "TypeError: min_instances must be an int, not NoneType"),
        *(
            (operation, changes, message)
            for operation in ("deployments.predictions.create", "trainings.create")
            for changes, message in [
                ({"input": ["cat"]}, "TypeError: input must be a mapping"),
                ({"input": {"a": [1, 1j]}}, "TypeError: input.a[1] can't be encoded as JSON"),
                ({"webhook_events_filter": ["done"]}, "ValueError: webhook_events_filter='done' is not one of 'start'"),
                ({"webhook_events_filter": "start"}, "TypeError: webhook_events_filter must be a list"),
            ]
        ),
        ("deployments.predictions.create", {"prefer": "wait=61"}, "ValueError: prefer='wait=61' must be"),
        ("deployments.predictions.create", {"cancel_after": "4s"}, "ValueError: cancel_after='4s' must be at least 5"),
        ("trainings.create", {"destination": ""}, "ValueError: destination must not be empty"),
        ("search", {"query": ""}, "ValueError: query must not be empty"),
        ("search", {"query": 7}, "TypeError: query must be a str, not int"),
        ("search", {"limit": 0}, "ValueError: limit=0 must be from 1 to 50"),
        ("search", {"limit": 51}, "ValueError: limit=51 must be from 1 to 50"),
        ("search", {"limit": "5"}, "TypeError: limit must be an int, not str"),
        ("search", {"limit": 5.0}, "TypeError: limit must be an int, not float"),
        ("search", {"limit": True}, "TypeError: limit must be an int, not bool"),
        # A misspelled argument of a call that only has options otherwise.
        ("trainings.get", {"time_out": 5}, "TypeError: unexpected argument 'time_out'"),
    ],
    ids=lambda value: "-".join(f"{key}={item!r}" for key, item in value.items()) if isinstance(value, dict) else None,
)
def test_invalid_argument(
    server: LocalServer, blocking: Replicate, operation: str, changes: Mapping[str, Any], message: str
) -> None:
    """Values that the API does not accept raise an error that names the argument, and nothing is sent."""
    assert error_of(server, blocking, operation, {**CALLS[operation], **changes}).startswith(message)


def test_owner_without_name(server: LocalServer, blocking: Replicate) -> None:
    """A single argument must be "owner/name", and both of its parts are checked."""
    for operation in ("deployments.get", "deployments.delete", "deployments.update"):
        message = error_of(server, blocking, operation, {"deployment_owner": "alice"})
        assert message.startswith("TypeError: missing argument deployment_name")
        for value, name in [("alice/", "deployment_name"), ("/mine", "deployment_owner"), ("a/b/c", "deployment_name")]:
            message = error_of(server, blocking, operation, {"deployment_owner": value})
            assert message.startswith(f"ValueError: {name}")


async def test_invalid_argument_of_the_asynchronous_client(server: LocalServer, client: AsyncReplicate) -> None:
    """The asynchronous client checks arguments like the blocking one."""
    with pytest.raises(ValueError, match="limit=51"):
        await client.search("cats", limit=51)
    with pytest.raises(ValueError, match="min_instances"):
        await client.deployments.update("alice/mine", min_instances=-1)
    assert server.requests == []
