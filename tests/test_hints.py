"""Attributes of the official SDK: the error says what to write, and settings are never ignored in silence."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from typing import Any

import pytest

import replicate_async
from replicate_async import AsyncReplicate, Replicate, errors, types

PREDICTION = types.Prediction(id="p1", status="starting", created_at=replicate_async.types.datetime.min)
CASES: list[tuple[Any, str, str]] = [
    (PREDICTION, "reload", "client.predictions.get(prediction)"),
    (PREDICTION, "async_reload", "await client.predictions.get(prediction)"),
    (PREDICTION, "wait", "client.predictions.wait(prediction)"),
    (PREDICTION, "async_wait", "await client.predictions.wait(prediction)"),
    (PREDICTION, "cancel", "client.predictions.cancel(prediction)"),
    (PREDICTION, "stream", "client.predictions.stream(prediction)"),
    (PREDICTION, "output_iterator", "client.predictions.stream(prediction)"),
    (PREDICTION, "dict", "prediction.to_dict()"),
    (PREDICTION, "model_dump", "prediction.to_dict()"),
    (types.Training(id="t1", status="starting"), "reload", "client.trainings.get(training)"),
    (types.Model(owner="a", name="b"), "versions", "client.models.versions.list(model)"),
    (types.Model(owner="a", name="b"), "predict", "client.run(model"),
    (types.Model(owner="a", name="b"), "id", "{model.owner}/{model.name}"),
    (types.Deployment(owner="a", name="b"), "predictions", "client.deployments.predictions.create(deployment"),
    (types.Hardware(name="CPU", sku="cpu"), "id", "hardware.sku"),
    (errors.NotFoundError("gone", status_code=404), "response", "status_code"),
    (replicate_async, "async_run", "await run(...) of an AsyncReplicate"),
    (replicate_async, "async_stream", "await stream(...) of an AsyncReplicate"),
    (replicate_async, "paginate", "iter_pages()"),
    (replicate_async, "NOT_GIVEN", "omit the argument"),
    (replicate_async, "exceptions", "replicate_async.errors"),
]
CLIENT_CASES = [
    ("async_run", "await run(...) of an AsyncReplicate"),
    ("accounts", "client.account.get()"),
    ("poll_interval", "adapts"),
    ("paginate", "first_page.iter_pages(), where first_page ="),
    ("bearer_token", "with_options(bearer_token=...)"),
    ("predictions.async_create", "await create(...) of an AsyncReplicate"),
    ("models.async_get", "await get(...) of an AsyncReplicate"),
    ("account.current", "client.account.get()"),
    ("webhooks.validate", "verify_webhook"),
    ("webhooks.default.async_secret", "await client.webhooks.default.secret.get()"),
]


@pytest.fixture(params=[Replicate, AsyncReplicate])
def client(request: pytest.FixtureRequest) -> Iterator[Any]:
    return request.param(bearer_token="r8_test")


def check(thing: Any, name: str, remedy: str) -> None:
    assert not hasattr(thing, name)
    with pytest.raises(AttributeError) as caught:
        getattr(thing, name)
    assert remedy in str(caught.value)
    assert "replicate_async.compat" in str(caught.value)


@pytest.mark.parametrize(("thing", "name", "remedy"), CASES, ids=[f"{type(c[0]).__name__}.{c[1]}" for c in CASES])
def test_names_of_the_official_sdk(thing: Any, name: str, remedy: str) -> None:
    """An attribute that only the official SDK has is missing, and the error says what to write."""
    check(thing, name, remedy)


@pytest.mark.parametrize(("path", "remedy"), CLIENT_CASES)
def test_names_of_official_clients(client: Any, path: str, remedy: str) -> None:
    """The same for the clients and their resources."""
    *parents, name = path.split(".")
    for parent in parents:
        client = getattr(client, parent)
    check(client, name, remedy)


def test_other_names_get_no_hint(client: Any) -> None:
    """A name that nobody has gives the ordinary error."""
    for thing in (client, client.predictions, PREDICTION, replicate_async):
        with pytest.raises(AttributeError, match=r"has no attribute 'nothing'$"):
            _ = thing.nothing


@pytest.mark.parametrize(
    "name", ["bearer_token", "api_token", "_api_token", "base_url", "timeout", "max_retries", "default_headers"]
)
def test_settings_are_never_ignored(client: Any, name: str) -> None:
    """Assigning an option to a client, to the module or to its default client raises: another token would be used."""
    for thing in (client, replicate_async, replicate_async.default_client):
        with pytest.raises(AttributeError, match="with_options"):
            setattr(thing, name, "r8_other")
    assert not hasattr(replicate_async, name)


def test_the_default_client_is_not_replaced_in_silence(client: Any) -> None:
    """Assigning a client to ``default_client`` raises; tests can still put a function there."""
    with pytest.raises(AttributeError, match="create a Replicate"):
        replicate_async.default_client = client
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(replicate_async, "default_client", lambda: client)
        assert replicate_async.default_client() is client
    assert replicate_async.default_client.cache_info().maxsize is None


def test_the_default_client_is_a_function() -> None:
    """Version 1 has a client in its place: the error says to call it."""
    with pytest.raises(AttributeError, match=r"write default_client\(\)\.predictions$"):
        _ = replicate_async.default_client.predictions


def test_tests_can_replace_calls(client: Any) -> None:
    """Calls of clients and of the module can be replaced, as tests of programs do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "run", lambda *_: "fake")
        patch.setattr("replicate_async.run", lambda *_: "fake")
        assert client.run("a/b") == replicate_async.run("a/b") == "fake"


def test_the_root_error_has_the_problem() -> None:
    """Every error has a status, a title and a detail; programs can raise the root with them, as tests do."""
    error = errors.ReplicateError(status=429, title="Too many", detail="wait")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.status, copy.title, copy.detail, copy.message) == (429, "Too many", "wait", "Too many: wait")
    assert str(errors.ReplicateError("no token")) == "no token"
    for other in (errors.ModelError(PREDICTION), errors.APIConnectionError("lost"), errors.ReplicateError("x")):
        assert (other.status, other.title, other.detail) == (None, None, None)
    assert errors.NotFoundError("gone", status_code=404, detail="no such model").detail == "no such model"


@pytest.mark.anyio
@pytest.mark.parametrize("argument", ["model", "deployment"])
async def test_creates_by_model(argument: str) -> None:
    """The official ``predictions.create(model=...)`` raises, and the error says which call it is here."""
    options: Any = {argument: "owner/name", "input": {}}
    with pytest.raises(TypeError, match=rf"client\.{argument}s\.predictions\.create") as blocking:
        Replicate(bearer_token="r8_test").predictions.create(**options)
    async with AsyncReplicate(bearer_token="r8_test") as client:
        with pytest.raises(TypeError) as caught:
            await client.predictions.create(**options)
    assert str(caught.value) == str(blocking.value)
