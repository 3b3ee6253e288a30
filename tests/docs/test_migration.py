"""Migrating from the official SDK: the table in docs/migration.md is right, and code for the official SDK runs.

The third column of the table is run with this package, the second one with the official package, both against the same
local server. Libraries that were written for it run in processes of their own, with this package in its place.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import pytest
import standardwebhooks
from msgspec import Meta

import replicate_async
from replicate_async import Replicate
from replicate_async.testing import LocalServer, OutputFile

PAGE = Path(__file__).parents[2] / "docs" / "migration.md"
VERSION = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"
PNG = b"\x89PNG\r\n\x1a\n and so on"


@contextmanager
def serving() -> Iterator[LocalServer]:
    """Start a server with the objects that the page's calls use."""
    with LocalServer(tidy=True, username="owner", files="data") as server:

        @server.model("owner/name", version=VERSION)
        def name(text: str = "nobody") -> Iterator[str]:
            """Greet, word by word."""
            yield "hello "
            yield text

        @server.model("owner/image", official=True)
        def image(image: Annotated[Path | None, Meta(description="To be copied")] = None) -> OutputFile:
            """Return an image."""
            return OutputFile(image.read_bytes() if image else PNG, "image/png")

        @server.model("owner/broken", official=True)
        def broken() -> str:
            """Fail."""
            print("about to fail")  # noqa: T201 - becomes the logs
            raise ValueError("out of paint")

        server.model("owner/trained")(name)
        with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
            client.deployments.create(
                name="fast", model="owner/name", version=VERSION, hardware="cpu", min_instances=0, max_instances=1
            )
        yield server


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with serving() as server:
        yield server


def run(server: LocalServer, folder: Path, program: str, *, options: tuple[str, ...] = ("-W", "error")) -> None:
    """Run a program with the server as its API."""
    environment = {
        **os.environ,
        "REPLICATE_API_TOKEN": server.token,
        "REPLICATE_BASE_URL": server.base_url,
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
    }
    (folder / "cat.png").write_bytes(PNG)
    (folder / "program.py").write_text(program, encoding="utf-8")
    command = [sys.executable, *options, "program.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


# --- the table ---


def rows() -> list[tuple[str, str, str]]:
    """Return the rows of all of the page's tables that compare the three packages."""
    found: list[tuple[str, str, str]] = []
    for table in PAGE.read_text(encoding="utf-8").split("\n| v1 |")[1:]:
        for line in table.partition("\n\n")[0].splitlines()[2:]:
            first, second, third = (cell.strip() for cell in line.strip("|").split(" | "))
            found.append((first, second, third))
    return found


def codes(column: int) -> list[str]:
    """Return all the code in a column."""
    return [code for row in rows() for code in re.findall(r"`([^`]+)`", row[column])]


CELLS = """
import ast, inspect, json, pathlib, traceback, asyncio

given = json.loads(pathlib.Path("given.json").read_text(encoding="utf-8"))
names = {"pathlib": pathlib, **given["values"]}
failures = []

async def run(code):
    names["client"] = names.get("asynchronous" if "await" in code else "blocking")
    compiled = compile(code, "<the page>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    result = eval(compiled, names)
    if inspect.isawaitable(result):
        await result

async def main():
    for code in given["before"]:
        await run(code)
    for code in given["cells"]:
        try:
            await run(code)
        except Exception:
            failures.append(f"{code}\\n{traceback.format_exc()}")
    for code in given["after"]:
        await run(code)

asyncio.run(main())
pathlib.Path("failures.json").write_text(json.dumps(failures), encoding="utf-8")
"""
# Both packages understand these.
BEFORE = [
    "blocking = replicate.Replicate()",
    "asynchronous = replicate.AsyncReplicate()",
    "prediction = replicate.predictions.create(version=version_id, input={'text': 'hi'}, prefer='wait')",
    "of = {'model_owner': 'owner', 'model_name': 'name', 'version_id': version_id}",
    "training = replicate.trainings.create(**of, input={}, destination='owner/trained')",
    "file = replicate.files.create(content=b'abc')",
    "output = replicate.run('owner/image', input={})",
]
OF_PACKAGE = {
    "here": (["import replicate_async as replicate", "import aiohttp", "session = aiohttp.ClientSession()"], 2),
    "v2": (["import replicate", "import httpx", "http_client = httpx.Client()"], 1),
}
AFTER = {
    "here": ["await session.close()", "await asynchronous.close()", "blocking.close()"],
    "v2": ["http_client.close()", "await asynchronous.close()", "blocking.close()"],
}


def test_the_page_has_its_tables() -> None:
    """Every row has three cells, and an alternative in the last one unless there is none."""
    assert len(rows()) > 45
    assert all(cell for row in rows() for cell in row)
    assert all("`" in row[2] for row in rows())


@pytest.mark.parametrize("package", ["here", "v2"])
def test_the_table(server: LocalServer, tmp_path: Path, package: str) -> None:
    """Each call on the page, of this package and of the official v2, runs as written."""
    with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
        secret = client.webhooks.default.secret.get().key
        prediction = client.models.predictions.create("owner/name", input={}, prefer="wait")
    body, now = prediction.to_json(), datetime.now(timezone.utc)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": standardwebhooks.Webhook(secret).sign("msg_1", now, body),
    }
    imports, column = OF_PACKAGE[package]
    given = {
        "values": {"version_id": VERSION, "body": body, "headers": headers},
        "before": [*imports, *BEFORE],
        "cells": codes(column),
        "after": AFTER[package],
    }
    (tmp_path / "given.json").write_text(json.dumps(given), encoding="utf-8")
    run(server, tmp_path, CELLS, options=("-W", "error") if package == "here" else ("-W", "ignore"))
    failures = json.loads((tmp_path / "failures.json").read_text(encoding="utf-8"))
    assert failures == []


# --- code for the official SDK ---

REPLACEMENT = re.search(r"```python\n(from .*?install\(\)\n)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)

LIBRARY = '''
"""A library that knows only the official SDK."""

import asyncio
import time
from pathlib import Path

import replicate
from replicate.exceptions import ModelError, ReplicateError
from replicate.types import Prediction

VERSION = "9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426"


def run_with_the_module():
    """The output of a language model, in v1 an iterator, is joined or printed."""
    output = replicate.run("owner/name", input={"text": "Alice"})
    assert "".join(output) == "hello Alice"
    assert "".join(replicate.run(f"owner/name:{VERSION}", input={"text": "Bob"})) == "hello Bob"
    assert "".join(piece for piece in replicate.run("owner/name", {"text": "Carol"})) == "hello Carol"


def run_with_a_client(token):
    """Clients by v1's name and by v2's, with a token of their own."""
    client = replicate.Client(api_token=token)
    assert "".join(client.run("owner/name", input={"text": "Alice"})) == "hello Alice"
    client = replicate.Replicate(bearer_token=token, timeout=30, max_retries=1)
    assert "".join(client.run(VERSION, input={"text": "Alice"}, wait=False)) == "hello Alice"


def files_of_a_model():
    """Outputs that are files are read, and given to a file that was opened before; inputs are opened files."""
    output = replicate.run("owner/image", input={})
    Path("copy.png").write_bytes(output.read())
    with open("other.png", "wb") as file:
        for chunk in output:
            file.write(chunk)
    assert Path("copy.png").read_bytes() == Path("other.png").read_bytes()
    assert output.url.startswith(("data:", "http"))
    assert str(output) == output.url
    with open("cat.png", "rb") as image:
        copied = replicate.run("owner/image", input={"image": image})
    assert copied.read() == Path("cat.png").read_bytes()
    assert replicate.run("owner/image", input={}, use_file_output=False).startswith(("data:", "http"))


def stream_to_the_console():
    """v1's way to stream: events that are printed as text."""
    pieces = []
    for event in replicate.stream("owner/name", input={"text": "Alice"}):
        pieces.append(str(event))
    assert "".join(pieces) == "hello Alice"


def stream_by_events():
    """v1's way to stream, with the kind of each event."""
    text, ended = "", False
    for event in replicate.stream("owner/name", input={"text": "Alice"}):
        if event.event == "output":
            text += event.data
        elif event.event == "done":
            ended = True
    assert text == "hello Alice"
    assert ended


def use_as_a_function():
    """v2's functions."""
    greet = replicate.use("owner/name")
    assert greet(text="Alice") == "hello Alice"
    assert "".join(replicate.use("owner/name", streaming=True)(text="Alice")) == "hello Alice"


def poll():
    """A prediction is created in the background, and polled until it is done."""
    prediction = replicate.predictions.create(version=VERSION, input={"text": "Alice"})
    assert isinstance(prediction, Prediction)
    while prediction.status not in ("succeeded", "failed", "canceled"):
        time.sleep(0.01)
        prediction = replicate.predictions.get(prediction.id)
    assert prediction.status == "succeeded"
    assert "".join(prediction.output) == "hello Alice"
    assert prediction.metrics is not None
    assert prediction.urls.get.endswith(prediction.id)
    assert prediction.created_at.tzinfo is not None


def look_into_the_schema():
    """A library finds a model's inputs in its schema, before it calls it."""
    model = replicate.models.get("owner/name")
    assert (model.owner, model.name) == ("owner", "name")
    inputs = model.latest_version.openapi_schema["components"]["schemas"]["Input"]["properties"]
    assert list(inputs) == ["text"]
    versions = replicate.models.versions.list(model_owner="owner", model_name="name")
    assert [version.id for version in versions.results] == [model.latest_version.id]
    assert "".join(replicate.run(model, input={})) == "hello nobody"
    assert "".join(replicate.run(model.latest_version, input={})) == "hello nobody"


def go_through_resources():
    """Lists, things of the account, and positional ids."""
    assert {model.name for model in replicate.models.list()} >= {"name", "image", "broken"}
    assert replicate.collections.get("local-models").models
    assert replicate.deployments.get("owner/fast").current_release.version == VERSION
    assert replicate.account.get().username == "owner"
    assert [hardware.sku for hardware in replicate.hardware.list()]
    file = replicate.files.create("cat.png")
    assert replicate.files.get(file.id).name == "cat.png"
    replicate.files.delete(file.id)
    assert replicate.webhooks.default.secret.get().key.startswith("whsec_")
    assert replicate.search(query="name").models


def submodules():
    """Each submodule that the page names is the package's own, however it is imported."""
    import replicate.client
    import replicate.exceptions
    import replicate.types
    from replicate.exceptions import NotFoundError

    assert NotFoundError is replicate.NotFoundError is replicate.exceptions.NotFoundError
    assert ModelError is replicate.exceptions.ModelError
    assert replicate.client.Client is replicate.Client
    assert replicate.types.Prediction is Prediction is type(replicate.predictions.create(version=VERSION, input={}))


def models_that_fail():
    """A model's own failure."""
    try:
        replicate.run("owner/broken", input={})
    except ModelError as error:
        assert "out of paint" in error.prediction.error
        assert "about to fail" in error.prediction.logs
        assert "out of paint" in str(error)
    else:
        raise AssertionError("it should have failed")


def calls_that_fail():
    """Failures of the API, by the names of v1 and of v2."""
    try:
        replicate.models.get("owner", "nowhere")
    except replicate.exceptions.ReplicateError as error:
        assert error.status == 404
        assert "could not be found" in error.detail
    else:
        raise AssertionError("it should have failed")
    try:
        replicate.predictions.get("nowhere")
    except replicate.NotFoundError as error:
        assert isinstance(error, replicate.APIStatusError)
        assert isinstance(error, ReplicateError)
        assert error.status_code == 404
    try:
        replicate.Client(api_token="wrong").run("owner/name", input={})
    except replicate.AuthenticationError as error:
        assert error.status_code == 401


def from_asynchronous_code(token):
    """v2's asynchronous client, and the blocking calls where a loop runs already."""

    async def main():
        async with replicate.AsyncReplicate(bearer_token=token) as client:
            assert "".join(await client.run("owner/name", input={"text": "Alice"})) == "hello Alice"
            outputs = await asyncio.gather(*[client.run("owner/name", input={"text": str(n)}) for n in range(5)])
            assert ["".join(output) for output in outputs] == [f"hello {n}" for n in range(5)]
            assert [prediction.id async for prediction in await client.predictions.list()]
        assert "".join(replicate.run("owner/name", input={"text": "Alice"})) == "hello Alice"

    asyncio.run(main())


def with_the_response():
    """v2's access to what the API answered."""
    response = replicate.models.with_raw_response.get(model_owner="owner", model_name="name")
    assert response.headers["content-type"].startswith("application/json")
    assert response.parse().name == "name"


def objects_make_calls():
    """v1's objects, which the native ones don't have."""
    model = replicate.models.get("owner/name")
    assert [version.id for version in model.versions.list()] == [VERSION]
    prediction = replicate.predictions.create(VERSION, {"text": "Alice"})
    prediction.wait()
    prediction.reload()
    assert "".join(prediction.output) == "hello Alice"
    assert "".join(asyncio.run(replicate.async_run("owner/name", input={"text": "Bob"}))) == "hello Bob"


def names_that_are_left_out():
    """What the page says that isn't there: the error says so."""
    error = replicate.NotFoundError("gone", status_code=404)
    for thing, name in [(replicate, "DefaultHttpxClient"), (replicate, "Stream"), (error, "response")]:
        assert not hasattr(thing, name), name
    try:
        replicate.Client(api_token="r8_x", transport=object())
    except TypeError as error:
        assert "aiohttp" in str(error)
    else:
        raise AssertionError("httpx transports are not supported")
'''
FUNCTIONS = re.findall(r"^def (\w+)", LIBRARY, re.MULTILINE)

APPLICATION = """
import sys
import traceback
import json
import os
from pathlib import Path

import library

failures = {}
for name in json.loads(Path("names.json").read_text(encoding="utf-8")):
    function = getattr(library, name)
    try:
        function(*([os.environ["REPLICATE_API_TOKEN"]] * function.__code__.co_argcount))
    except BaseException:
        failures[name] = traceback.format_exc()
loaded = [module for module in sys.modules if module.startswith(("replicate._", "httpx"))]
Path("failures.json").write_text(json.dumps({"failures": failures, "loaded": loaded}), encoding="utf-8")
"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Run the library once, and return what failed."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "library.py").write_text(LIBRARY, encoding="utf-8")
    (folder / "names.json").write_text(json.dumps(FUNCTIONS), encoding="utf-8")
    assert REPLACEMENT is not None
    with serving() as server:
        run(server, folder, REPLACEMENT[1] + APPLICATION)
    return json.loads((folder / "failures.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_code_for_the_official_sdk(report: dict[str, Any], function: str) -> None:
    """A library that was written for the official SDK runs with this package, as far as the page promises."""
    assert report["failures"].get(function) is None, report["failures"][function]


def test_the_official_package_is_not_involved(report: dict[str, Any]) -> None:
    """With the replacement, neither the official package nor its HTTP library is imported."""
    assert report["loaded"] == []


# --- settings ---


def test_the_module_has_no_settings() -> None:
    """Assigning an option to the native module raises, as the page says: options belong to clients."""
    with pytest.raises(AttributeError, match="with_options"):
        replicate_async.bearer_token = "r8_other"
