"""Rules for models, deployments, trainings and files, beyond the tests with the official SDK."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from replicate_async.testing import VirtualClock, models

from .conftest import Caller, form

pytestmark = pytest.mark.anyio

MODEL: dict[str, Any] = {"owner": "local", "name": "mine", "visibility": "private", "hardware": "cpu"}
DEPLOYMENT: dict[str, Any] = {
    "name": "hello",
    "model": "replicate/hello-world",
    "version": "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426",
    "hardware": "cpu",
    "min_instances": 0,
    "max_instances": 0,
}


async def test_model_fields(call: Caller) -> None:
    """A model has the fields that it was created or updated with; null is refused."""
    about = {key: f"https://example.com/{key}" for key in ("github_url", "paper_url", "license_url", "cover_image_url")}
    created = await call("POST", "/models", {**MODEL, **about, "description": "d"})
    assert created.status == 201
    assert {key: created.data[key] for key in about} == about
    assert created.data["url"] == "https://replicate.com/local/mine"
    assert (await call("PATCH", "/models/local/mine", {"description": None})).status == 422
    changed = await call("PATCH", "/models/local/mine", {"description": "", "weights_url": "https://example.com/w"})
    assert (changed.status, changed.data["description"]) == (200, "")
    assert (await call("GET", "/models/local/mine")).data["weights_url"] == "https://example.com/w"
    assert (await call("PATCH", "/models/local/mine", {})).data == changed.data


@pytest.mark.parametrize(
    ("change", "status", "reason"),
    [
        ({"visibility": "secret"}, 422, "visibility"),
        ({"hardware": "abacus"}, 422, 'hardware must be one of the following: "cpu", "gpu-t4"'),
        ({"owner": "someone"}, 403, "permission"),
        ({"name": "a b"}, 422, "name"),
        ({"name": "taken"}, 409, "already exists"),
        ({"name": None}, 422, "- name: Invalid type. Expected: string, given: null"),
    ],
)
async def test_bad_models(call: Caller, change: dict[str, Any], status: int, reason: str) -> None:
    """An invalid model is refused with the name of the invalid field."""
    assert (await call("POST", "/models", {**MODEL, "name": "taken"})).status == 201
    answer = await call("POST", "/models", {**MODEL, **change})
    assert (answer.status, reason in answer.data["detail"]) == (status, True)


async def test_what_can_be_deleted(call: Caller) -> None:
    """Only own private models without versions can be deleted; versions can, unless they are deployed."""
    models.register(call.server)
    call.server.model("local/public", version="ab" * 32)(models.hello_world)
    call.server.model("local/private", version="cd" * 32, visibility="private")(models.hello_world)
    assert (await call("DELETE", "/models/replicate/hello-world")).status == 403
    assert (await call("DELETE", "/models/local/public")).status == 403
    assert (await call("DELETE", "/models/local/private")).status == 409
    version = f"/models/local/private/versions/{'cd' * 32}"
    deployment = {**DEPLOYMENT, "model": "local/private", "version": "cd" * 32}
    assert (await call("POST", "/deployments", deployment)).status == 200
    assert (await call("DELETE", version)).status == 409
    assert (await call("DELETE", "/deployments/local/hello")).status == 204
    answer = await call("DELETE", version)
    assert (answer.status, answer.body) == (202, b"")
    assert (await call("GET", version)).status == 404
    answer = await call("DELETE", "/models/local/private")
    assert (answer.status, answer.body) == (204, b"")
    assert (await call("GET", "/models/local/private")).status == 404


async def test_official_versions(call: Caller) -> None:
    """The versions of official models are hidden, although the model of a tidy server contains its latest version."""
    call.server.model("me/official", official=True)(models.hello_world)
    model = (await call("GET", "/models/me/official")).data
    assert model["is_official"] is True
    assert model["latest_version"]["openapi_schema"]["components"]["schemas"]["Input"]["required"] == ["text"]
    assert (await call("GET", "/models/me/official/versions")).status == 404


async def test_several_versions(call: Caller) -> None:
    """Registering a name again adds a version, which becomes the latest; with the same id, it replaces the version."""
    call.server.model("me/two", version="ab" * 32, description="first")(models.hello_world)
    call.server.model("me/two", version="cd" * 32)(models.stream_text)
    page = (await call("GET", "/models/me/two/versions")).data
    assert [version["id"] for version in page["results"]] == ["cd" * 32, "ab" * 32]
    model = (await call("GET", "/models/me/two")).data
    assert (model["latest_version"]["id"], model["description"]) == ("cd" * 32, "Stream a text, word by word.")
    call.server.model("me/two", version="ab" * 32)(lambda: "replaced")
    body = {"version": "ab" * 32, "input": {}}
    assert (await call("POST", "/predictions", body, headers={"Prefer": "wait"})).data["output"] == "replaced"
    again = (await call("GET", "/models/me/two/versions")).data
    assert [version["id"] for version in again["results"]] == ["cd" * 32, "ab" * 32]
    assert (await call("GET", "/models/me/two")).data["latest_version"]["id"] == "cd" * 32


async def test_pushing_to_a_created_model(call: Caller) -> None:
    """A function can be registered for a model that was created through the API, which stays private."""
    await call("POST", "/models", MODEL)
    call.server.model("local/mine")(models.hello_world)
    model = (await call("GET", "/models/local/mine")).data
    assert (model["visibility"], model["latest_version"] is not None) == ("private", True)
    assert (await call.run("local/mine", text="a"))["output"] == "hello a"


async def test_private_models_are_not_listed(call: Caller) -> None:
    """Private models are not in lists, collections or searches, but can be run."""
    call.server.model("local/hidden", visibility="private")(models.hello_world)
    assert (await call("GET", "/models")).data["results"] == []
    assert (await call("GET", "/collections/local-models")).data["models"] == []
    assert (await call("GET", "/search?query=hidden")).data["models"] == []
    assert (await call("QUERY", "/models", data=b"hidden")).data["results"] == []
    assert (await call.run("local/hidden", text="a"))["output"] == "hello a"


async def test_examples(call: Caller) -> None:
    """Examples are saved predictions, the first is the default example; they don't count as predictions."""
    models.register(call.server)
    (example,) = (await call("GET", "/models/replicate/hello-world/examples")).data["results"]
    assert (example["input"], example["output"], example["status"]) == ({"text": "Alice"}, "hello Alice", "succeeded")
    assert example["urls"]["get"].startswith(call.server.base_url)
    model = (await call("GET", "/models/replicate/hello-world")).data
    assert (model["default_example"], model["run_count"]) == (example, 0)
    assert not call.server.predictions


async def test_readme(call: Caller) -> None:
    """A README is plain text."""
    call.server.model("me/documented", readme="# Ünïcode")(models.hello_world)
    answer = await call("GET", "/models/me/documented/readme")
    assert (answer.headers["Content-Type"].split(";")[0], answer.body.decode()) == ("text/plain", "# Ünïcode")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "Hello"}, "name"),
        ({"name": "-a"}, "name"),
        ({"model": "me/nothing"}, "specified version does not exist"),
        ({"version": "ab" * 32}, "specified version does not exist"),
        ({"hardware": "abacus"}, "hardware"),
        ({"min_instances": 2, "max_instances": 1}, "min_instances"),
        ({"min_instances": -1}, "min_instances"),
        ({"max_instances": "1"}, "max_instances"),
    ],
)
async def test_bad_deployments(call: Caller, change: dict[str, Any], reason: str) -> None:
    """An invalid deployment is a 422 that names the field, when it is created or changed."""
    models.register(call.server)
    answer = await call("POST", "/deployments", {**DEPLOYMENT, **change})
    assert (answer.status, reason in answer.data["detail"]) == (422, True)
    assert (await call("POST", "/deployments", DEPLOYMENT)).status == 200
    assert (await call("POST", "/deployments", DEPLOYMENT)).status == 409
    if not {"name", "model"} & change.keys():
        assert (await call("PATCH", "/deployments/local/hello", change)).status == 422
        assert (await call("GET", "/deployments/local/hello")).data["current_release"]["number"] == 1


async def test_deployment_releases(call: Caller) -> None:
    """A change creates a release with the next number; other fields stay, and zero is a value."""
    models.register(call.server)
    release = (await call("POST", "/deployments", {**DEPLOYMENT, "max_instances": 3})).data["current_release"]
    assert release["created_by"]["username"] == "local"
    changed = (await call("PATCH", "/deployments/local/hello", {"max_instances": 0})).data["current_release"]
    assert changed["number"] == 2
    assert changed["configuration"] == {"hardware": "cpu", "min_instances": 0, "max_instances": 0}
    assert (changed["model"], changed["version"]) == (release["model"], release["version"])


async def test_training_failures(call: Caller) -> None:
    """A training whose function raises an error fails, and creates no version."""

    def train(steps: int) -> None:
        raise RuntimeError(f"diverged after {steps}")

    call.server.model("me/base", version="ab" * 32, train=train)(models.hello_world)
    await call("POST", "/models", MODEL)
    path = f"/models/me/base/versions/{'ab' * 32}/trainings"
    assert (await call("POST", path, {"destination": "local/nothing", "input": {}})).status == 404
    assert (await call("POST", path, {"destination": "me/base", "input": {}})).status == 403
    assert (await call("POST", path, {"destination": "local/mine", "input": {"steps": "x"}})).status == 422
    answer = await call("POST", path, {"destination": "local/mine", "input": {"steps": 5}})
    assert (answer.status, answer.data["status"], answer.data["model"]) == (201, "starting", "me/base")
    failed = await call.until(answer.data, "failed")
    assert (failed["error"], failed["output"]) == ("diverged after 5", None)
    assert (await call("GET", "/models/local/mine/versions")).data["results"] == []


async def test_file_fields(call: Caller) -> None:
    """A file has the digest and size of its content, and metadata, name and type from the form."""
    answer = await call("POST", "/files", data=form(b"abc", "é.png", metadata='{"a": [1]}'))
    assert answer.status == 201
    file = answer.data
    assert (file["size"], file["name"], file["metadata"]) == (3, "é.png", {"a": [1]})
    assert file["checksums"] == {"sha256": hashlib.sha256(b"abc").hexdigest(), "md5": file["etag"]}
    assert file["urls"]["get"] == f"{call.server.base_url}/files/{file['id']}"
    assert (await call("GET", file["urls"]["get"])).data == file
    plain = (await call("POST", "/files", data=form(b"x"))).data
    assert (plain["metadata"], plain["content_type"]) == ({}, "application/octet-stream")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (form(None, type="a/b"), "content is required"),
        (form(b"", "x" * 256), "filename"),
        (form(b"", "é" * 128), "filename"),
        (form(b"", "a\tb"), "filename"),
        (form(b"", type="a/b\r\nX-Evil: c"), "type must be a content type"),
        (form(b"", metadata="["), "metadata"),
        (form(b"", metadata="[]"), "metadata"),
    ],
)
async def test_bad_files(call: Caller, data: Any, reason: str) -> None:
    """An invalid form is refused with the name of the invalid part."""
    answer = await call("POST", "/files", data=data)
    assert (answer.status, reason in answer.data["detail"]) == (422, True)
    assert (await call("POST", "/files", {"content": "x"})).status == 400


async def test_file_expiry(slow_call: Caller, clock: VirtualClock) -> None:
    """A file expires after a day."""
    file = (await slow_call("POST", "/files", data=form(b"x"))).data
    assert file["expires_at"] == "2025-01-02T00:00:00Z"
    await clock.advance(24 * 3600 - 1)
    assert (await slow_call("GET", file["urls"]["get"])).status == 200
    await clock.advance(1)
    assert (await slow_call("GET", file["urls"]["get"])).status == 404
    assert (await slow_call("GET", "/files")).data["results"] == []


async def test_downloads(slow_call: Caller, clock: VirtualClock) -> None:
    """A download needs a signature for its owner, file and expiry, but no token."""
    file = (await slow_call("POST", "/files", data=form(b"\0abc", "é b.bin", "image/png"))).data
    signed = slow_call.server.sign_download(file["id"], expires_in=60)

    async def download(**changes: str) -> Any:
        url = f"{file['urls']['get']}/download?{urlencode({**signed, **changes})}"
        return await slow_call("GET", url, headers={"Authorization": "none"})

    answer = await download()
    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, b"\0abc", "image/png")
    assert answer.headers["Content-Disposition"] == "attachment; filename*=UTF-8''%C3%A9%20b.bin"
    invalid_signature = base64.b64encode(b"x" * 32).decode()
    assert (await download(signature=invalid_signature)).status == 403
    assert (await download(owner="someone")).status == 403
    assert (await download(expiry=str(int(signed["expiry"]) + 1))).status == 403
    for expiry in ("tomorrow", "1" * 5000):
        assert (await download(expiry=expiry)).status == 422
    await clock.advance(60)
    assert (await download()).status == 403


async def test_file_inputs(call: Caller) -> None:
    """A model gets data URIs and uploaded files as paths; the server fetches no other URLs."""

    @call.server.model("me/read")
    def read(file: Path, more: list[Path] | None = None) -> list[str]:
        return [f"{path.name}: {path.read_text(encoding='utf-8')}" for path in [file, *(more or [])]]

    uploaded = (await call("POST", "/files", data=form(b"abc", "../up.txt"))).data["urls"]["get"]
    prediction = await call.run("me/read", file=uploaded, more=["data:,x%20y", "data:a/b;base64,eg=="])
    assert prediction["output"] == ["up.txt: abc", "input: x y", "input: z"]
    parent = (await call("POST", "/files", data=form(b"d", ".."))).data["urls"]["get"]
    assert (await call.run("me/read", file=parent))["output"] == ["input: d"]
    for url in ("https://example.com/a.png", f"{uploaded}x", "data:;base64,!", "text"):
        answer = await call("POST", "/models/me/read/predictions", {"input": {"file": url}})
        assert (answer.status, answer.data["invalid_fields"][0]["field"]) == (422, "input.file")


@pytest.mark.parametrize(
    "query", ["", "query=a&limit=0", "query=a&limit=51", "query=a&limit=x", f"query=a&limit={'1' * 5000}"]
)
async def test_bad_searches(call: Caller, query: str) -> None:
    """A search needs a query, and its limit must be 1 to 50."""
    assert (await call("GET", f"/search?{query}")).status == 422


async def test_search(call: Caller) -> None:
    """A search finds models, collections and documentation that contain all words."""
    for number in range(3):
        call.server.model(f"me/cat-{number}", description="Paints cats")(models.hello_world)
    results = (await call("GET", "/search?query=PAINTS+cat&limit=2")).data
    assert results["query"] == "PAINTS cat"
    assert [entry["model"]["name"] for entry in results["models"]] == ["cat-2", "cat-1"]
    assert (await call("GET", "/search?query=webhooks")).data["pages"][0]["href"] == "/docs/topics/webhooks"
