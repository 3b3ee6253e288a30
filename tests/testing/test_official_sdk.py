"""The official SDK, which was written independently of this server, uses every operation."""

# ruff: noqa: T201 (models may print)

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import replicate
from replicate.exceptions import ModelError
from replicate.lib._predictions_use import use

from replicate_async.testing import LocalServer, OutputFile, models
from replicate_async.testing._routes import OPERATIONS

VERSION = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Iterator[LocalServer]:
    """A server with the demonstration models; a parameter has further options."""
    with LocalServer(username="alice", page_size=2, **getattr(request, "param", {})) as server:
        models.register(server)

        @server.model("alice/mine", visibility="private", version="ef" * 32)
        def private_model(text: str = "nobody") -> str:
            return f"my {text}"

        yield server


@pytest.fixture
def client(server: LocalServer) -> Iterator[replicate.Replicate]:
    with replicate.Replicate(bearer_token=server.token, base_url=server.base_url, max_retries=0) as client:
        yield client


def operations(server: LocalServer) -> list[str]:
    return [request.operation for request in server.requests]


def test_every_operation_has_a_test_here() -> None:
    """The tests of this module name every operation of the table at least once."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert not [operation.name for operation in OPERATIONS if f'"{operation.name}"' not in text]


def test_predictions(server: LocalServer, client: Any) -> None:
    """Create, get, list with filters across pages, and cancel; a finished prediction stays finished."""
    reference = f"replicate/hello-world:{VERSION}"
    created = [
        client.predictions.create(version=version, input={"text": "Alice"}, prefer="wait=5", cancel_after="1m")
        for version in (reference, VERSION, reference)
    ]
    assert [prediction.output for prediction in created] == ["hello Alice"] * 3
    assert created[0].deadline is not None
    assert (created[0].deadline - created[0].created_at).total_seconds() == 60
    assert client.predictions.get(prediction_id=created[0].id).metrics.predict_time >= 0
    listed = [prediction.id for prediction in client.predictions.list()]
    assert listed == [prediction.id for prediction in reversed(created)]
    later = client.predictions.list(created_after=created[1].created_at)
    assert [prediction.id for prediction in later] == listed[:2]
    earlier = client.predictions.list(created_before=created[1].created_at)
    assert [prediction.id for prediction in earlier] == listed[2:]
    assert client.predictions.cancel(prediction_id=created[0].id).status == "succeeded"
    assert set(operations(server)) == {
        "predictions.create",
        "predictions.get",
        "predictions.list",
        "predictions.cancel",
    }


@pytest.mark.parametrize("server", [{"files": "data"}], indirect=True)
def test_run(server: LocalServer, client: Any) -> None:
    """run() by name and by version returns the output; a failed model raises an error.

    To this SDK, a URL is only a file if it is a data URI or starts with https.
    """

    @server.model("alice/broken", official=True)
    def broken() -> str:
        raise RuntimeError("out of paint")

    # Community models don't run by name.
    with pytest.raises(replicate.NotFoundError):
        client.run("replicate/hello-world", input={"text": "Bob"})
    assert client.run(f"replicate/hello-world:{VERSION}", input={"text": "Bob"}) == "hello Bob"
    image = client.run("replicate-local/gradient", input={"width": 3, "height": 2})
    assert image.read().startswith(b"\x89PNG")
    with pytest.raises(ModelError, match="out of paint"):
        client.run("alice/broken", input={})


def test_use(server: LocalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """use() reads the model's schema: streamed strings are joined, or come one by one with streaming=True."""
    monkeypatch.setenv("REPLICATE_API_TOKEN", server.token)
    monkeypatch.setenv("REPLICATE_BASE_URL", server.base_url)

    class Quick(replicate.Replicate):
        poll_interval = 0.01

    server.model("alice/hidden", official=True)(models.stream_text)
    # Official models show no version, without which this SDK can't use them.
    with pytest.raises(ValueError, match="has no version"):
        use(Quick, "alice/hidden")()
    server.model("alice/stream-text", version="cd" * 32)(models.stream_text)
    name = f"alice/stream-text:{'cd' * 32}"
    text: Any = use(Quick, name)
    assert text(prompt="one two three", delay=0) == "one two three"
    stream: Any = use(Quick, name, streaming=True)
    assert list(stream(prompt="one two three", delay=0.02)) == ["one", " two", " three"]
    hello: Any = use(Quick, f"replicate/hello-world:{VERSION}")
    assert hello(text="Bob") == "hello Bob"


def test_models(server: LocalServer, client: Any) -> None:
    """A model can be created, fetched, listed, searched, changed and deleted."""
    created = client.models.create(owner="alice", name="hot-dog", visibility="private", hardware="cpu", description="d")
    assert (created.owner, created.run_count, created.latest_version) == ("alice", 0, None)
    changed = client.models.update(model_owner="alice", model_name="hot-dog", description="e", readme="# Hot dog")
    assert (changed.description, changed.visibility) == ("e", "private")
    assert client.models.readme.get(model_owner="alice", model_name="hot-dog") == "# Hot dog"
    assert client.models.get(model_owner="alice", model_name="hot-dog").description == "e"
    client.models.delete(model_owner="alice", model_name="hot-dog")
    with pytest.raises(replicate.NotFoundError, match="could not be found"):
        client.models.get(model_owner="alice", model_name="hot-dog")
    oldest_first = [model.name for model in client.models.list(sort_by="model_created_at", sort_direction="asc")]
    assert oldest_first == ["hello-world", "stream-text", "gradient"]
    assert [model.name for model in client.models.list()] == oldest_first[::-1]
    assert [model.name for model in client.models.search(body="hello")] == ["hello-world"]
    assert [model.name for model in client.models.search(body="replicate")] == oldest_first[::-1]
    (example,) = client.models.examples.list(model_owner="replicate", model_name="hello-world")
    assert (example.input, example.output) == ({"text": "Alice"}, "hello Alice")
    assert set(operations(server)) == {
        *("models.create", "models.update", "models.readme.get", "models.get", "models.delete", "models.list"),
        *("models.search", "models.examples.list"),
    }


def test_versions(server: LocalServer, client: Any) -> None:
    """Versions can be listed, fetched and deleted; deleting a version deletes its predictions."""
    name = {"model_owner": "alice", "model_name": "mine"}
    (version,) = client.models.versions.list(**name)
    assert client.models.versions.get(**name, version_id=version.id).openapi_schema == version.openapi_schema
    client.predictions.create(version=version.id, input={}, prefer="wait")
    assert len(server.predictions) == 1
    assert client.models.versions.delete(**name, version_id=version.id) is None
    assert client.models.versions.list(**name).results == []
    assert not server.predictions
    with pytest.raises(replicate.NotFoundError):
        client.models.predictions.create(**name, input={})
    official = {"model_owner": "replicate-local", "model_name": "gradient"}
    assert client.models.predictions.create(**official, input={}).version == "hidden"
    with pytest.raises(replicate.NotFoundError):
        client.models.versions.list(**official)
    assert set(operations(server)) == {
        *("models.versions.list", "models.versions.get", "models.predictions.create", "models.versions.delete"),
        "predictions.create",
    }


def test_deployments(server: LocalServer, client: Any) -> None:
    """A deployment can be created, fetched, listed, changed, run and deleted; each change creates a release."""
    deployment = client.deployments.create(
        hardware="cpu", max_instances=2, min_instances=0, model="replicate/hello-world", name="hello", version=VERSION
    )
    name = {"deployment_owner": "alice", "deployment_name": "hello"}
    assert deployment.current_release.number == 1
    changed = client.deployments.update(**name, min_instances=1).current_release
    assert (changed.number, changed.configuration.min_instances, changed.configuration.max_instances) == (2, 1, 2)
    assert client.deployments.get(**name).to_dict() == client.deployments.list().results[0].to_dict()
    assert [each.name for each in client.deployments.list()] == ["hello"]
    prediction = client.deployments.predictions.create(**name, input={"text": "Bob"}, prefer="wait")
    assert (prediction.output, prediction.deployment, prediction.version) == ("hello Bob", "alice/hello", VERSION)
    assert client.deployments.delete(**name) is None
    with pytest.raises(replicate.NotFoundError):
        client.deployments.get(**name)
    assert set(operations(server)) == {
        *("deployments.create", "deployments.update", "deployments.get", "deployments.list", "deployments.delete"),
        "deployments.predictions.create",
    }


def test_files(server: LocalServer, client: Any) -> None:
    """A file can be created, fetched, listed, downloaded with a signature, and deleted."""
    # Without metadata: this SDK sends form fields (metadata[customer]=7) instead of the documented JSON part.
    file = client.files.create(content=b"\r\nPK\0 --raw", filename="ra w-é.zip", type="application/zip")
    assert (file.content_type, file.size, file.name) == ("application/zip", 11, "ra w-é.zip")
    assert client.files.get(file_id=file.id).to_dict() == file.to_dict()
    assert [each.id for each in client.files.list()] == [file.id]
    signed = server.sign_download(file.id)
    content = client.files.download(
        file_id=file.id, owner=signed["owner"], expiry=int(signed["expiry"]), signature=signed["signature"]
    )
    assert content.read() == b"\r\nPK\0 --raw"
    assert client.files.delete(file_id=file.id) is None
    with pytest.raises(replicate.NotFoundError):
        client.files.get(file_id=file.id)
    assert set(operations(server)) == {"files.create", "files.get", "files.list", "files.download", "files.delete"}


def test_files_as_inputs(server: LocalServer, client: Any, tmp_path: Path) -> None:
    """A file that the SDK uploads, or sends as a data URI, reaches a model as a path."""

    @server.model("alice/size", official=True)
    def size(file: Path) -> int:
        return len(file.read_bytes())

    (tmp_path / "three.bin").write_bytes(b"abc")
    assert client.run("alice/size", input={"file": tmp_path / "three.bin"}) == 3
    assert "files.create" in operations(server)
    assert client.run("alice/size", input={"file": tmp_path / "three.bin"}, file_encoding_strategy="base64") == 3


def test_trainings(server: LocalServer, client: Any) -> None:
    """A training creates a version of its destination that can run; a running training can be canceled."""

    def train(steps: int) -> OutputFile:
        print("training")
        return OutputFile(b"w" * steps, name="weights.bin")

    server.model("replicate/trainable", version="ab" * 32, train=train)(models.hello_world)
    server.model("replicate/slow", version="cd" * 32, startup=60)(models.hello_world)
    where = {"model_owner": "replicate", "version_id": "ab" * 32, "model_name": "trainable"}
    training = client.trainings.create(**where, destination="alice/mine", input={"steps": 3})
    assert training.status == "starting"
    deadline = 500
    while training.completed_at is None and (deadline := deadline - 1):
        training = client.trainings.get(training_id=training.id)
    assert (training.status, training.logs) == ("succeeded", "training\n")
    assert httpx.get(training.output.weights).content == b"www"
    assert client.run(training.output.version, input={"text": "Bob"}) == "hello Bob"
    slow = {"model_owner": "replicate", "version_id": "cd" * 32, "model_name": "slow"}
    second = client.trainings.create(**slow, destination="alice/mine", input={})
    assert client.trainings.cancel(training_id=second.id).status == "aborted"
    assert [each.id for each in client.trainings.list()] == [second.id, training.id]
    assert set(operations(server)) > {"trainings.create", "trainings.get", "trainings.cancel", "trainings.list"}


def test_the_rest(server: LocalServer, client: Any) -> None:
    """Account, hardware, collections, search and the webhook secret return useful data."""
    assert client.account.get().username == "alice"
    assert {"cpu", "gpu-t4"} <= {hardware.sku for hardware in client.hardware.list()}
    (collection,) = client.collections.list()
    names = {model.name for model in client.collections.get(collection_slug=collection.slug).models}
    assert names == {"hello-world", "stream-text", "gradient"}
    results = client.search(query="local", limit=50)
    assert {entry.model.name for entry in results.models} == {"stream-text", "gradient"}
    assert [each.slug for each in results.collections] == ["local-models"]
    assert client.webhooks.default.secret.get().key.startswith("whsec_")
    assert set(operations(server)) == {
        *("account.get", "hardware.list", "collections.list", "collections.get", "search"),
        "webhooks.default.secret.get",
    }


def test_errors(server: LocalServer, client: Any) -> None:
    """Error responses become the SDK's own errors."""
    with pytest.raises(replicate.AuthenticationError, match="valid authentication token"):
        client.with_options(bearer_token="wrong").account.get()
    with pytest.raises(replicate.UnprocessableEntityError, match="text is required"):
        client.predictions.create(version=VERSION, input={})
    with pytest.raises(replicate.NotFoundError):
        client.get("/custom/endpoint", cast_to=httpx.Response)
