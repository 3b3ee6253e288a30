"""A program for version 1.0.7 of the official SDK, which uses every operation that it has. Not a test by itself."""

from __future__ import annotations

import asyncio
import io
import sys
import time
from importlib.metadata import version
from typing import Any

from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

url, token, hello_version, trainable_version, slow_version = sys.argv[1:]
client: Any = Client(api_token=token, base_url=url)
assert version("replicate") == "1.0.7"


def failure(call: Any) -> Any:
    """Return the error that a call raises."""
    try:
        call()
    except (ModelError, ReplicateError) as error:
        return error
    raise AssertionError("it did not fail")


def predictions() -> None:
    """Create, get, list, cancel and stream; run and async_run."""
    created = client.predictions.create(version=hello_version, input={"text": "Alice"})
    assert created.status == "starting"
    created.wait()
    assert (created.status, created.output) == ("succeeded", "hello Alice"), created
    assert client.predictions.get(created.id).metrics["predict_time"] >= 0
    assert [each.id for each in client.predictions.list()] == [created.id]
    by_name = client.models.predictions.create(("replicate-local", "stream-text"), input={"prompt": "a b", "delay": 0})
    assert client.predictions.cancel(by_name.id).status in {"canceled", "aborted", "succeeded"}
    assert client.run(f"replicate/hello-world:{hello_version}", input={"text": "Bob"}) == "hello Bob"
    image = client.run("replicate-local/gradient", input={"width": 3, "height": 2})
    assert image.read().startswith(b"\x89PNG")
    assert "".join(client.run("replicate-local/stream-text", input={"prompt": "one two", "delay": 0})) == "one two"
    events = list(client.stream("replicate-local/stream-text", input={"prompt": "one two", "delay": 0}))
    assert [str(event) for event in events if event.event.value == "output"] == ["one", " two"]
    assert asyncio.run(client.async_run(f"replicate/hello-world:{hello_version}", input={"text": "B"})) == "hello B"
    assert "out of paint" in str(failure(lambda: client.run("alice/broken", input={})))
    # Community models don't run by name.
    assert failure(lambda: client.run("replicate/hello-world", input={"text": "Bob"})).status == 404
    invalid = failure(lambda: client.predictions.create(version=hello_version, input={}))
    assert (invalid.status, invalid.title) == (422, "Input validation failed")
    body = {"version": hello_version, "input": {"text": "a"}, "lifetime": 3}
    unknown = failure(lambda: client._request("POST", "/v1/predictions", json=body))
    assert "Additional property lifetime is not allowed" in (unknown.detail or "")


def models() -> None:
    """Models and their versions."""
    created = client.models.create(owner="alice", name="new", visibility="private", hardware="cpu", description="d")
    assert (created.owner, created.run_count, created.latest_version) == ("alice", 0, None)
    assert client.models.delete("alice/new") in {True, None}
    names = [model.name for model in client.models.list()]
    assert "hello-world" in names
    assert "hello-world" in [model.name for model in client.models.search("hello")]
    model = client.models.get("replicate/hello-world")
    (version,) = model.versions.list()
    assert model.versions.get(version.id).openapi_schema == version.openapi_schema
    mine = client.models.get("alice/mine")
    # This version of the SDK expects another status for success than the API documents, and returns False.
    mine.versions.delete(mine.latest_version.id)
    assert list(mine.versions.list()) == []
    assert failure(client.models.get("replicate-local/gradient").versions.list).status == 404


def deployments() -> None:
    """Deployments and their predictions."""
    made = client.deployments.create(
        name="hello",
        model="replicate/hello-world",
        version=hello_version,
        hardware="cpu",
        min_instances=0,
        max_instances=1,
    )
    assert made.current_release.number == 1
    changed = client.deployments.update("alice", "hello", min_instances=1)
    assert changed.current_release.configuration.min_instances == 1
    assert client.deployments.get("alice/hello").name == "hello"
    assert [each.name for each in client.deployments.list()] == ["hello"]
    prediction = client.deployments.predictions.create("alice/hello", input={"text": "Bob"})
    prediction.wait()
    assert prediction.output == "hello Bob"
    refused = failure(lambda: client.deployments.update("alice", "hello", min_instances=6))
    assert "Must be less than or equal to 5" in (refused.detail or "")
    assert client.deployments.delete("alice", "hello")


def files() -> None:
    """Files, by themselves and as inputs."""
    file = client.files.create(io.BytesIO(b"abc"), filename="a.bin", content_type="application/zip")
    assert (file.name, file.size) == ("a.bin", 3)
    assert client.files.get(file.id).checksums["sha256"]
    assert [each.id for each in client.files.list()] == [file.id]
    assert client.files.delete(file.id)
    assert client.run("alice/size", input={"file": io.BytesIO(b"abcd")}) == 4


def trainings() -> None:
    """Trainings."""
    training = client.trainings.create(
        model="replicate/trainable", version=trainable_version, input={"steps": 3}, destination="alice/target"
    )
    assert training.status == "starting"
    for _ in range(500):
        training.reload()
        if training.status == "succeeded":
            break
        time.sleep(0.01)
    assert training.status == "succeeded", training
    slow = client.trainings.create(model="replicate/slow", version=slow_version, input={}, destination="alice/target")
    # This version of the SDK doesn't know the status of what is canceled before its start.
    while client.trainings.get(slow.id).status == "starting":
        time.sleep(0.01)
    assert client.trainings.cancel(slow.id).status == "canceled"
    assert client.trainings.get(slow.id).status == "canceled"
    assert [each.id for each in client.trainings.list()] == [slow.id, training.id]


def others() -> None:
    """Everything else."""
    assert client.accounts.current().username == "alice"
    assert "cpu" in {hardware.sku for hardware in client.hardware.list()}
    (collection,) = client.collections.list()
    assert client.collections.get(collection.slug).models
    assert client.webhooks.default.secret().key.startswith("whsec_")


client.poll_interval = 0.01
for part in (predictions, models, deployments, files, trainings, others):
    part()
print("done")  # noqa: T201
