"""The reference page of Replicate's Python SDK: all its calls run as written, blocking and awaited.

``data/reference_calls.toml`` lists them, with their arguments. The local server has objects with the names that the
page uses as placeholders; and a story goes through all operations with objects of its own.
"""

from __future__ import annotations

import ast
import inspect
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import pytest

import replicate_async as replicate
from callers import Caller, calling
from rawserver import TOKEN, RawServer, answer
from replicate_async import AsyncReplicate, NotFoundError, PermissionDeniedError, Replicate, compat
from replicate_async.compat import deployment
from replicate_async.testing import LocalServer, OutputFile
from replicate_async.testing._jobs import Job
from replicate_async.testing._routes import OPERATIONS
from replicate_async.testing._store import StoredFile, Version
from replicate_async.types import (
    Collection,
    Deployment,
    DeploymentConfiguration,
    DeploymentRelease,
    File,
    FileChecksums,
    FileUrls,
    Hardware,
    ModelVersion,
    Training,
)

pytestmark = pytest.mark.anyio

DATA: dict[str, Any] = msgspec.toml.decode((Path(__file__).parents[1] / "data" / "reference_calls.toml").read_bytes())
CALLS: dict[str, dict[str, Any]] = {call["operation"]: call for call in DATA["call"]}
# On the page, and not in the API's table of operations; in the table, and not on the page.
ONLY_ON_THE_PAGE = {"run"}
NOT_ON_THE_PAGE = {"models.search", "models.update"}
VERSION = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
PNG = b"\x89PNG\r\n\x1a\n and so on"


def test_every_operation_is_on_the_page() -> None:
    """The list has all operations of the API, except for the two that are not on the page."""
    assert set(CALLS) - ONLY_ON_THE_PAGE == {operation.name for operation in OPERATIONS} - NOT_ON_THE_PAGE
    assert len(CALLS) == len(DATA["call"])


def example(call: dict[str, Any], *, awaited: bool) -> str:
    """Return the code of a call as the page shows it."""
    arguments = [repr(value) for value in call.get("positional", [])]
    arguments += [f"{name}={value!r}" for name, value in call.get("arguments", {}).items()]
    arguments += [f"{name}={value.encode()!r}" for name, value in call.get("bytes", {}).items()]
    made = f"{'await ' if awaited else ''}replicate.{call['operation']}({', '.join(arguments)})"
    lines = [f"{call['result']} = {made}" if "result" in call else made]
    if call.get("page"):
        lines.append("page = page.results[0]")
    if "read" in call:
        lines.append(f"{call['read']} = {'await ' if awaited else ''}{call['result']}.read()")
    if "shows" in call:
        lines.append(f"print({call['shows']})")
    return "\n".join(lines)


def test_the_code_of_an_example() -> None:
    """The code that is generated from the list is the code on the page."""
    assert example(CALLS["predictions.list"], awaited=False) == (
        "page = replicate.predictions.list()\npage = page.results[0]\nprint(page.id)"
    )
    assert example(CALLS["files.get"], awaited=True) == (
        "file = await replicate.files.get(file_id='file_id')\nprint(file.id)"
    )
    assert example(CALLS["models.delete"], awaited=False) == (
        "replicate.models.delete(model_owner='model_owner', model_name='model_name')"
    )


async def execute(code: str, **names: Any) -> list[Any]:
    """Execute code, which may use await, and return what it prints."""
    shown: list[Any] = []
    compiled = compile(code, "<the page>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, {**names, "print": shown.append})
    if inspect.isawaitable(result):
        await result
    return shown


# --- the page's examples, with its placeholders as names ---


@contextmanager
def serving(operation: str = "") -> Iterator[LocalServer]:
    """Start a server with the objects that the page's example of an operation names."""
    deleting = operation in {"models.delete", "models.versions.delete"}
    with LocalServer(tidy=True, username="alice" if operation == "models.create" else "model_owner") as server:

        @server.model("replicate/hello-world", version=VERSION)
        def hello(text: str = "nobody") -> str:
            """Say hello."""
            return f"hello {text}"

        @server.model(
            "model_owner/model_name",
            readme="# A model",
            visibility="private" if deleting else "public",
            examples=[({"prompt": "Tell me a joke"}, "No.")],
        )
        def model(prompt: str = "", system_prompt: str = "") -> str:
            """Answer."""
            return f"{system_prompt}: {prompt}"

        @server.model("anthropic/claude-sonnet-4", official=True)
        def claude(prompt: str) -> Iterator[str]:
            """Answer, in pieces."""
            yield from prompt.partition(" ")

        @server.model("google/nano-banana", official=True)
        def banana(prompt: str) -> OutputFile:
            """Paint."""
            return OutputFile(PNG, "image/png")

        seed(server, operation)
        yield server


def seed(server: LocalServer, operation: str) -> None:
    """Create objects with the page's placeholders as names, which the API itself would never do."""
    store = server._store
    now = store.clock.now()
    hosted = store.models["model_owner/model_name"]
    function = next(iter(hosted.versions.values())).function
    for key in list(hosted.versions):
        hosted.versions.remove(key)
    for key in ("version", "version_id"):
        hosted.versions.add(key, Version(ModelVersion(id=key, created_at=now), function))
        store.versions[key] = (hosted, hosted.versions[key])
    for key in ("model", "destination"):
        store.models.add(key, hosted)
    store.hardware = [*store.hardware, Hardware(name="Hardware", sku="hardware")]
    prediction = store.new_prediction(hosted, hosted.versions["version_id"], {})
    prediction.id = "prediction_id"
    store.jobs["prediction_id"] = Job(store.predictions.add("prediction_id", prediction), store.clock)
    training = Training(id="training_id", status="processing", created_at=now)
    store.jobs["training_id"] = Job(store.trainings.add("training_id", training), store.clock)
    configuration = DeploymentConfiguration(hardware="hardware", min_instances=0, max_instances=0)
    release = DeploymentRelease(number=1, model="model", version="version", created_at=now, configuration=configuration)
    deployment = Deployment(owner="deployment_owner", name="deployment_name", current_release=release)
    store.deployments.add("deployment_owner/deployment_name", deployment)
    collection = Collection(name="Collection", slug="collection_slug", description="A collection of models")
    store.collections.add("collection_slug", collection)
    record = File(
        id="file_id",
        content_type="text/plain",
        size=3,
        checksums=FileChecksums(),
        metadata={},
        created_at=now,
        urls=FileUrls(),
    )
    store.files.add("file_id", StoredFile(record, b"abc"))
    if operation == "models.delete":
        for key in list(hosted.versions):
            hosted.versions.remove(key)


ANY_ID = "an id"
# The example prints nothing.
NOTHING = ()
# What the examples show.
SHOWN: dict[str, Any] = {
    "account.get": "user",
    "collections.get": "A collection of models",
    "collections.list": "A collection of models",
    "deployments.create": DeploymentRelease,
    "deployments.delete": NOTHING,
    "deployments.get": DeploymentRelease,
    "deployments.list": DeploymentRelease,
    "deployments.predictions.create": ANY_ID,
    "deployments.update": DeploymentRelease,
    "files.create": ANY_ID,
    "files.delete": NOTHING,
    "files.get": "file_id",
    "files.list": "file_id",
    "hardware.list": list,
    "models.create": None,
    "models.delete": NOTHING,
    "models.examples.list": ANY_ID,
    "models.get": None,
    "models.list": None,
    "models.predictions.create": ANY_ID,
    "models.readme.get": "# A model",
    "models.versions.delete": NOTHING,
    "models.versions.get": "version_id",
    "models.versions.list": "version_id",
    "predictions.cancel": "prediction_id",
    "predictions.create": ANY_ID,
    "predictions.get": "prediction_id",
    "predictions.list": "prediction_id",
    "run": ["Hello,", " ", "world!"],
    "search": [],
    "trainings.cancel": "training_id",
    "trainings.create": ANY_ID,
    "trainings.get": "training_id",
    "trainings.list": "training_id",
    "webhooks.default.secret.get": str,
}


@pytest.fixture
def default_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Return a function that lets the module's default client use a server."""

    def set_up(server: LocalServer | RawServer, token: str, base_url: str) -> None:
        monkeypatch.setenv("REPLICATE_API_TOKEN", token)
        monkeypatch.setenv("REPLICATE_BASE_URL", base_url)
        replicate.default_client.cache_clear()

    replicate.default_client.cache_clear()
    yield set_up
    if os.environ.get("REPLICATE_API_TOKEN"):
        replicate.default_client().close()
    replicate.default_client.cache_clear()


def check(operation: str, server: LocalServer, shown: list[Any], *, release: type = DeploymentRelease) -> None:
    """Check what an example has printed, and that it made one call."""
    assert server.requests[0].status < 300
    if operation != "run":
        assert [request.operation for request in server.requests] == [operation]
    expected = release if SHOWN[operation] is DeploymentRelease else SHOWN[operation]
    if expected == NOTHING:
        assert shown == []
    elif expected == ANY_ID:
        (found,) = shown
        assert len(found) == 26
    elif isinstance(expected, type):
        assert [type(found) for found in shown] == [expected]
    else:
        assert shown == [expected]


@pytest.mark.parametrize("operation", SHOWN)
async def test_examples(operation: str, default_client: Any) -> None:
    """An example runs as written, with ``import replicate_async as replicate``."""
    with serving(operation) as server:
        default_client(server, server.token, server.base_url)
        shown = await execute("import replicate_async as replicate\n" + example(CALLS[operation], awaited=False))
        check(operation, server, shown)


@pytest.mark.parametrize("operation", SHOWN)
async def test_examples_awaited(operation: str) -> None:
    """The same example runs with ``await``, on an asynchronous client."""
    with serving(operation) as server:
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
            shown = await execute(example(CALLS[operation], awaited=True), replicate=client)
        check(operation, server, shown)


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("operation", SHOWN)
async def test_examples_on_compat(operation: str, awaited: bool) -> None:
    """The same example runs with the official SDK's surface, ``replicate_async.compat``."""
    with serving(operation) as server:
        kind = compat.AsyncReplicate if awaited else compat.Replicate
        client = kind(bearer_token=server.token, base_url=server.base_url)
        try:
            shown = await execute(example(CALLS[operation], awaited=awaited), replicate=client)
        finally:
            await client.native.close()
        check(operation, server, shown, release=deployment.Deployment.Release)


@pytest.mark.parametrize("awaited", [False, True])
async def test_the_download(awaited: bool, default_client: Any) -> None:
    """The placeholder of the signature is refused; with a real signature, the content is read."""
    call = CALLS["files.download"]
    with serving() as server:
        default_client(server, server.token, server.base_url)
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
            names = {"replicate": client if awaited else replicate}
            with pytest.raises(PermissionDeniedError, match="permission"):
                await execute(example(call, awaited=awaited), **names)
            signature = server.sign_download("file_id")
            signed = {**call, "arguments": {**call["arguments"], **signature, "expiry": int(signature["expiry"])}}
            assert await execute(example(signed, awaited=awaited), **names) == [b"abc"]
    assert [request.operation for request in server.requests] == ["files.download"] * 2


@pytest.mark.parametrize("use", DATA["use"], ids=lambda use: use["model"])
@pytest.mark.parametrize("awaited", [False, True])
async def test_use(use: dict[str, Any], awaited: bool, default_client: Any) -> None:
    """Models are functions that return text in one piece, and files that can be read."""
    with serving() as server:
        default_client(server, server.token, server.base_url)
        inputs = ", ".join(f"{name}={value!r}" for name, value in use["inputs"].items())
        code = f"model = replicate.use({use['model']!r})\noutput = {'await ' * awaited}model({inputs})\nprint(output)"
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
            (output,) = await execute(code, replicate=client if awaited else replicate)
            if use["model"] == "anthropic/claude-sonnet-4":
                assert output == "Hello, world!"
            else:
                assert (await output.read() if awaited else output.read()) == PNG


@pytest.mark.parametrize("awaited", [False, True])
@pytest.mark.parametrize("arguments", ["", 'bearer_token=os.environ["REPLICATE_API_TOKEN"]'])
async def test_clients(arguments: str, awaited: bool, default_client: Any) -> None:
    """A client is created without a token, which comes from the environment, or with one."""
    with serving() as server:
        default_client(server, server.token, server.base_url)
        name, wait = ("AsyncReplicate", "await ") if awaited else ("Replicate", "")
        shown = await execute(
            f"import os\nclient = replicate.{name}({arguments})\n"
            f"print(({wait}client.account.get()).type)\n{wait}client.close()",
            replicate=replicate,
        )
        assert shown == ["user"]


@pytest.mark.parametrize("call", DATA["low_level"], ids=lambda call: call["operation"])
@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_low_level_calls(call: dict[str, Any], kind: str) -> None:
    """Low-level calls are sent as they are written, and a missing path raises an error that says so."""
    positional, arguments = call.get("positional", []), call.get("arguments", {})
    method = arguments.get("method", call["operation"].upper())
    async with RawServer(answer(200, {"some": "thing"})) as server:
        async with calling(kind, f"{server.url}/v1", TOKEN) as caller:
            response = await caller(call["operation"], *positional, **arguments)
        (request,) = server.requests
    assert response.json() == {"some": "thing"}
    assert (request.method, request.target) == (method, "/v1/custom/endpoint")
    assert request.body == (msgspec.json.encode(arguments["json"]) if "json" in arguments else b"")
    for name, value in arguments.get("headers", {}).items():
        assert request.header_values(name) == [value]
    with serving() as local:
        async with calling(kind, local.base_url, local.token) as caller:
            with pytest.raises(NotFoundError, match=f"{method} .*/v1/custom/endpoint"):
                await caller(call["operation"], *positional, **arguments)


# --- a story through all operations ---


class Story:
    """Makes calls, and records their operations."""

    def __init__(self, call: Caller) -> None:
        self.call = call

    async def __call__(self, operation: str, /, *arguments: Any, **options: Any) -> Any:
        return await self.call(operation, *arguments, **options)

    async def ids(self, operation: str, of: str = "id", **options: Any) -> list[Any]:
        """Return the ids of all items of a list, by its pages and by iterating."""
        page = await self.call(operation, **options)
        found = [getattr(thing, of) for thing in await self.call.all(page)]
        assert [getattr(thing, of) for thing in page.results] == found[: len(page.results)]
        return found


@pytest.fixture(params=["async", "blocking"])
async def server_and_story(request: pytest.FixtureRequest) -> AsyncIterator[tuple[LocalServer, Story]]:
    with LocalServer(tidy=True, username="alice", page_size=2) as server:

        @server.model("alice/base", version=VERSION, readme="# Base", examples=[({"text": "x"}, "hello x")])
        def base(text: str = "nobody") -> str:
            """Say hello."""
            return f"hello {text}"

        async with calling(request.param, server.base_url, server.token) as call:
            yield server, Story(call)


async def models_and_trainings(story: Story) -> None:
    hardware = await story("hardware.list")
    assert "cpu" in [one.sku for one in hardware]
    new = {"owner": "alice", "name": "trained", "visibility": "private", "hardware": hardware[0].sku}
    made = await story("models.create", **new, description="Not trained")
    with pytest.raises(replicate.ConflictError):
        await story("models.create", **new)
    assert await story("models.get", "alice", "trained") == made
    assert (made.description, made.visibility, made.latest_version) == ("Not trained", "private", None)

    training = await story("trainings.create", "alice", "base", VERSION, destination="alice/trained", input={})
    done = await story("trainings.wait", training)
    assert done.status == "succeeded"
    assert await story("trainings.get", training.id) == done
    other = await story("trainings.create", "alice", "base", VERSION, destination="alice/trained", input={})
    assert await story.ids("trainings.list") == [other.id, training.id]
    assert (await story("trainings.cancel", other.id)).id == other.id

    changed = await story("models.update", "alice/trained", description="Trained", readme="# Trained")
    assert (changed.description, changed.name) == ("Trained", "trained")
    fetched = await story("models.get", "alice/trained")
    assert fetched.description == "Trained"
    assert await story("models.readme.get", "alice/trained") == "# Trained"
    assert await story("models.readme.get", "alice", "base") == "# Base"

    of = {"model_owner": "alice", "model_name": "trained"}
    versions = await story.ids("models.versions.list", **of)
    assert done.output.version.removeprefix("alice/trained:") in versions
    for version in versions:
        assert (await story("models.versions.get", "alice", "trained", version)).id == version
        assert await story("models.versions.delete", "alice", "trained", version) is None
    assert await story.ids("models.versions.list", **of) == []
    assert await story("models.delete", "alice/trained") is None
    with pytest.raises(NotFoundError, match="alice/trained"):
        await story("models.get", "alice", "trained")

    assert await story.ids("models.list", "name") == ["base"]
    assert await story.ids("models.search", "name", query="hello") == ["base"]
    assert [found.model.name for found in (await story("search", "base")).models] == ["base"]
    assert await story.ids("collections.list", "slug") == ["local-models"]
    assert [model.name for model in (await story("collections.get", "local-models")).models] == ["base"]
    (example_id,) = await story.ids("models.examples.list", model_owner="alice", model_name="base")
    assert (await story("models.get", "alice/base")).default_example.id == example_id


async def predictions(story: Story) -> None:
    first = await story("predictions.create", version=VERSION, input={"text": "one"})
    done = await story("predictions.wait", first)
    assert (done.output, done.id) == ("hello one", first.id)
    assert await story("predictions.get", first.id) == done
    second = await story("models.predictions.create", "alice", "base", input={"text": "two"}, prefer="wait")
    assert second.output == "hello two"
    assert (await story("predictions.cancel", second.id)).status == "succeeded", "it had ended"
    assert await story("run", f"alice/base:{VERSION}", input={"text": "three"}) == "hello three"
    third, *others = await story.ids("predictions.list")
    assert others == [second.id, first.id]
    assert (await story("predictions.get", third)).input == {"text": "three"}


async def deployments(story: Story) -> None:
    new = {"model": "alice/base", "version": VERSION, "hardware": "cpu", "min_instances": 0, "max_instances": 1}
    for name in ("one", "two", "three"):
        await story("deployments.create", name=name, **new)
    assert await story.ids("deployments.list", "name") == ["three", "two", "one"]
    changed = await story("deployments.update", "alice", "two", max_instances=5)
    assert changed.current_release.configuration.max_instances == 5
    assert await story("deployments.get", "alice", "two") == changed
    prediction = await story("deployments.predictions.create", "alice", "two", input={"text": "x"}, prefer="wait")
    assert (prediction.output, prediction.deployment) == ("hello x", "alice/two")
    assert await story("deployments.delete", "alice", "two") is None
    assert await story.ids("deployments.list", "name") == ["three", "one"]
    with pytest.raises(NotFoundError):
        await story("deployments.update", "alice", "two", max_instances=1)


async def files(server: LocalServer, story: Story) -> None:
    made = [await story("files.create", f"content {number}".encode(), metadata={"n": number}) for number in range(3)]
    assert await story.ids("files.list") == [file.id for file in reversed(made)]
    assert await story("files.get", made[1].id) == made[1]
    signature: dict[str, Any] = server.sign_download(made[1].id)
    response = await story("files.download", made[1].id, **{**signature, "expiry": int(signature["expiry"])})
    assert await story.call.of(response.read) == b"content 1"
    assert await story("files.delete", made[1].id) is None
    assert await story.ids("files.list") == [made[2].id, made[0].id]


async def test_a_story(server_and_story: tuple[LocalServer, Story]) -> None:
    """Objects that are created can be fetched, listed, changed and deleted, with either client."""
    server, story = server_and_story
    assert (await story("account.get")).username == "alice"
    assert (await story("webhooks.default.secret.get")) == await story("webhooks.default.secret.get")
    await models_and_trainings(story)
    await predictions(story)
    await deployments(story)
    await files(server, story)
    assert {request.operation for request in server.requests} == {operation.name for operation in OPERATIONS}


def test_the_clients_have_the_pages_names() -> None:
    """Each call of the page exists in the module and in both clients, with the page's argument names."""
    for operation, call in CALLS.items():
        for place in (AsyncReplicate(bearer_token="x"), Replicate(bearer_token="x")):
            parameters = inspect.signature(attrgetter(operation)(place)).parameters
            assert set(call.get("arguments", {})) | set(call.get("bytes", {})) <= set(parameters)
    assert all(hasattr(replicate, name.partition(".")[0]) for name in [*CALLS, "use", "Replicate"] if "." not in name)
