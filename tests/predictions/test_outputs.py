"""Output files: which strings are files, and reading, saving, showing and passing them on."""

from __future__ import annotations

import asyncio
import base64
import copy
import gzip
import json
import mimetypes
import os
import pickle
import re
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
import anyio.to_thread
import pytest

import programs
from callers import Caller, calling, transport_of
from rawserver import TOKEN, RawServer, answer, part_of, prediction, record_pauses
from replicate_async import (
    APIConnectionError,
    APIResponseValidationError,
    APIStatusError,
    AsyncFileOutput,
    AsyncReplicate,
    FileOutput,
    NotFoundError,
    Replicate,
    ReplicateError,
)
from replicate_async._predictions.outputs import with_files
from replicate_async.testing import LocalServer, OutputFile

pytestmark = pytest.mark.anyio

# Several chunks.
DATA = bytes(range(256)) * 2000
PNG = b"\x89PNG\r\n\x1a\n" + DATA
BLOB = {"Content-Type": "application/octet-stream"}


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer(tidy=True) as server:

        @server.model("owner/picture")
        async def picture(name: str = "picture.png", type: str = "image/png") -> OutputFile:
            return OutputFile(PNG, type, name)

        @server.model("owner/echo")
        async def echo(value: Any) -> Any:
            return value

        yield server


@pytest.fixture(params=["async", "blocking"])
async def call(server: LocalServer, request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    """Calls with either client."""
    async with calling(request.param, server.base_url, server.token) as call:
        yield call


@pytest.fixture
async def client(server: LocalServer) -> AsyncIterator[AsyncReplicate]:
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        yield client


@pytest.fixture
def acall(client: AsyncReplicate) -> Caller:
    """Calls with the asynchronous client, for tests in which the blocking one adds nothing."""
    return Caller(client)


@pytest.fixture
async def output(call: Caller) -> Any:
    """Give an output file of a model."""
    return await call("run", "owner/picture")


def downloads(server: LocalServer) -> list[Any]:
    return [request for request in server.requests if request.operation == "outputs.download"]


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def html_of(output: Any) -> str | None:
    """Return the HTML that a notebook shows for a file, or a list with files."""
    return await anyio.to_thread.run_sync(output._repr_html_)


async def until(condition: Callable[[], Any]) -> None:
    """Wait until a condition holds."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.002)


# --- errors ---


async def test_an_output_that_is_gone(server, call, output, tmp_path):
    """Every way to read a file that was deleted, as all are after an hour, raises an error that says so."""
    server.faults.add(kind="status", status=404, operation="outputs.download")
    (tmp_path / "there").mkdir()

    async def iterate() -> None:
        await call.all(output)

    async def save(name: str) -> None:
        await call.of(output.save, tmp_path / name)

    for attempt in (call.of(output.read), iterate(), save("a.png"), save("there"), call.of(output.local_path)):
        with pytest.raises(NotFoundError, match=r"gone.*an hour after") as caught:
            await attempt
        assert caught.value.status_code == 404
    assert (names(tmp_path), names(tmp_path / "there")) == (["there"], [])


async def test_other_statuses_of_deleted_files():
    """Storage hosts use 403 and 410 for deleted files as well."""
    for status in (403, 410):
        async with RawServer(answer(status, {})) as server, server.client() as client:
            with pytest.raises(APIStatusError, match="gone"):
                await AsyncFileOutput(f"{server.url}/a.png", transport_of(client)).read()


async def test_an_invalid_host():
    """A URL with an invalid host raises the same error as an unknown host."""
    client = AsyncReplicate(bearer_token=TOKEN, max_retries=0)
    with pytest.raises(APIConnectionError, match="no connection"):
        await AsyncFileOutput("http://a..b/a.png", transport_of(client)).read()
    await client.close()


async def test_an_output_that_was_removed():
    """A prediction whose output was removed raises an error that names ``data_removed``."""
    ended = {"status": "succeeded", "completed_at": "2025-01-01T00:00:01Z", "data_removed": True}
    async with RawServer(answer(201, prediction(**ended))) as server, server.client() as client:
        with pytest.raises(ReplicateError, match="data_removed"):
            await client.run("owner/name")
        handle = await client.use("owner/name").create()
        with pytest.raises(ReplicateError, match="data_removed"):
            await handle.output()


@pytest.mark.parametrize("kind", ["truncate", "reset"])
async def test_a_broken_download_leaves_no_file(server, call, output, tmp_path, kind):
    """When a download breaks, no partial file is left, and an existing file is not changed."""
    record_pauses()
    server.faults.add(kind=kind, operation="outputs.download", **({"at": 100_000} if kind == "truncate" else {}))
    for existing in ([], ["picture.png"]):
        for name in existing:
            (tmp_path / name).write_bytes(b"older")
        for target in (tmp_path / "picture.png", tmp_path):
            with pytest.raises(APIConnectionError):
                await call.of(output.save, target)
        assert names(tmp_path) == existing
    assert (tmp_path / "picture.png").read_bytes() == b"older"
    with pytest.raises(APIConnectionError):
        await call.of(output.read)


async def test_a_cancelled_download_leaves_no_file(server, client, tmp_path):
    """A cancelled download leaves no file, and its connection is closed."""
    output = await client.run("owner/picture")
    server.faults.add(kind="drip", rate=1_000_000, operation="outputs.download")
    for target in (tmp_path / "a.png", tmp_path):
        task = asyncio.ensure_future(output.save(target))
        await until(lambda: names(tmp_path))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert names(tmp_path) == []
    await until(lambda: all(request.disconnected for request in downloads(server)))


async def test_an_unwritable_path(server, acall, tmp_path):
    """The file system's error is raised, no file is left, and the connection is released."""
    output = await acall("run", "owner/picture")
    with pytest.raises(FileNotFoundError) as missing:
        await acall.of(output.save, tmp_path / "missing" / "a.png")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError) as below_a_file:
        await acall.of(output.save, tmp_path / "file" / "a.png")
    for caught, folder in ((missing, "missing"), (below_a_file, "file")):
        assert caught.value.filename == str(tmp_path / folder / "a.png")
        assert ".part" not in str(caught.value)
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(
    "url", ["data:image/png;base64,####", "data:image/png;base64,QUJ", "data:image/png;base64,QU=J"]
)
async def test_malformed_data_uris(url):
    """A malformed data URI raises a clear error when it is read, and none when it is shown."""
    output = AsyncFileOutput(url)
    with pytest.raises(APIResponseValidationError, match="malformed data URI"):
        await output.read()
    assert (output.content_type, output.size) == ("image/png", None)
    assert "data:image/png" in repr(output)
    assert await html_of(output)


# --- which strings are files ---

FILES = [
    "https://replicate.delivery/pbxt/abc/out-0.png",
    "https://replicate.delivery/a%20b.png?x=1&y=%2F#z",
    "https://example.com",
    "https://user.name@example.com:8443/ünï.png",
    "data:image/png;base64,iVBORw0KGgo=",
    "data:text/plain;charset=utf-8,a%20b",
    "data:image/svg+xml,%3Csvg%3E",
    "http://127.0.0.1/on-this-machine",
]
TEXTS = [
    "https:",
    "https://",
    "https:///path",
    "https: the protocol",
    "https://example.com is a page",
    "https://example.com\n",
    " https://example.com",
    "see https://example.com",
    "https://a.example\nhttps://b.example",
    "[link](https://example.com)",
    "HTTP is a protocol",
    "ftp://example.com/a.png",
    "file:///etc/passwd",
    "data:",
    "data: are plural",
    "data:image/png;base64, iVBO",
    "javascript:alert(1)",
    "",
]


async def test_which_strings_are_files(call):
    """A string is a file if the whole of it is a URL; all others stay strings."""
    value = {"files": FILES, "texts": TEXTS, "deep": [[{"a": FILES[0], FILES[0]: 1}]], "others": [1, None, True, 0.5]}
    output = await call("run", "owner/echo", input={"value": value})
    kind = FileOutput if call.blocking else AsyncFileOutput
    assert [type(file) for file in output["files"]] == [kind] * len(FILES)
    assert [file.url for file in output["files"]] == FILES
    assert (output["texts"], output["others"]) == (TEXTS, [1, None, True, 0.5])
    assert output["deep"] == [[{"a": output["files"][0], FILES[0]: 1}]]
    assert await call("run", "owner/echo", input={"value": value}, use_file_output=False) == value


async def test_http_urls_are_no_files_if_the_api_uses_https():
    """If the API uses https, http URLs stay strings."""
    async with AsyncReplicate(bearer_token="x", base_url="https://api.replicate.com/v1") as client:
        assert with_files(transport_of(client), ["http://example.com/a.png"]) == ["http://example.com/a.png"]
        assert isinstance(with_files(transport_of(client), "https://example.com/a.png"), AsyncFileOutput)


@pytest.mark.parametrize("begin", ["https://", "data:a/"])
async def test_a_long_string_that_begins_like_a_url(begin, client):
    """A string of half a million characters is recognized in linear time."""
    text = begin + "a" * 500_000 + " and so on"
    assert with_files(transport_of(client), text) == text


# --- reading ---


async def test_reading(server, call, output):
    """A file can be read in full, or in chunks of any size, any number of times."""
    assert (output.content_type, output.size) == ("image/png", None)
    assert await call.of(output.read) == PNG
    assert (output.content_type, output.size) == ("image/png", len(PNG))
    for size in (1000, 100_000):
        pieces = await call.all(output.iter_bytes(size))
        assert b"".join(pieces) == PNG
        assert 0 < max(map(len, pieces)) <= size
    assert b"".join(await call.all(output)) == PNG
    assert len(downloads(server)) == 4


async def test_the_size_of_chunks():
    """Chunks have at most 64 KiB, unless the caller says otherwise."""
    output = AsyncFileOutput("data:," + "a" * 100_000)
    for chunks in (output, output.iter_bytes()):
        assert [len(chunk) async for chunk in chunks] == [65_536, 34_464]


async def test_stopping_to_read_early(server, call, output):
    """A reader that stops early leaves no open connection."""
    server.faults.add(kind="drip", rate=1_000_000, operation="outputs.download")
    if call.blocking:
        await anyio.to_thread.run_sync(lambda: next(iter(output)))
    else:
        async for _ in output:
            break
    await until(lambda: downloads(server)[0].disconnected)


async def test_reading_after_the_client_is_closed(server, output, call):
    """After its client is closed, a file opens its own connection, and closes it."""
    await call("close")
    assert await call.of(output.read) == PNG
    assert b"".join(await call.all(output)) == PNG


def test_reading_in_another_event_loop():
    """A file can be read in another event loop than the one in which it was made."""
    with LocalServer(tidy=True) as server:

        @server.model("owner/picture")
        async def picture() -> OutputFile:
            return OutputFile(PNG, "image/png")

        async def make() -> AsyncFileOutput:
            async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
                return await client.run("owner/picture")

        output = asyncio.run(make())
        assert [asyncio.run(output.read()) == PNG for _ in range(2)] == [True, True]


async def test_downloads_are_repeated(server, acall):
    """A download is retried after a transient failure."""
    output = await acall("run", "owner/picture")
    server.faults.add(kind="status", status=503, headers={"Retry-After": "0"}, operation="outputs.download", times=1)
    assert await acall.of(output.read) == PNG
    assert [request.status for request in downloads(server)] == [503, 200]


@pytest.mark.parametrize("kind", ["truncate", "reset"])
async def test_broken_downloads_are_repeated(server, call, output, tmp_path, kind):
    """A download whose body breaks off starts again if the server has no ranges, as often as the client retries."""
    record_pauses()
    breaks = {"kind": kind, "operation": "outputs.download", **({"at": 100_000} if kind == "truncate" else {})}
    for times, read in enumerate((output.read, output.local_path, partial(output.save, tmp_path / "a.png")), 1):
        server.requests.clear()
        server.faults.add(times=min(times, 2), **breaks)
        result = await call.of(read)
        assert (result if isinstance(result, bytes) else await anyio.Path(result).read_bytes()) == PNG
        assert len(downloads(server)) == 1 + min(times, 2)
    assert names(tmp_path) == ["a.png"]


async def test_a_broken_iteration_is_not_repeated(server, call, output):
    """An iteration that breaks off raises, because its chunks were already yielded."""
    server.faults.add(kind="truncate", at=100_000, operation="outputs.download", times=1)
    with pytest.raises(APIConnectionError):
        await call.all(output)
    assert len(downloads(server)) == 1


async def test_the_content_type_of_the_response():
    """The response's type takes precedence over the name's, and a compressed size is not reported."""
    packed = gzip.compress(DATA)
    headers = {"Content-Type": "image/webp; q=1", "Content-Encoding": "gzip"}
    async with RawServer(answer(200, packed, headers)) as server, server.client() as client:
        output = AsyncFileOutput(f"{server.url}/a.png", transport_of(client))
        assert output.content_type == "image/png"
        assert await output.read() == DATA
        assert output.content_type == "image/webp"
        assert output.size in {None, len(DATA)}


async def test_signed_urls_are_not_changed():
    """A URL is requested character for character, because another spelling would invalidate its signature."""
    target = "/a%2Fb%20c/%C3%BC/~%7E.png?sig=a%2Bb%2F%3D&x=%27%28&y=a+b"
    async with RawServer(answer(200, b"x", BLOB)) as server, server.client() as client:
        assert await AsyncFileOutput(f"{server.url}{target}", transport_of(client)).read() == b"x"
        assert server.requests[0].target == target


# --- the token ---


async def test_the_token_stays_with_the_api(server, call, output):
    """The API's headers and query are not sent to the host of outputs."""
    copied = call.client.with_options(default_headers={"X-Secret": "secret"}, default_query={"key": "secret"})
    output = await Caller(copied)("run", "owner/picture") if not call.blocking else output
    await call.of(output.read)
    (request,) = downloads(server)
    assert (request.token, request.query_string) == (None, "")
    assert "X-Secret" not in request.headers


async def test_files_of_the_api_get_the_token():
    """Files of the API itself are requested with the token, which is not sent on to a redirect's target."""
    async with RawServer(answer(200, b"elsewhere", BLOB)) as storage, RawServer() as server:
        server.steps = [answer(200, b"here", BLOB), answer(302, b"", {"Location": f"{storage.url}/file"})]
        async with server.client() as client:
            output = AsyncFileOutput(f"{server.url}/v1/files/f/download", transport_of(client))
            assert [await output.read(), await output.read()] == [b"here", b"elsewhere"]
        assert [request.headers["authorization"] for request in server.requests] == [f"Bearer {TOKEN}"] * 2
        assert "authorization" not in storage.requests[0].headers


SECRETS = [
    "/webhooks/default/secret",
    "/account",
    "/files",
    "/files/",
    "/files?a=/files/f/download",
    "/files/../account",
    "/files/%2e%2e/account",
    "/files/f/../../account",
    "/files/f/download/../../../account",
    "/files/f%2f..%2f..%2faccount",
    "/files/f/download/more",
    "//files/f/download",
    "/./account",
    "/predictions/p/../../account",
    "",
    "/",
]


async def test_answers_of_the_api_are_no_files():
    """A model that answers with a URL of the API gets nothing: it stays a text, and is never read with the token."""
    async with RawServer(answer(200, b"secret", {**BLOB, "Connection": "close"})) as server, server.client() as client:
        base, transport = f"{server.url}/v1", transport_of(client)
        for url in [base + path for path in SECRETS]:
            assert with_files(transport, [url, {"a": url}]) == [url, {"a": url}]
            await AsyncFileOutput(url, transport).read()
        # These are other names of the same host, or other parts of it.
        for url in [
            base.replace("127.0.0.1", "user:password@127.0.0.1") + "/account",
            base.replace("127.0.0.1", "localhost") + "/account",
            f"{server.url}/elsewhere/../v1/account",
            f"{server.url}/%76%31/account",
            f"{server.url}/v2/account",
            f"{server.url}/out.png",
        ]:
            await AsyncFileOutput(url, transport).read()
        assert all(TOKEN not in line for request in server.requests for line in request.lines)
        for path in ("/files/f", "/files/f/download", "/files/a-b_1/download?owner=a&signature=b%2Fc"):
            (output,) = with_files(transport, [base + path])
            await output.read()
            assert server.requests[-1].headers["authorization"] == f"Bearer {TOKEN}"


async def test_a_secret_as_an_output(call, server):
    """A whole run whose output is the URL of the account's webhook secret returns the text, with either client."""
    url = f"{server.base_url}/webhooks/default/secret"
    assert await call("run", "owner/echo", input={"value": [url]}) == [url]
    function = call.client.use("owner/echo")
    assert await call.of(function, value={"a": url}) == {"a": url}


BROKEN_URLS = [
    "https://example.com:99999/a.png",
    "https://example.com:port/a.png",
    "https://[::1/a.png",
    "https://[not an address]/a.png",
    "https://[v1.x]:1/a.png",
    "https://a..b/a.png",
    f"https://{'a' * 300}.example/a.png",
    "https://xn--/a.png",
    "https://\ud800.example/a.png",
    "https://127.0.0.1:1//[a.png",
    "https://127.0.0.1:1/\ud800.png",
    "https:///a.png",
    "https://",
    "nonsense",
    "",
]


async def test_broken_urls(tmp_path):
    """Whatever URL an output has, its errors are the client's, and none is raised until it is read."""
    client = AsyncReplicate(bearer_token=TOKEN, max_retries=0)
    for url in BROKEN_URLS:
        for output in [AsyncFileOutput(url, transport_of(client)), *with_files(transport_of(client), [url])]:
            if isinstance(output, str):
                continue
            assert repr(output)
            assert output.content_type in {None, "image/png"}
            for fetch in (
                output.read,
                output.local_path,
                partial(output.save, tmp_path),
                output.iter_bytes().__anext__,
            ):
                with pytest.raises(APIConnectionError):
                    await fetch()
    await client.close()
    output = AsyncFileOutput("data:text/plain,\ud800")
    assert output.size is None
    with pytest.raises(APIResponseValidationError):
        await output.read()
    assert names(tmp_path) == []


@pytest.mark.parametrize("kind", ["async", "blocking"])
async def test_deep_outputs(kind):
    """However deeply an output is nested, it is returned, or an error of the client is raised."""
    for depth in (10, 300, 600, 950, 3000):
        for before, after in (("[", "]"), ('{"a":', "}")):
            output = f"{before * depth}1{after * depth}".encode()
            ended = {"status": "succeeded", "completed_at": "2025-01-01T00:00:01Z", "output": "OUTPUT"}
            body = json.dumps(prediction(**ended)).encode().replace(b'"OUTPUT"', output)
            async with RawServer(answer(201, body)) as server, calling(kind, f"{server.url}/v1", TOKEN) as call:
                for function in (partial(call, "run", "owner/name"), partial(call.of, call.client.use("owner/name"))):
                    with suppress(ReplicateError):
                        value = await function()
                        assert depth < 3000
                        while value != 1:
                            value = value[0] if before == "[" else value["a"]


async def test_the_token_is_in_no_copy(server, call, output):
    """Pickles, copies and reprs of a file don't have the token."""
    for shown in (pickle.dumps(output).decode("latin-1"), repr(output), str(output), repr(vars(copy.copy(output)))):
        assert server.token not in shown


# --- saving ---


async def test_saving(server, call, output, tmp_path):
    """A file is saved under the given name, where it replaces another, or in a folder under its own, numbered."""
    (tmp_path / "older.png").write_bytes(b"older")
    for target, expected in [
        (tmp_path / "new.png", "new.png"),
        (str(tmp_path / "older.png"), "older.png"),
        (tmp_path, "picture.png"),
        (anyio.Path(tmp_path), "picture-1.png"),
    ]:
        path = await call.of(output.save, target)
        assert (type(path), path) == (type(tmp_path), tmp_path / expected)
        assert path.read_bytes() == PNG
    assert names(tmp_path) == ["new.png", "older.png", "picture-1.png", "picture.png"]


async def test_saving_under_a_relative_name(acall, tmp_path, monkeypatch):
    """A relative name and the current folder work as usual."""
    output = await acall("run", "owner/picture")
    monkeypatch.chdir(tmp_path)
    assert await acall.of(output.save, "a.png") == Path("a.png")
    assert await acall.of(output.save, ".") == Path("picture.png")
    assert names(tmp_path) == ["a.png", "picture.png"]


async def test_an_incomplete_file_has_no_name(server, client, tmp_path):
    """While a file is downloaded, it does not have its name yet."""
    output = await client.run("owner/picture")
    server.faults.add(kind="drip", rate=2_000_000, operation="outputs.download")
    task = asyncio.ensure_future(output.save(tmp_path / "a.png"))
    while not task.done():
        assert "a.png" not in names(tmp_path) or (tmp_path / "a.png").stat().st_size == len(PNG)
        await asyncio.sleep(0.01)
    assert await task == tmp_path / "a.png"


HOSTILE = {
    "plain": "/out.png",
    "up": "/../../x.png",
    "encoded up": "/%2e%2e%2f%2e%2e%2fx.png",
    "encoded slashes": "/..%2F..%2Fetc%2Fpasswd",
    "backslashes": "/..%5C..%5Cx.png",
    "only dots": "/%2e%2e",
    "a NUL": "/x%00.png",
    "a line end": "/x%0a%0d%1b[31m.png",
    "a dotfile": "/.bashrc",
    "dots": "/....png",
    "nothing": "/",
    "a folder": "/folder/",
    "a drive": "/C%3A%5Cx.png",
    "a stream of NTFS": "/x.png%3Ahidden",
    "an option": "/-rf",
    "spaces": "/a%20b%20.png",
    "no UTF-8": "/%ff%fe.png",
    "wide": "/" + quote("ü" * 200 + ".png"),
    "very wide": "/" + quote("😀" * 150 + ".png"),
    "long": "/" + "x" * 1000 + ".png",
    "a long dotfile": "/" + "x" * 50 + "." + "y" * 199,
    "a long suffix": "/x." + "y" * 300,
    "a query": "/x.png?name=../../y",
}


async def test_names_from_the_server(tmp_path):
    """Whatever name the server gives a file, it is saved in the folder, under a harmless name."""
    wrong: dict[str, Any] = {}
    async with RawServer(answer(200, b"content", {"Content-Type": "image/png"})) as server, server.client() as client:
        for kind, target in HOSTILE.items():
            folder = tmp_path / kind / "here"
            folder.mkdir(parents=True)
            try:
                path = await AsyncFileOutput(server.url + target, transport_of(client)).save(folder)
            except OSError as error:
                wrong[kind] = error
                continue
            assert (names(folder), names(folder.parent)) == ([path.name], ["here"])
            assert path.read_bytes() == b"content"
            suffixed = path.suffix == ".png" or "long" in kind or "stream" in kind
            # The rest of 255 bytes is for a number and a suffix.
            if (
                not re.fullmatch(r"\w[\w.+-]*", path.name)
                or len(path.name.removesuffix(".png").encode()) > 200
                or not suffixed
            ):
                wrong[kind] = path.name
    assert wrong == {}
    assert names(tmp_path) == sorted(HOSTILE)


async def test_the_suffix_follows_the_content_type(tmp_path):
    """A name without a suffix gets the suffix of the content type."""
    for target, type, expected in [
        ("/output", "image/png", "output.png"),
        ("/output", "image/webp; q=1", "output.webp"),
        ("/output.webp", "image/png", "output.webp"),
        ("/output", "application/octet-stream", "output.bin"),
        ("/output", "made/up", "output"),
        ("/output", "no type", "output"),
        ("/", "audio/mpeg", "output.mp3"),
    ]:
        headers = {"Content-Type": type}
        async with RawServer(answer(200, b"content", headers)) as server, server.client() as client:
            path = await AsyncFileOutput(server.url + target, transport_of(client)).save(tmp_path)
        assert path.name == expected
        path.unlink()


@pytest.fixture
def bare_mimetypes() -> Iterator[None]:
    """Restrict Python to its built-in list of types, as in slim containers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mimetypes, "knownfiles", [])
        mimetypes.init()
        yield
    mimetypes.init()


async def test_webp_is_known_everywhere(bare_mimetypes, tmp_path):
    """WebP, the format of most image models, is known even if the system has no list of types."""
    output = AsyncFileOutput("https://example.com/out.webp")
    assert output.content_type == "image/webp"
    assert (await AsyncFileOutput("data:image/webp;base64,QUJD").save(tmp_path)).suffix == ".webp"
    async with LocalServer(tidy=True) as server:

        @server.model("owner/echo")
        async def echo(value: str) -> str:
            return value

        (tmp_path / "in.webp").write_bytes(b"x")
        async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
            uri = await client.run("owner/echo", {"value": tmp_path / "in.webp"}, use_file_output=False)
    assert uri.startswith("data:image/webp")


# --- data URIs ---


async def test_data_uris(tmp_path):
    """A file that is a data URI works like any other, without a request."""
    for url, content, type in [
        (f"data:image/png;base64,{base64.b64encode(PNG).decode()}", PNG, "image/png"),
        ("data:image/png;base64,QUJDRA%3D%3D", b"ABCD", "image/png"),
        ("data:text/plain;charset=utf-8,a%20b%FF+", b"a b\xff+", "text/plain"),
        ("data:image/svg+xml,%3Csvg%3E", b"<svg>", "image/svg+xml"),
        ("data:text/plain;base64,", b"", "text/plain"),
        ("data:text/plain,", b"", "text/plain"),
    ]:
        output = AsyncFileOutput(url)
        assert (await output.read(), output.content_type, output.size) == (content, type, len(content))
        assert b"".join([piece async for piece in output.iter_bytes(1000)]) == content
        path = await output.save(tmp_path)
        assert path.read_bytes() == content
        assert path.name.startswith("output.")
        path.unlink()
        assert len(repr(output)) < 200


# --- paths ---


def test_a_file_as_a_path(tmp_path):
    """A blocking client's file is a path: it is downloaded once, on first use, and stays until the process ends."""
    with LocalServer(tidy=True) as server:

        @server.model("owner/picture")
        async def picture(number: int) -> OutputFile:
            return OutputFile(PNG + bytes([number]), "image/png", "picture.png")

        with Replicate(bearer_token=server.token, base_url=server.base_url) as client:
            first, second = (client.run("owner/picture", {"number": number}) for number in range(2))
            assert isinstance(first, os.PathLike)
            assert downloads(server) == []
            with open(first, "rb") as file:  # noqa: PTH123 - functions that take paths must work
                assert file.read() == PNG + b"\0"
            shutil.copy(second, tmp_path / "copy.png")
            assert (tmp_path / "copy.png").read_bytes() == PNG + b"\1"
            assert os.fspath(first) == os.fspath(first) == first.local_path() != os.fspath(second)
            assert Path(first).name == "picture.png"
            assert Path(first).parent.stat().st_mode & 0o077 == 0
            assert len(downloads(server)) == 2
            server.faults.add(kind="status", status=404, operation="outputs.download")
            assert Path(first).read_bytes() == PNG + b"\0"
            assert len(downloads(server)) == 2


async def test_the_local_path_of_an_async_file(server, client):
    """An asynchronous file has a local copy, too, and concurrent callers get the same one."""
    output = await client.run("owner/picture")
    paths = await asyncio.gather(*[output.local_path() for _ in range(5)])
    assert len(set(paths)) == 1
    assert await anyio.Path(paths[0]).read_bytes() == PNG


PROGRAM = """
    import os
    import replicate_async as replicate

    output = replicate.run("owner/picture")
    path = os.fspath(output)
    print(os.path.exists(path))
"""


@pytest.mark.parametrize("ending", ["exits", "forks"])
def test_local_copies_end_with_the_process(ending):
    """Local copies are deleted when their process ends, but not when a forked child ends."""
    with LocalServer(tidy=True) as server:

        @server.model("owner/picture")
        async def picture() -> OutputFile:
            return OutputFile(PNG, "image/png", "picture.png")

        environment = {"REPLICATE_API_TOKEN": server.token, "REPLICATE_BASE_URL": server.base_url}
        fork = """
    if os.fork() == 0:
        raise SystemExit
    os.wait()
    print(os.path.exists(path))
"""
        program = PROGRAM + (fork if ending == "forks" else "") + "    print(path)\n"
        *exists, path = programs.run(program, **environment).split()
    assert set(exists) == {"True"}
    assert not Path(path).exists()
    assert not Path(path).parent.parent.exists()


# --- pickling, copying and showing ---


async def test_pickles_and_copies(server, call, output):
    """A pickled or copied file is equal to the original, and can be read."""
    for copied in (pickle.loads(pickle.dumps(output)), copy.copy(output), copy.deepcopy(output)):
        assert (type(copied), copied.url, copied == output, hash(copied) == hash(output)) == (
            type(output),
            output.url,
            True,
            True,
        )
        assert await call.of(copied.read) == PNG
    assert output != type(output)(AsyncFileOutput("https://x.example")) if call.blocking else True
    assert len({output, copy.copy(output)}) == 1


async def test_str_and_repr(output, call):
    """The str of a file is its URL, and its repr has type and size, if known."""
    name = "FileOutput" if call.blocking else "AsyncFileOutput"
    assert str(output) == f"{output}" == output.url
    assert re.fullmatch(rf"<{name} http://\S+picture\.png, image/png>", repr(output))
    await call.of(output.read)
    assert repr(output).endswith(f", image/png, {len(PNG):,} bytes>")


async def test_a_truncated_response():
    """A response that ends before its announced length raises an error."""
    headers = b"HTTP/1.1 200 OK\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\nonly this"
    async with RawServer(part_of(headers)) as server, server.client() as client:
        with pytest.raises(APIConnectionError):
            await AsyncFileOutput(f"{server.url}/a.png", transport_of(client)).read()
