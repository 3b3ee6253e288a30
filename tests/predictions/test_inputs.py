"""Files in inputs: of any kind and in any place, sent once, and checked before anything is sent."""

from __future__ import annotations

import asyncio
import base64
import enum
import hashlib
import io
import os
import re
import tempfile
import time
from collections import OrderedDict, UserDict
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import MappingProxyType
from typing import Any

import anyio
import msgspec
import numpy as np
import pytest
from fastapi import UploadFile

import programs
from callers import Caller, calling
from rawserver import RawRequest, RawServer, answer, prediction
from replicate_async import (
    APIResponseValidationError,
    APIStatusError,
    AsyncFileOutput,
    AsyncReplicate,
    FileOutput,
    InternalServerError,
    ModelError,
    ReplicateError,
    StreamEvent,
)
from replicate_async.testing import LocalServer, OutputFile

pytestmark = pytest.mark.anyio

KB = 1000
INLINE_MAX = 256 * KB
SMALL = b"\x89PNG small\x00\xff"
# Several chunks.
LARGE = bytes(range(256)) * 2000


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer(tidy=True) as server:

        @server.model("owner/echo")
        async def echo(value: Any, more: Any = None) -> Any:
            return value

        @server.model("owner/picture")
        async def picture() -> list[OutputFile]:
            return [OutputFile(SMALL, "image/png", "picture.png")]

        @server.model("owner/words")
        async def words(text: str = "Once upon") -> AsyncIterator[str]:
            yield text[:5]
            await asyncio.sleep(0.05)
            yield text[5:]

        @server.model("owner/broken")
        async def broken() -> AsyncIterator[str]:
            yield "Once"
            raise ValueError("no luck today")

        yield server


@pytest.fixture
async def client(server: LocalServer) -> AsyncIterator[AsyncReplicate]:
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        yield client


@pytest.fixture(params=["async", "blocking"])
async def call(server: LocalServer, request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    """Calls with either client."""
    async with calling(request.param, server.base_url, server.token) as call:
        yield call


async def echo(client: AsyncReplicate, value: Any, **options: Any) -> Any:
    """Return a value as the server received it."""
    return await client.run("owner/echo", input={"value": value}, use_file_output=False, **options)


def uploads(server: LocalServer) -> list[Any]:
    return [request for request in server.requests if request.operation == "files.create"]


def operations(server: LocalServer) -> list[str]:
    return [request.operation for request in server.requests]


def content(server: LocalServer, url: str) -> bytes:
    """Return the content that a model gets for a URL in its input."""
    return server._store.open_file(url).read_bytes()


def is_data(url: str) -> bool:
    return url.startswith("data:")


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.002)


def new_tasks(before: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return the package's tasks that have been started since then."""
    return {task for task in asyncio.all_tasks() - before if "replicate_async/_" in repr(task.get_coro())}


class Halting:
    """A file that raises when it is read."""

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        if size == 0:
            return b""
        raise OSError("the tape is torn")


def written_only(folder: Path) -> Any:
    return (folder / "out.bin").open("wb")


def closed(folder: Path) -> Any:
    file = (folder / "small.bin").open("rb")
    file.close()
    return file


def too_large(folder: Path) -> Path:
    with (folder / "large.bin").open("wb") as file:
        file.truncate(100 * 2**20 + 1)
    return folder / "large.bin"


class DjangoFile(io.BytesIO):
    """An open file that also has a URL."""

    name = "pictures/cat.png"

    def __init__(self, data: bytes, url: str = "") -> None:
        super().__init__(data)
        self._url = url

    @property
    def url(self) -> str:
        if not self._url:
            raise ValueError("This file is not accessible via a URL.")
        return self._url


class DjangoField:
    """A field of Django without a file."""

    @property
    def file(self) -> Any:
        raise ValueError("The 'picture' attribute has no file associated with it.")

    seek = read = url = file


class OfficialFile:
    """A file output of Replicate's own SDK, which is downloaded when it is read."""

    def __init__(self, url: str) -> None:
        self.url = url

    def read(self) -> bytes:
        raise AssertionError("the model downloads it")


class UrlOnly:
    """An object with a URL, but no content."""

    url = "/relative.png"


class Unseekable:
    """A stream with a path on its web site."""

    url = "/media/cat.png"

    def read(self, size: int = -1) -> bytes:
        data, self.rest = (self.rest, b"") if size else (b"", self.rest)
        return data

    rest = SMALL


BAD: dict[str, tuple[Callable[[Path], Any], type[Exception], str]] = {
    "missing": (lambda folder: folder / "missing.png", FileNotFoundError, r"missing\.png"),
    "a folder": (lambda folder: folder, IsADirectoryError, "folder"),
    "below a file": (lambda folder: folder / "small.bin" / "x", NotADirectoryError, "x"),
    "closed": (closed, ValueError, r"small\.bin is closed"),
    "open as text": (lambda folder: (folder / "small.bin").open(encoding="latin-1"), TypeError, "binary mode"),
    "text in memory": (lambda _: io.StringIO("text"), TypeError, "binary mode"),
    "for writing": (written_only, OSError, "read"),
    "breaks": (lambda _: Halting(), OSError, "the tape is torn"),
    "an empty file": (lambda folder: folder / "empty.bin", ValueError, r"empty\.bin is empty"),
    "no bytes": (lambda _: b"", ValueError, "empty"),
    "read already": (lambda _: io.BytesIO(), ValueError, "empty"),
    "too large": (too_large, ValueError, "host it elsewhere"),
    "a field without a file": (lambda _: DjangoField(), ValueError, "no file associated"),
    "an object": (lambda _: object(), TypeError, "object"),
    "a generator": (lambda _: (x for x in ()), TypeError, "generator"),
    "a class": (lambda _: Path, TypeError, "type|Path"),
    "not a number": (lambda _: float("nan"), ValueError, "finite"),
    "numpy's infinity": (lambda _: np.float32("inf"), ValueError, "finite"),
    "complex numbers": (lambda _: np.array([1j]), TypeError, r"complex"),
}


async def test_invalid_inputs(server, client, tmp_path):
    """An invalid value raises an error with its place before anything is sent, not even the valid files beside it."""
    (tmp_path / "small.bin").write_bytes(SMALL)
    (tmp_path / "empty.bin").touch()
    wrong: dict[str, Any] = {}
    for kind, (make, error, message) in BAD.items():
        bad = make(tmp_path)
        try:
            await client.run("owner/echo", input={"value": 1, "images": ["https://example.com/a.png", LARGE, bad]})
        except Exception as caught:  # noqa: BLE001 - every kind is checked below
            text = str(caught)
            if not (isinstance(caught, error) and re.search(message, text) and "input.images[2]" in text):
                wrong[kind] = repr(caught)
        if sent := operations(server):
            wrong[kind] = wrong.get(kind, ""), sent
        server.requests.clear()
        if hasattr(bad, "close"):
            bad.close()
    assert wrong == {}


async def test_an_unreadable_file(server, client, tmp_path):
    """A file without read permission raises PermissionError with its place and its path."""
    path = tmp_path / "secret.bin"
    path.write_bytes(SMALL)
    path.chmod(0)
    # Load all modules while they are readable.
    await echo(client, [SMALL])
    server.requests.clear()
    user = os.geteuid()
    # Root may read everything, so the call runs as another user.
    if user == 0:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError, match=r"input\.value\.a: .*secret\.bin"):
            await echo(client, {"a": path})
    finally:
        os.seteuid(user)
    assert server.requests == []


async def test_places(client):
    """The error has the place of the invalid value at any depth, in every kind of container."""
    for value, place in [
        ({"a": {"b": [1, {"c": object()}]}}, r"input\.a\.b\[1\]\.c"),
        ({"a": (1, object())}, r"input\.a\[1\]"),
        ({"a": MappingProxyType({"b": UserDict(c=io.StringIO())})}, r"input\.a\.b\.c"),
        ({"a": np.array([[1.0, 2.0], [3.0, float("nan")]])}, r"input\.a\[1\]\[1\]"),
        ({"a b": b""}, r"input\.a b"),
    ]:
        with pytest.raises((TypeError, ValueError), match=place):
            await client.run("owner/echo", input=value)


async def test_a_recursive_input(server, client):
    """An input that contains itself raises an error that names it."""
    value: dict[str, Any] = {}
    value["again"] = [value, SMALL]
    with pytest.raises((TypeError, ValueError), match="input"):
        await client.run("owner/echo", input=value)
    assert server.requests == []


async def test_invalid_options(server, client):
    """An unknown strategy, or an input that is not a mapping, raises before anything is sent."""
    with pytest.raises(ValueError, match="file_encoding_strategy='upload'"):
        await echo(client, SMALL, file_encoding_strategy="upload")
    with pytest.raises(TypeError, match="input"):
        await client.run("owner/echo", input=[SMALL])
    assert server.requests == []


async def test_inputs_are_checked_before_chained_models_run(server, client):
    """Chained models run only after the rest of the input was checked."""
    words = client.use("owner/words", streaming=True)
    with pytest.raises(FileNotFoundError, match=r"input\.file"):
        await client.run("owner/echo", input={"value": words(), "file": Path("missing.bin")})
    with pytest.raises(TypeError, match=r"input\.other"):
        await client.run("owner/echo", input={"value": [words()], "other": object()})
    assert server.requests == []


# --- uploads that fail ---


@pytest.mark.parametrize("how", ["refused", "broken", "too large"])
async def test_an_upload_that_fails(server, client, tmp_path, how):
    """The error is raised, other uploads are stopped, nothing is created, and no task is left."""
    status, detail = {"refused": (401, "who?"), "broken": (500, "oops"), "too large": (413, "too much")}[how]
    server.faults.add(kind="stall", operation="files.create", when=lambda call: b"stalls" in call.body)
    server.faults.add(kind="status", status=status, problem={"detail": detail}, operation="files.create", times=1)
    tasks = asyncio.all_tasks()
    files = [b"stalls" + LARGE, b"fails" + LARGE, b"stalls, too" + LARGE]
    with pytest.raises(APIStatusError, match=detail) as caught:
        await asyncio.wait_for(echo(client, files, max_retries=0), 10)
    assert caught.value.status_code == status
    assert "predictions" not in "".join(operations(server))
    assert new_tasks(tasks) == set()
    server.faults.clear()
    # The client still works.
    assert content(server, await echo(client, files[1])) == files[1]


@pytest.mark.parametrize("urls", [None, {}, {"get": None}, {"get": 5}, {"get": ""}, "https://a.test/", []])
async def test_an_upload_without_a_url(urls):
    """The model does not run with another input when the URL of a file is unknown."""
    file = {"id": "f1", "name": "a", "content_type": "a/b", "size": 1, "created_at": "2025-01-01T00:00:00Z"}
    response = answer(201, {**file, "checksums": {}, "metadata": {}, "urls": urls})
    async with RawServer(response) as server, server.client(max_retries=0) as client:
        for _ in range(2):
            with pytest.raises(APIResponseValidationError, match="no URL of the file"):
                await client.run("owner/name", input={"file": LARGE})
    assert [request.target for request in server.requests] == ["/v1/files"] * 2


async def test_a_cancelled_upload(server, client):
    """A run that is cancelled during uploads leaves no task, and nothing is created."""
    server.faults.add(kind="stall", operation="files.create")
    tasks = asyncio.all_tasks()
    task = asyncio.ensure_future(echo(client, [LARGE, LARGE + b"other"]))
    await until(lambda: len(uploads(server)) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert new_tasks(tasks) == set()
    assert operations(server) == ["files.create"] * 2


@pytest.mark.parametrize("name", ["Content-Type", "content-type"])
async def test_headers_of_a_create_do_not_break_its_uploads(server, client, name):
    """An upload has the caller's headers, except those that describe the body of the create."""
    headers = {name: "application/json", "X-Tenant": "ours"}
    await echo(client, bytes(400_000), extra_headers=headers)
    upload = uploads(server)[0]
    assert upload.headers["X-Tenant"] == "ours"
    assert upload.headers["Content-Type"].startswith("multipart/form-data; boundary=")


async def test_a_failed_upload_is_repeated_once(server, client):
    """If an upload fails for which several callers wait, one repeats it, and later callers wait for that one."""
    server.faults.add(kind="status", status=500, operation="files.create", times=1, seconds=0.05)
    server.faults.add(kind="delay", seconds=0.2, operation="files.create")
    first = [asyncio.ensure_future(echo(client, LARGE)) for _ in range(3)]
    await until(lambda: len(uploads(server)) == 2)
    later = [asyncio.ensure_future(echo(client, LARGE)) for _ in range(3)]
    results = await asyncio.gather(*first, *later, return_exceptions=True)
    assert [type(result) for result in results].count(InternalServerError) == 1
    assert len(uploads(server)) == 2


async def test_a_file_that_shrinks(server, client, tmp_path):
    """A file that shrinks after the check raises an error, and no prediction is created."""
    path = tmp_path / "shrinking.bin"
    path.write_bytes(LARGE)
    server.faults.add(kind="delay", seconds=0.1, operation="files.create")
    others = [hashlib.sha256(bytes([number])).digest() * 10_000 for number in range(8)]
    # It is uploaded when the upload of another file is done.
    task = asyncio.ensure_future(echo(client, [*others, path]))
    await until(lambda: uploads(server))
    path.write_bytes(LARGE[: INLINE_MAX - 10])
    with pytest.raises(Exception, match="shorter"):
        await task
    assert "models.predictions.create" not in operations(server)


# --- kinds and places of files ---


def kinds(folder: Path, data: bytes, stack: ExitStack) -> dict[str, Any]:
    """Return some content as every kind of file."""
    path = folder / "data.bin"
    path.write_bytes(data)
    opened = partial(tempfile.SpooledTemporaryFile)
    spooled, rolled = (stack.enter_context(opened(max_size=size)) for size in (10**6, 1))
    for file in (spooled, rolled):
        file.write(data)
        file.seek(0)
    ahead = io.BytesIO(b"before" + data)
    ahead.seek(6)
    return {
        "path": path,
        "anyio path": anyio.Path(path),
        "bytes": data,
        "bytearray": bytearray(data),
        "memoryview": memoryview(data),
        "open file": stack.enter_context(path.open("rb")),
        "unbuffered file": stack.enter_context(path.open("rb", buffering=0)),
        "in memory": io.BytesIO(data),
        "from a position": ahead,
        "spooled": spooled,
        "rolled": rolled,
        "an upload's file": UploadFile(io.BytesIO(data), filename="data.bin").file,
        "an upload": UploadFile(io.BytesIO(data), filename="data.bin"),
    }


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_every_kind_of_file(server, call, tmp_path, data):
    """The model gets every kind of file unchanged: small ones in the input itself, large ones uploaded."""
    with ExitStack() as stack:
        files = kinds(tmp_path, data, stack)
        sent = await call("run", "owner/echo", input={"value": files}, use_file_output=False)
    assert {kind: content(server, url) == data for kind, url in sent.items()} == dict.fromkeys(files, True)
    assert [is_data(url) for url in sent.values()] == [data is SMALL] * len(files)
    assert len(uploads(server)) <= len(files)


@pytest.mark.parametrize("data", [SMALL, LARGE], ids=["small", "large"])
async def test_async_files(server, client, tmp_path, data):
    """Files whose methods are coroutines are read."""
    (tmp_path / "data.bin").write_bytes(data)
    async with await anyio.open_file(tmp_path / "data.bin", "rb") as file:
        assert content(server, await echo(client, file)) == data


async def test_files_everywhere(server, client):
    """Files are found in containers of any kind and depth; other values don't change."""
    value = {
        "list": [1, [SMALL, {"deep": [[SMALL]]}]],
        "tuple": (SMALL, "text"),
        "set": {SMALL},
        "mapping": MappingProxyType({"a": UserDict(b=SMALL)}),
        "ordered": OrderedDict(z=SMALL, a=None),
        "text": "data.bin",
        "url": "https://example.com/a.png",
        "numbers": [0, -1.5, True, None],
    }
    uri = f"data:application/octet-stream;base64,{base64.b64encode(SMALL).decode()}"
    assert await echo(client, value) == {
        "list": [1, [uri, {"deep": [[uri]]}]],
        "tuple": [uri, "text"],
        "set": [uri],
        "mapping": {"a": {"b": uri}},
        "ordered": {"z": uri, "a": None},
        "text": "data.bin",
        "url": "https://example.com/a.png",
        "numbers": [0, -1.5, True, None],
    }
    assert isinstance(value["list"][1][0], bytes), "the caller's input is not changed"


async def test_the_type_of_a_file(server, client, tmp_path):
    """Data URIs and uploads have the MIME type of the file's name, and an upload keeps the name."""
    for name, expected in [("a.png", "image/png"), ("b.JPG", "image/jpeg"), ("c", "application/octet-stream")]:
        path = tmp_path / name
        path.write_bytes(SMALL)
        assert (await echo(client, path)).startswith(f"data:{expected};base64,")
        path.write_bytes(LARGE)
        uploaded = await client.files.get((await echo(client, path)).rpartition("/")[2])
        assert (uploaded.name, uploaded.content_type, uploaded.size) == (name, expected, len(LARGE))


async def test_the_limit(server, client):
    """Files of up to 256 kB are sent in the input itself, and files from 256 KiB on are uploaded."""
    assert is_data(await echo(client, b"x" * INLINE_MAX))
    assert not is_data(await echo(client, b"x" * (2**18 + 1)))


def creates(server: LocalServer) -> list[Any]:
    return [request for request in server.requests if request.operation.endswith("predictions.create")]


@pytest.mark.parametrize("size", [250 * KB, 100 * KB, 30 * KB])
async def test_the_limit_of_all_files_together(server, call, size):
    """The files inside of one request take at most a megabyte; the largest are uploaded."""
    files = [bytes([number]) * (size + number) for number in range(40)]
    sent = await call("run", "owner/echo", input={"value": files}, use_file_output=False)
    assert [content(server, url) for url in sent] == files
    inline = [is_data(url) for url in sent]
    assert inline == sorted(inline, reverse=True)
    inlined = sum(map(len, filter(is_data, sent)))
    assert inlined < 1_001_000 < inlined + size * 3 // 2
    assert len(creates(server)[0].body) < 1_100_000


async def test_files_in_many_runs(server, call):
    """The files inside of all requests in flight take at most a megabyte together, because polls return the inputs."""

    @server.model("owner/slow")
    async def slow(value: Any) -> Any:
        await asyncio.sleep(0.3)
        return value

    # Blocking calls are made by at most forty threads.
    pictures = [bytes([number]) * 200 * KB for number in range(40)]
    runs = [call("run", "owner/slow", input={"value": picture}, use_file_output=False) for picture in pictures]
    sent = await asyncio.gather(*runs)
    assert [content(server, url) for url in sent] == pictures
    inline = [url for url in sent if is_data(url)]
    assert 1 <= len(inline) <= 3
    assert len(uploads(server)) == len(pictures) - len(inline)
    assert sum(len(request.body) for request in creates(server)) < 1_100_000
    # When they have ended, there is room again.
    assert is_data(await call("run", "owner/echo", input={"value": pictures[-1][:-1]}, use_file_output=False))


async def test_files_in_runs_that_fail(server, client):
    """A run that fails or is cancelled no longer takes room for its files, nor does a handle that was dropped."""

    @server.model("owner/endless")
    async def endless(value: Any) -> None:
        await asyncio.Event().wait()

    errors: list[Exception] = []
    for number in range(5):
        picture = bytes([number]) * 250 * KB
        server.faults.add(kind="status", status=422, operation="models.predictions.create", times=1)
        try:
            await client.run("owner/echo", {"value": [picture]})
        except APIStatusError as error:
            errors.append(error)
        await client.submit("owner/echo", {"value": picture})
        with anyio.move_on_after(0.05):
            await client.run("owner/endless", {"value": picture})
        errors.clear()
    assert is_data(await echo(client, b"x" * 250 * KB))


async def test_data_outputs_are_files(data_server):
    """Outputs that are large data URIs are uploaded like other files, with their type."""
    server, client = data_server
    uris = [f"data:{type};base64,{base64.b64encode(LARGE).decode()}" for type in ("image/png", "x/y;charset=z")]
    for uri in uris:
        url = await echo(client, AsyncFileOutput(uri))
        file = await client.files.get(url.rpartition("/")[2])
        assert (file.size, file.content_type) == (len(LARGE), uri[5:].partition(";base64")[0].partition(";")[0])
        assert content(server, url) == LARGE
    malformed = f"data:image/png;base64,{'#' * 300_000}"
    assert await echo(client, AsyncFileOutput(malformed)) == malformed


async def test_strategies(server, call):
    """``base64`` never uploads, and ``url`` always does."""
    run = partial(call, "run", "owner/echo", use_file_output=False)
    assert is_data(await run(input={"value": LARGE}, file_encoding_strategy="base64"))
    assert uploads(server) == []
    url = await run(input={"value": b"x"}, file_encoding_strategy="url")
    assert (is_data(url), content(server, url), len(uploads(server))) == (False, b"x", 1)


async def test_stream_and_functions_take_files(server, client):
    """``stream`` and model functions take files like ``run``."""
    events = [event async for event in client.stream("owner/echo", {"value": SMALL}, file_encoding_strategy="url")]
    assert content(server, events[0]) == SMALL
    function = client.use("owner/echo")
    assert content(server, (await function(value=SMALL)).url) == SMALL
    handle = await function.create(value=LARGE)
    assert content(server, (await handle.output()).url) == LARGE


async def test_the_creates_of_resources_take_files(server, call):
    """The ``create`` methods of the resources and their views take files, with the same strategies."""
    version = (await call("models.get", "owner/echo")).latest_version.id
    deployment = {"name": "mine", "model": "owner/echo", "version": version, "hardware": "cpu"}
    await call("deployments.create", **deployment, min_instances=0, max_instances=1)
    for resource, target in [
        ("predictions", {"version": version}),
        ("models.predictions", {"model_owner": "owner", "model_name": "echo"}),
        ("deployments.predictions", {"deployment_owner": "local", "deployment_name": "mine"}),
    ]:
        before = len(uploads(server))
        data = LARGE + resource.encode()
        arguments: dict[str, Any] = {**target, "input": {"value": [data, SMALL]}, "prefer": "wait"}
        predictions = [
            await call(f"{resource}.create", **arguments),
            (await call(f"{resource}.with_raw_response.create", **arguments)).parse(),
        ]
        streaming = attrgetter(f"{resource}.with_streaming_response.create")(call.client)
        async with call.entered(streaming(**arguments)) as response:
            predictions.append(await call.of(response.parse))
        assert [[content(server, url) for url in job.output] for job in predictions] == [[data, SMALL]] * 3
        assert len(uploads(server)) == before + 1
        inline = await call(f"{resource}.create", **arguments, file_encoding_strategy="base64")
        assert all(map(is_data, inline.output))


@pytest.mark.parametrize("view", ["", "with_raw_response.", "with_streaming_response."])
@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_trainings_take_files(tmp_path, kind, view):
    """A training takes files like a prediction: small ones in the request, large ones uploaded before."""
    (tmp_path / "images.zip").write_bytes(LARGE)
    training = prediction(urls={"get": "https://x.example"})
    file = {"id": "f", "urls": {"get": "https://files.example/f"}, "size": 1, "checksums": {}, "metadata": {}}
    times = {"created_at": "2025-01-01T00:00:00Z", "expires_at": None, "content_type": "a/b"}
    async with RawServer(answer(201, {**file, **times}), answer(201, training)) as server:
        async with calling(kind, f"{server.url}/v1", "token") as call:
            with (tmp_path / "images.zip").open("rb") as images:
                value = {"images": images, "more": [SMALL]}
                arguments = {"destination": "a/b", "input": value}
                create = attrgetter(f"trainings.{view}create")(call.client)
                if "streaming" in view:
                    async with call.entered(create("owner", "name", "v1", **arguments)):
                        pass
                else:
                    await call.of(create, "owner", "name", "v1", **arguments)
                with pytest.raises(TypeError, match=r"input\.images: .*closed|input\.images"):
                    await call("trainings.create", "owner", "name", "v1", destination="a/b", input={"images": object()})
        assert [request.target for request in server.requests[:1]] == ["/v1/files"]
        sent = msgspec.json.decode(server.requests[1].body)["input"]
    assert sent["images"] == "https://files.example/f"
    assert sent["more"][0].startswith("data:application/octet-stream;base64,")


async def test_raw_creates_upload_files(server, call):
    """The first use of a file may be in a view, which returns responses."""
    arguments: dict[str, Any] = {"model_owner": "owner", "model_name": "echo", "prefer": "wait"}
    for view in ("with_raw_response", "with_streaming_response"):
        data = LARGE + view.encode()
        create = attrgetter(f"models.predictions.{view}.create")(call.client)
        if view == "with_raw_response":
            job = (await call.of(create, **arguments, input={"value": data})).parse()
        else:
            async with call.entered(create(**arguments, input={"value": data})) as response:
                job = await call.of(response.parse)
        assert content(server, job.output) == data


BLOCKED = """
    import asyncio, os, pathlib, tempfile
    from functools import partial
    import anyio.from_thread, anyio.to_thread
    import replicate_async as replicate

    folder = pathlib.Path(tempfile.mkdtemp())
    for number in range(60):
        (folder / f"{number}.bin").write_bytes(bytes([number]) * 300_000)

    async def work(client, number):
        output = await client.run("owner/echo", {"value": folder / f"{number}.bin"}, use_file_output=False, wait=False)
        return output, await replicate.AsyncFileOutput("data:text/plain,x").save(folder / f"{number}.txt")

    async def main():
        async with replicate.AsyncReplicate() as client:
            loop = asyncio.get_running_loop()

            def wait(number):
                return asyncio.run_coroutine_threadsafe(work(client, number), loop).result()

            in_anyio = [anyio.to_thread.run_sync(wait, number) for number in range(60)]
            in_asyncio = [asyncio.to_thread(wait, number) for number in range(60)]
            outputs = await asyncio.wait_for(asyncio.gather(*in_anyio, *in_asyncio), 20)
            print(len(outputs))

    asyncio.run(main())
"""


def test_threads_that_all_wait():
    """All threads of a web framework, and those of asyncio, may wait for runs with files: the client has its own."""
    with LocalServer() as server:

        @server.model("owner/echo", official=True)
        async def echoes(value: Any) -> Any:
            return value

        base_url = server.base_url.replace("127.0.0.1", "localhost")
        environment = {"REPLICATE_BASE_URL": base_url, "REPLICATE_API_TOKEN": server.token}
        assert programs.run(BLOCKED, **environment) == "120\n"


async def test_concurrent_uploads(server, client):
    """Several files are uploaded at once, and the prediction is created when all uploads are done."""
    server.faults.add(kind="delay", seconds=0.4, operation="files.create")
    started = time.monotonic()
    urls = await echo(client, [LARGE + bytes([number]) for number in range(6)])
    assert time.monotonic() - started < 2
    assert [content(server, url)[-1] for url in urls] == list(range(6))
    assert operations(server) == ["files.create"] * 6 + ["models.predictions.create"]


# --- each file once ---


async def test_many_runs_with_one_file(server, client, tmp_path):
    """One file in many concurrent runs, even one open file object, is complete in each, and uploaded once."""
    for kind in ("path", "open file", "in memory", "bytes"):
        for data, expected in [(LARGE[:5000], 0), (LARGE + kind.encode(), 1)]:
            server.requests.clear()
            with ExitStack() as stack:
                file = kinds(tmp_path, data, stack)[kind]
                sent = await asyncio.gather(*[echo(client, [file, {"again": file}]) for _ in range(10)])
            urls = {url for first, second in sent for url in (first, second["again"])}
            assert [content(server, url) == data for url in urls] == [True], kind
            assert len(uploads(server)) == expected, kind


async def test_a_file_that_has_changed(server, client, tmp_path):
    """A file is uploaded again only if it has changed."""
    path = tmp_path / "data.bin"
    path.write_bytes(LARGE)
    first = await echo(client, path)
    assert (await echo(client, path), len(uploads(server))) == (first, 1)
    path.write_bytes(LARGE[::-1])
    assert content(server, await echo(client, path)) == LARGE[::-1]
    assert len(uploads(server)) == 2


@pytest.mark.parametrize("how", ["in place", "moved"])
@pytest.mark.parametrize("age", [0, 3600])
async def test_a_file_with_the_times_of_another(server, client, tmp_path, monkeypatch, how, age):
    """A file that is replaced by one of the same size and time, as ``cp -p`` and ``rsync -t`` do, is another one."""
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + age)
    path, other = tmp_path / "data.bin", tmp_path / "other.bin"
    for data in (b"A", b"B", b"C"):
        target = path if how == "in place" else other
        target.write_bytes(data * (INLINE_MAX + 1))
        os.utime(target, (1e9, 1e9))
        target.replace(path)
        assert content(server, await echo(client, path))[:1] == data
        with path.open("rb") as file:
            assert content(server, await echo(client, file))[:1] == data
        # The clocks of file systems advance every few milliseconds.
        await asyncio.sleep(0.02)
    assert len(uploads(server)) == 3


async def test_a_deleted_upload_is_uploaded_again(server, call, tmp_path):
    """A file that was deleted by the client is uploaded again when an input needs it."""
    (tmp_path / "a.bin").write_bytes(LARGE)
    value = {"value": [tmp_path / "a.bin", LARGE[::-1]]}
    first, second = await call("run", "owner/echo", input=value, use_file_output=False)
    await call("files.delete", first.rpartition("/")[2])
    repeated, same = await call("run", "owner/echo", input=value, use_file_output=False)
    assert content(server, repeated) == LARGE
    assert (repeated != first, same) == (True, second)
    assert len(uploads(server)) == 3


async def test_the_same_content_under_other_names(server, client, tmp_path):
    """Files with the same content and different names are uploaded separately, because models see the name."""
    for name in ("a.png", "b.jpg"):
        (tmp_path / name).write_bytes(LARGE)
    first, second = await echo(client, [tmp_path / "a.png", tmp_path / "b.jpg"])
    assert first != second
    assert {(await client.files.get(url.rpartition("/")[2])).name for url in (first, second)} == {"a.png", "b.jpg"}


async def test_expired_files_are_uploaded_again():
    """An upload is reused until shortly before it expires, because predictions may be queued."""
    lifetime: timedelta | None = None

    def respond(request: RawRequest) -> bytes:
        if request.target == "/v1/files":
            file = {"id": "f", "content_type": "a/b", "size": 1, "checksums": {}, "metadata": {}, "urls": {}}
            expires = None if lifetime is None else (datetime.now(timezone.utc) + lifetime).isoformat()
            times = {"created_at": "2025-01-01T00:00:00Z", "expires_at": expires}
            number = sum(request.target == "/v1/files" for request in server.requests)
            return answer(201, {**file, **times, "urls": {"get": f"https://files.example/{number}"}}, CLOSE)
        ended = {"status": "succeeded", "completed_at": "2025-01-01T00:00:01Z"}
        return answer(201, prediction(output=request.body.decode(), **ended), CLOSE)

    async def step(writer: asyncio.StreamWriter) -> None:
        writer.write(respond(server.requests[-1]))
        await writer.drain()

    async with RawServer(step) as server:
        for lifetime, expected in [
            (timedelta(hours=1), 1),
            (None, 1),
            (timedelta(seconds=-1), 3),
            (timedelta(seconds=20), 3),
        ]:
            server.requests.clear()
            async with server.client() as client:
                outputs = [await client.run("owner/name", input={"file": LARGE}) for _ in range(3)]
            assert sum(request.target == "/v1/files" for request in server.requests) == expected, lifetime
            assert all("https://files.example/" in output for output in outputs)


CLOSE = {"Connection": "close"}


async def test_accounts_share_no_uploads(server, client):
    """A copy of a client with another token or base URL uploads files itself."""
    await echo(client, LARGE)
    async with LocalServer(token="other") as other_server:

        @other_server.model("owner/echo")
        async def echoes(value: Any) -> Any:
            return value

        elsewhere = client.with_options(bearer_token=other_server.token, base_url=other_server.base_url)
        assert content(other_server, await echo(elsewhere, LARGE)) == LARGE
    assert (await echo(client.with_options(timeout=5), LARGE), len(uploads(server))) == (await echo(client, LARGE), 1)


# --- outputs of other models ---


async def test_file_outputs_are_passed_on_by_url(server, call):
    """Output files are sent by their URL and not downloaded, even those of the other kind of client."""
    (output,) = await call("run", "owner/picture")
    assert isinstance(output, FileOutput if call.blocking else AsyncFileOutput)
    url = output.url
    crossed = AsyncFileOutput(url) if call.blocking else FileOutput(output)
    sent = await call("run", "owner/echo", input={"value": [output, {"a": crossed}]}, use_file_output=False)
    assert sent == [url, {"a": url}]
    assert set(operations(server)) == {"models.predictions.create"}


async def test_open_files_with_a_url_are_sent_by_content(server, client):
    """An open file with a URL, as in Django, is sent by its content, because the URL may lead nowhere."""
    for file in (
        DjangoFile(SMALL, "/media/pictures/cat.png"),
        DjangoFile(SMALL, "https://example.com/media/cat.png"),
        DjangoFile(SMALL),
        Unseekable(),
    ):
        assert content(server, await echo(client, file)) == SMALL


@pytest.mark.parametrize(
    "thing", [OfficialFile("https://replicate.delivery/a.png"), OfficialFile("data:text/plain,a"), UrlOnly()]
)
async def test_objects_with_a_url_are_sent_by_url(client, thing):
    """Outputs of Replicate's own SDK, and other objects with only a URL, are sent by the URL."""
    assert await echo(client, thing) == thing.url


async def test_data_outputs_are_passed_on(data_server):
    """Outputs that are data URIs are sent unchanged."""
    server, client = data_server
    (output,) = await client.run("owner/picture")
    assert content(server, await echo(client, output)) == SMALL


@pytest.fixture
async def data_server() -> AsyncIterator[tuple[LocalServer, AsyncReplicate]]:
    """Give a server whose output files are data URIs."""
    async with LocalServer(files="data") as server:

        @server.model("owner/echo")
        async def echoes(value: Any) -> Any:
            return value

        @server.model("owner/picture")
        async def picture() -> list[OutputFile]:
            return [OutputFile(SMALL, "image/png", "picture.png")]

        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
            yield server, client


async def test_unfinished_outputs(server, call):
    """An output that is still being made is awaited and sent in full, with either client."""
    words = call.client.use("owner/words", streaming=True)
    value = {"text": words(text="Once upon a time"), "list": [words()]}
    sent = await call("run", "owner/echo", input={"value": value})
    assert sent == {"text": "Once upon a time", "list": ["Once upon"]}
    assert len(server.predictions) == 3


async def test_open_files_keep_their_position(server, client, tmp_path):
    """After a run, an open file has its former position, so that the next run sends the same content."""
    for data in (SMALL, LARGE):
        with ExitStack() as stack:
            files = kinds(tmp_path, data, stack)
            file = files["from a position"]
            for _ in range(2):
                assert content(server, await echo(client, file)) == data
            assert file.tell() == 6


async def test_chained_models_run_concurrently(server, client):
    """Several unfinished outputs and unawaited calls in an input run at the same time."""
    most = running = 0

    @server.model("owner/slow")
    async def slow() -> str:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.1)
        running -= 1
        return "done"

    function = client.use("owner/slow")
    assert await echo(client, [function(), function(), function()]) == ["done"] * 3
    assert most == 3


async def test_a_chained_model_that_fails(server, client):
    """When a chained model fails, its error is raised, and the next model does not run."""
    broken = client.use("owner/broken", streaming=True)
    with pytest.raises(ModelError, match="no luck today"):
        await echo(client, broken())
    assert len(server.predictions) == 1


async def test_a_chained_task_that_is_cancelled(server, client):
    """A cancelled task in the input raises an error with its place, and does not cancel the caller."""
    task = asyncio.ensure_future(asyncio.sleep(3600))
    asyncio.get_running_loop().call_later(0.05, task.cancel)
    # It is cancelled while it is awaited, and then before.
    for _ in range(2):
        with pytest.raises(ReplicateError, match=r"input\.value\[0\]: .*cancelled"):
            await echo(client, [task])
    assert server.predictions == {}


async def test_cancellation_while_a_chained_task_is_awaited(server, client):
    """A caller that is cancelled while it awaits a task in its input is cancelled as usual."""
    running = asyncio.ensure_future(echo(client, [asyncio.ensure_future(asyncio.sleep(3600))]))
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with anyio.move_on_after(0.05) as scope:
        await echo(client, [asyncio.ensure_future(asyncio.sleep(3600))])
    assert scope.cancelled_caught
    assert server.predictions == {}


async def test_cancelling_a_chain(server, client):
    """Cancelling a chain cancels the running model, and the next one is not created."""

    @server.model("owner/endless")
    async def endless() -> AsyncIterator[str]:
        yield "Once"
        await asyncio.Event().wait()

    with anyio.move_on_after(0.2):
        await echo(client, client.use("owner/endless", streaming=True)())
    assert [job.status for job in server.predictions.values()] == ["canceled"]


# --- plain values ---


class Colour(enum.Enum):
    RED = "red"


async def test_values_that_have_a_json_form(server, client):
    """Values with a JSON form are sent as JSON: numpy's, times, enums and events."""
    value = {
        "integer": np.int64(5),
        "number": np.float64(1.5),
        "small": np.float32(0.5),
        "truth": np.bool_(True),
        "text": np.str_("abc"),
        "array": np.arange(6, dtype=np.int16).reshape(2, 3),
        "scalar array": np.array(7),
        "none": np.array([]),
        "nested": [{"a": np.float16(2)}],
        "time": datetime(2025, 1, 1, tzinfo=timezone.utc),
        "enum": Colour.RED,
        "event": StreamEvent("output", "Once"),
    }
    assert await echo(client, value) == {
        "integer": 5,
        "number": 1.5,
        "small": 0.5,
        "truth": True,
        "text": "abc",
        "array": [[0, 1, 2], [3, 4, 5]],
        "scalar array": 7,
        "none": [],
        "nested": [{"a": 2.0}],
        "time": "2025-01-01T00:00:00Z",
        "enum": "red",
        "event": "Once",
    }


async def test_uploads_of_fastapi(server, client):
    """Uploads of FastAPI can be passed on, with their name or as the file in them."""
    upload = UploadFile(io.BytesIO(LARGE), filename="own.png")
    file = await client.files.get((await echo(client, upload)).rpartition("/")[2])
    assert (file.name, file.content_type, file.size) == ("own.png", "image/png", len(LARGE))
    upload.file.seek(0)
    assert content(server, await echo(client, upload.file)) == LARGE


def test_numpy_stays_optional():
    """The package does not import numpy."""
    code = "import sys, replicate_async._predictions.inputs, replicate_async.testing; print('numpy' in sys.modules)"
    assert programs.run(code) == "False\n"
