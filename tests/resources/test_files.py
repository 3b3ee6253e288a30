"""Uploads and downloads: from any kind of file, complete or not at all, and without blocking the event loop.

Invalid arguments raise before anything is sent. Tests run with both clients, unless they concern the event loop.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import tempfile
import threading
import tracemalloc
from collections import UserDict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from callers import Caller
from rawserver import TOKEN, RawServer, answer, close, part_of, record_pauses, reset, stall
from replicate_async import (
    APIConnectionError,
    APIResponse,
    APIStatusError,
    APITimeoutError,
    AsyncPage,
    AsyncReplicate,
    AsyncStreamedResponse,
    NotFoundError,
    Page,
    PermissionDeniedError,
    Replicate,
    StreamedResponse,
)
from replicate_async.testing import LocalServer
from replicate_async.testing._files import Part, parse_multipart
from replicate_async.types import File

if TYPE_CHECKING:
    from typing_extensions import Self

pytestmark = pytest.mark.anyio

MIB = 2**20
LARGEST = 100 * MIB
# Several chunks, with every byte.
DATA = bytes(range(256)) * 3000
FILE = {
    "id": "f1",
    "content_type": "application/octet-stream",
    "size": 3,
    "checksums": {},
    "metadata": {},
    "created_at": "2025-01-01T00:00:00Z",
    "expires_at": "2025-01-02T00:00:00Z",
    "urls": {},
}
CREATED = answer(201, FILE)
Errors = type[Exception] | tuple[type[Exception], ...]
AT_ONCE = {"Retry-After": "0"}


@pytest.fixture(scope="module")
def shared() -> Iterator[LocalServer]:
    with LocalServer(username="alice", page_size=2) as server:
        yield server


@pytest.fixture
def server(shared: LocalServer) -> LocalServer:
    shared.requests.clear()
    return shared


@pytest.fixture(params=["async", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def client_of(kind: str) -> AsyncIterator[Callable[..., Caller]]:
    """Make clients, and close them in the end."""
    async with AsyncExitStack() as stack:

        def make(base_url: str, token: str, **options: Any) -> Caller:
            options = {"bearer_token": token, "base_url": base_url, **options}
            caller = Caller(AsyncReplicate(**options) if kind == "async" else Replicate(**options))
            stack.push_async_callback(caller, "close")
            return caller

        yield make


@pytest.fixture
async def call(server: LocalServer, client_of: Callable[..., Caller]) -> Caller:
    """Calls with a client of the local server."""
    return client_of(server.base_url, server.token, max_retries=0)


Scripted = Callable[..., Awaitable[tuple[RawServer, Caller]]]


@pytest.fixture
async def scripted(client_of: Callable[..., Caller]) -> AsyncIterator[Scripted]:
    """Make servers that follow a script, and clients of them."""
    async with AsyncExitStack() as stack:

        async def make(*steps: Any, **options: Any) -> tuple[RawServer, Caller]:
            server = await stack.enter_async_context(RawServer(*steps))
            return server, client_of(f"{server.url}/v1", TOKEN, **options)

        yield make


def parts_of(request: Any) -> dict[str, Part]:
    """Return the parts of a form, by name."""
    parts = parse_multipart(request.headers.get("Content-Type") or request.headers["content-type"], request.body)
    assert len({part.name for part in parts}) == len(parts)
    return {part.name: part for part in parts}


def sent(server: LocalServer) -> dict[str, Part]:
    """Return the parts of the last form that was sent."""
    assert server.requests[-1].operation == "files.create"
    return parts_of(server.requests[-1])


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds."""
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("the condition never held")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def descriptors(path: Path) -> int:
    """Return how many descriptors of this process are open on a file."""
    return sum(os.path.realpath(descriptor) == str(path) for descriptor in Path("/proc/self/fd").iterdir())


@contextmanager
def piped(data: bytes, *, buffering: int = -1) -> Iterator[Any]:
    """Open a pipe that another thread writes to, some bytes at a time."""
    reader, writer = os.pipe()

    def write() -> None:
        with open(writer, "wb", buffering=0) as file, suppress(BrokenPipeError):  # noqa: PTH123
            file.writelines(data[start : start + 10_000] for start in range(0, len(data), 10_000))

    thread = threading.Thread(target=write)
    thread.start()
    with open(reader, "rb", buffering=buffering) as file:  # noqa: PTH123
        yield file
    thread.join()


class Trickle:
    """An asynchronous file that returns the bytes that are available, like a socket or a pipe."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)

    async def read(self, size: int = -1) -> bytes:
        return self.file.read(10_000 if size < 0 else min(size, 10_000))


class Unusual(io.BytesIO):
    """A file that does not return bytes."""

    def __init__(self, convert: Callable[[bytes], Any]) -> None:
        super().__init__(DATA)
        self.convert = convert

    def read(self, size: int | None = -1) -> Any:
        return self.convert(super().read(size))


class WithoutTell:
    """A file that says that it is seekable, and does not say where it is."""

    def __init__(self) -> None:
        self.file = io.BytesIO(DATA)
        self.read, self.seek, self.seekable = self.file.read, self.file.seek, self.file.seekable


class ReadOnce(io.RawIOBase):
    """A file that can only be read forward."""

    def __init__(self, file: Any) -> None:
        self.file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self.file.readinto(buffer)


# --- invalid uploads ---


async def assert_raises(server: LocalServer, call: Caller, error: Errors, message: str, /, **arguments: Any) -> None:
    """Make a call that raises an error, and check that nothing is sent."""
    with pytest.raises(error, match=message):
        await call("files.create", **arguments)
    assert server.requests == [], "nothing is sent"


async def test_a_missing_file(server: LocalServer, call: Caller, tmp_path: Path) -> None:
    """A missing file raises FileNotFoundError with its path, for a str and a Path."""
    for path in (tmp_path / "missing.png", str(tmp_path / "missing.png")):
        await assert_raises(server, call, FileNotFoundError, r"missing\.png", content=path)


async def test_a_folder(server: LocalServer, call: Caller, tmp_path: Path) -> None:
    """A folder is invalid, and so is the empty path, which Python reads as the current folder."""
    await assert_raises(server, call, IsADirectoryError, "folder", content=tmp_path)
    await assert_raises(server, call, IsADirectoryError, "folder", content="")


async def test_an_unreadable_file(server: LocalServer, call: Caller, tmp_path: Path) -> None:
    """A file without read permission raises PermissionError."""
    path = tmp_path / "secret.bin"
    path.write_bytes(b"secret")
    path.chmod(0)
    # Load all modules while they are readable.
    await call("files.create", b"x")
    server.requests.clear()
    user = os.geteuid()
    # Root may read everything, so the call runs as another user.
    if user == 0:
        os.seteuid(65534)
    try:
        await assert_raises(server, call, PermissionError, "Permission denied", content=path)
    finally:
        os.seteuid(user)


async def test_a_closed_file(server: LocalServer, call: Caller, tmp_path: Path) -> None:
    """A closed file of any kind raises ValueError with its name."""
    path = tmp_path / "done.bin"
    path.write_bytes(b"done")
    with path.open("rb") as plain:
        pass
    async with await anyio.open_file(path, "rb") as asynchronous:
        pass
    for file in (plain, asynchronous):
        await assert_raises(server, call, ValueError, r"done\.bin is closed", content=file)


@pytest.mark.parametrize(
    "opened",
    [
        lambda path: path.open("r+", encoding="utf-8"),
        lambda path: io.StringIO(),
        lambda path: partial(tempfile.NamedTemporaryFile, dir=path.parent)("w+", encoding="utf-8"),
        lambda path: partial(tempfile.SpooledTemporaryFile)(mode="w+", encoding="utf-8"),
    ],
    ids=["open", "StringIO", "NamedTemporaryFile", "SpooledTemporaryFile"],
)
async def test_a_text_file(server: LocalServer, call: Caller, tmp_path: Path, opened: Callable[[Path], Any]) -> None:
    """A file in text mode raises TypeError, which says how to open it."""
    path = tmp_path / "text.txt"
    path.touch()
    with opened(path) as file:
        file.write("text")
        file.seek(0)
        await assert_raises(server, call, TypeError, "binary mode", content=file)


async def test_an_async_text_file(server: LocalServer, call: Caller, tmp_path: Path) -> None:
    """An asynchronous file in text mode raises the same error."""
    path = tmp_path / "text.txt"
    path.write_text("text", encoding="utf-8")
    async with await anyio.open_file(path, encoding="utf-8") as file:
        await assert_raises(server, call, TypeError, r"text\.txt is open as text.*binary mode", content=file)


async def test_a_file_for_writing_only(server: LocalServer, call: Caller, tmp_path: Path) -> None:
    """A file that can't be read raises before anything is sent."""
    path = tmp_path / "out.bin"
    path.write_bytes(b"content")
    with path.open("ab") as file:
        file.seek(0)
        await assert_raises(server, call, (OSError, ValueError, TypeError), "read", content=file)


async def test_a_file_at_its_end(server: LocalServer, call: Caller, tmp_path: Path) -> None:
    """A file that has been read to its end raises ValueError, because it would be sent as an empty one."""
    path = tmp_path / "read.bin"
    path.write_bytes(b"content")
    with path.open("rb") as file:
        file.read()
        await assert_raises(server, call, ValueError, r"read\.bin is empty from .*seek\(0\)", content=file)


@pytest.mark.parametrize("how", ["bytes", "path", "file", "tuple", "pipe", "async"])
async def test_too_large(server: LocalServer, call: Caller, tmp_path: Path, how: str) -> None:
    """More than 100 MiB raise an error that names the alternative."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        # A sparse file takes no space.
        file.truncate(LARGEST + 1)
    too_large = partial(assert_raises, server, call, ValueError, "104,857,601 bytes.*104,857,600.*pass its URL")
    if how == "bytes":
        await too_large(content=bytes(LARGEST + 1))
    elif how == "path":
        await too_large(content=path)
    elif how == "tuple":
        await too_large(content=("x.bin", path))
    elif how == "file":
        with path.open("rb") as file:
            await too_large(content=file)
            assert file.tell() == 0, "its position did not change"
    elif how == "pipe":
        with path.open("rb") as file:
            await too_large(content=ReadOnce(file))
    else:
        async with await anyio.open_file(path, "rb") as file:
            await too_large(content=file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "filename must not be empty"),
        ("n" * 256, "filename=.* 255 bytes"),
        ("é" * 128, "filename=.* 255 bytes"),
        ("a\r\nContent-Type: text/html", "filename"),
        ("a\nb", "filename"),
        ("a\x00b", "filename"),
        ("\udcff.bin", "filename"),
    ],
    ids=["empty", "long", "long in UTF-8", "CRLF", "LF", "NUL", "not Unicode"],
)
@pytest.mark.parametrize("where", ["argument", "tuple"])
async def test_invalid_names(server: LocalServer, call: Caller, name: str, message: str, where: str) -> None:
    """A name that the API or a header can't carry raises ValueError."""
    arguments = {"content": b"x", "filename": name} if where == "argument" else {"content": (name, b"x")}
    await assert_raises(server, call, ValueError, message, **arguments)


async def test_invalid_names_of_paths(server: LocalServer, call: Caller, tmp_path: Path) -> None:
    """For a file with such a name, the error names the argument ``filename``, which solves the problem."""
    path = tmp_path / os.fsdecode(b"\xff.bin")
    path.write_bytes(b"content")
    await assert_raises(server, call, ValueError, "filename", content=path)
    assert (await call("files.create", path, filename="ff.bin")).name == "ff.bin"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"content": None}, TypeError, "content must be bytes, a path or a binary file, not NoneType"),
        ({"content": 5}, TypeError, "content must be .*, not int"),
        ({"content": ["x"]}, TypeError, "content must be .*, not list"),
        ({"content": ("name",)}, TypeError, "content"),
        ({"content": ("name", b"x", "text/plain", {})}, TypeError, "content"),
        ({"content": ("name", None)}, TypeError, "content must be .*, not NoneType"),
        ({"content": (b"name", b"x")}, (TypeError, ValueError), "filename"),
        ({"content": b"x", "filename": 5}, (TypeError, ValueError), "filename"),
        ({"content": b"x", "metadata": "text"}, TypeError, "metadata must be a mapping, not str"),
        ({"content": b"x", "metadata": [1]}, TypeError, "metadata must be a mapping, not list"),
        ({"content": b"x", "metadata": {"a": 1j}}, TypeError, "a can't be encoded as JSON"),
        ({"content": b"x", "metadata": {"a": float("nan")}}, ValueError, "a is not a finite number"),
        ({"content": b"x", "type": "text/plain\r\nX-Evil: y"}, ValueError, "type"),
        ({"content": b"x", "type": ""}, ValueError, "type"),
        ({"content": b"x", "type": 5}, TypeError, "type"),
        ({"content": b"x", "file_name": "x"}, TypeError, "file_name"),
        ({}, TypeError, "content"),
    ],
    ids=[
        *("None", "int", "list", "tuple of one", "tuple of four", "tuple with None", "tuple with bytes name"),
        *("int name", "str metadata", "list metadata", "complex metadata", "NaN metadata"),
        *("CRLF type", "empty type", "int type", "misspelled", "nothing"),
    ],
)
async def test_invalid_arguments(
    server: LocalServer, call: Caller, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    """Invalid arguments raise an error that names them."""
    await assert_raises(server, call, error, message, **arguments)


async def test_extra_body_does_not_replace_the_file(server: LocalServer, call: Caller) -> None:
    """``extra_body`` is invalid, because a form has no JSON fields."""
    await assert_raises(server, call, TypeError, "extra_body", content=b"x", extra_body={"a": 1})


# --- what the API accepts ---


@pytest.mark.parametrize("how", ["bytes", "memory", "path", "file", "tuple", "pipe", "async"])
async def test_an_empty_file(server: LocalServer, call: Caller, tmp_path: Path, how: str) -> None:
    """An empty file is sent."""
    path = tmp_path / "nothing.bin"
    path.touch()
    with piped(b"") as pipe, path.open("rb") as file:
        contents: dict[str, Any] = {
            "bytes": b"",
            "memory": io.BytesIO(),
            "path": path,
            "file": file,
            "tuple": ("x", b""),
            "pipe": pipe,
        }
        if how == "async":
            async with await anyio.open_file(path, "rb") as content:
                created = await call("files.create", content)
        else:
            created = await call("files.create", contents[how])
    assert (created.size, sent(server)["content"].content) == (0, b"")


@pytest.mark.parametrize("type", ["banana", "image/png; charset=ü", "a/b/c", 'text/plain;x="y z"', "*"])
async def test_any_content_type(scripted: Scripted, type: str) -> None:
    """A content type is sent as it is: the API decides which it accepts."""
    server, call = await scripted(CREATED)
    await call("files.create", b"x", type=type)
    assert f"Content-Type: {type}\r\n".encode() in server.requests[0].body


# --- failing uploads ---


async def test_a_file_that_the_server_rejects(scripted: Scripted) -> None:
    """A lower limit of the API raises an error with the API's status and message."""
    _, call = await scripted(answer(413, {"title": "Content too large", "detail": "at most 1 byte", "status": 413}))
    with pytest.raises(APIStatusError, match="413 Content too large: at most 1 byte") as caught:
        await call("files.create", b"abc")
    assert caught.value.status_code == 413


async def test_a_response_before_the_end_of_the_upload(client_of: Callable[..., Caller]) -> None:
    """A response to the headers of an upload is read, even if the server never reads the rest."""
    answered, ended = asyncio.Event(), asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(413, {"detail": "too large for me"}, {"Connection": "close"}))
        await writer.drain()
        # Like a gateway, the server keeps the connection open, so that the response is not lost.
        await answered.wait()
        # A reset would make aiohttp before 3.14 log an error of its own.
        await reader.read()
        writer.close()
        ended.set()

    listening = await asyncio.start_server(refuse, "127.0.0.1", 0)
    try:
        call = client_of(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1", TOKEN)
        with anyio.fail_after(5), pytest.raises(APIStatusError, match="too large for me"):
            await call("files.create", bytes(30 * MIB))
    finally:
        answered.set()
        with anyio.fail_after(5):
            await ended.wait()
        listening.close()


@pytest.mark.parametrize("step", [close, reset, answer(500), answer(408)], ids=["close", "reset", "500", "408"])
async def test_uploads_with_an_unknown_outcome_are_not_repeated(scripted: Scripted, step: Any) -> None:
    """An upload that may have arrived is not repeated, because the account would have the file twice."""
    server, call = await scripted(step, CREATED)
    with pytest.raises((APIConnectionError, APIStatusError)):
        await call("files.create", b"abc")
    assert len(server.requests) == 1


async def test_the_timeout_of_a_small_file(scripted: Scripted) -> None:
    """Only large files lengthen the timeout."""
    _, call = await scripted(stall)
    started = monotonic()
    with pytest.raises(APITimeoutError):
        await call("files.create", b"abc", timeout=0.2)
    assert monotonic() - started < 5


async def test_a_file_that_grows(scripted: Scripted, tmp_path: Path) -> None:
    """A file that grows during the upload is sent with its size at the time of the call."""
    path = tmp_path / "growing.log"
    path.write_bytes(DATA)

    async def refuse_and_grow(writer: asyncio.StreamWriter) -> None:
        with path.open("ab") as file:
            file.write(b"more")
        writer.write(answer(429, {}, {**AT_ONCE, "Connection": "close"}))
        await writer.drain()

    server, call = await scripted(refuse_and_grow, CREATED)
    await call("files.create", path)
    assert [parts_of(request)["content"].content == DATA for request in server.requests] == [True, True]


async def test_a_file_that_shrinks(scripted: Scripted, tmp_path: Path) -> None:
    """A file that shrinks during the upload raises at once, and does not make the server wait for the rest."""
    path = tmp_path / "shrinking.bin"
    path.write_bytes(DATA)

    async def refuse_and_shrink(writer: asyncio.StreamWriter) -> None:
        os.truncate(path, 1000)
        writer.write(answer(429, {}, {**AT_ONCE, "Connection": "close"}))
        await writer.drain()

    server, call = await scripted(refuse_and_shrink, CREATED)
    started = monotonic()
    with pytest.raises((APIConnectionError, OSError, ValueError)) as caught:
        await call("files.create", path, timeout=8)
    assert monotonic() - started < 5
    assert not isinstance(caught.value, APITimeoutError)
    assert len(server.requests) == 1, "the second request is never complete"


async def test_a_file_that_disappears(scripted: Scripted, tmp_path: Path) -> None:
    """A file that is deleted before it can be sent again raises an error."""
    path = tmp_path / "gone.bin"
    path.write_bytes(DATA)

    async def refuse_and_remove(writer: asyncio.StreamWriter) -> None:
        path.unlink()
        writer.write(answer(429, {}, {**AT_ONCE, "Connection": "close"}))
        await writer.drain()

    _, call = await scripted(refuse_and_remove, CREATED)
    with anyio.fail_after(5), pytest.raises((APIConnectionError, FileNotFoundError)):
        await call("files.create", path)


async def test_no_descriptor_is_left(scripted: Scripted, tmp_path: Path) -> None:
    """Files that were opened for an upload are closed afterwards, even if the connection breaks."""
    path = tmp_path / "some.bin"
    path.write_bytes(bytes(8 * MIB))
    # The server closes the connection before it reads.
    _, call = await scripted(None)
    with pytest.raises(APIConnectionError):
        await call("files.create", path)
    _, call = await scripted(CREATED)
    await call("files.create", path)
    await until(lambda: descriptors(path) == 0)


async def test_a_cancelled_upload(tmp_path: Path) -> None:
    """A cancelled upload ends at once, and leaves the caller's file open."""
    path = tmp_path / "some.bin"
    path.write_bytes(bytes(8 * MIB))
    async with RawServer(stall) as server, server.client() as client:
        with path.open("rb") as file:
            task = asyncio.create_task(client.files.create(file))
            await until(lambda: server.requests)
            task.cancel()
            with anyio.fail_after(5), pytest.raises(asyncio.CancelledError):
                await task
            assert not file.closed


# --- kinds of files ---

SOURCES = [
    *("bytes", "bytearray", "memoryview", "str", "Path", "anyio.Path", "file", "unbuffered file", "BytesIO"),
    *("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "async file", "async stream"),
    *("file of bytearrays", "file of memoryviews", "file with None at its end", "file without tell"),
    *("pipe", "unbuffered pipe", "tuple of bytes", "tuple of a path", "tuple of a file", "tuple with a type"),
]


@asynccontextmanager
async def source(how: str, path: Path) -> AsyncIterator[Any]:
    """Give a file with DATA as its content, as one of the kinds of files."""
    simple: dict[str, Callable[[], Any]] = {
        "bytes": lambda: DATA,
        "bytearray": lambda: bytearray(DATA),
        "memoryview": lambda: memoryview(DATA),
        "str": lambda: str(path),
        "Path": lambda: path,
        "anyio.Path": lambda: anyio.Path(path),
        "BytesIO": lambda: io.BytesIO(DATA),
        "async stream": lambda: Trickle(DATA),
        "file of bytearrays": lambda: Unusual(bytearray),
        "file of memoryviews": lambda: Unusual(memoryview),
        "file with None at its end": lambda: Unusual(lambda chunk: chunk or None),
        "file without tell": WithoutTell,
        "tuple of bytes": lambda: ("data.bin", DATA),
        "tuple of a path": lambda: ("data.bin", path),
        "tuple with a type": lambda: ("data.bin", DATA, "application/x-thing"),
    }
    temporary: dict[str, Callable[[], Any]] = {
        "TemporaryFile": tempfile.TemporaryFile,
        "NamedTemporaryFile": tempfile.NamedTemporaryFile,
        "SpooledTemporaryFile": tempfile.SpooledTemporaryFile,
    }
    if how in simple:
        yield simple[how]()
    elif how in temporary:
        with temporary[how]() as file:
            file.write(DATA)
            file.seek(0)
            yield file
    elif how == "async file":
        async with await anyio.open_file(path, "rb") as file:
            yield file
    elif how.endswith("pipe"):
        with piped(DATA, buffering=0 if how.startswith("unbuffered") else -1) as file:
            yield file
    else:
        with path.open("rb", buffering=0 if how.startswith("unbuffered") else -1) as file:
            yield ("data.bin", file) if how.startswith("tuple") else file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "data.bin"
    path.write_bytes(DATA)
    return path


@pytest.mark.parametrize("how", SOURCES)
async def test_sources(server: LocalServer, call: Caller, path: Path, how: str) -> None:
    """Every kind of file arrives unchanged, and with its length known in advance."""
    async with source(how, path) as content:
        file = await call("files.create", content)
    assert type(file) is File
    assert (file.size, file.checksums.sha256) == (len(DATA), sha256(DATA))
    form = sent(server)
    assert list(form) == ["content"], "omitted arguments are not sent"
    assert form["content"].content == DATA
    assert form["content"].content_type == ("application/x-thing" if "type" in how else "application/octet-stream")
    assert "Transfer-Encoding" not in server.requests[-1].headers
    if "bytes" not in how and how not in {"memoryview", "BytesIO", "async stream", "TemporaryFile"} and " " not in how:
        assert form["content"].filename


@pytest.mark.parametrize("how", SOURCES)
async def test_a_throttled_upload_is_repeated_in_full(scripted: Scripted, path: Path, how: str) -> None:
    """An upload that the server turned away is sent again from its beginning, for every kind of file."""
    refusal = answer(429, {"detail": "slow down"}, AT_ONCE)
    server, call = await scripted(refusal, answer(503, {}, AT_ONCE), CREATED)
    async with source(how, path) as content:
        file = await call("files.create", content, metadata={"a": [1]})
    assert file.id == "f1"
    first, *repeated = [parts_of(request) for request in server.requests]
    assert first["content"].content == DATA
    assert repeated == [first, first]
    assert [request.header_values("content-length") for request in server.requests] == [
        [str(len(request.body))] for request in server.requests
    ]


@pytest.mark.parametrize("opened", [open, partial(open, buffering=0)], ids=["buffered", "unbuffered"])
async def test_an_open_file_is_read_from_its_position(
    server: LocalServer, call: Caller, path: Path, opened: Callable[..., Any]
) -> None:
    """The rest of an open file is sent; the file stays open, and can be sent again after seeking."""
    with opened(path, mode="rb") as file:
        file.seek(1000)
        await call("files.create", file)
        assert sent(server)["content"].content == DATA[1000:]
        assert not file.closed
        file.seek(0)
        assert (await call("files.create", file)).checksums.sha256 == sha256(DATA)
        file.seek(5)
        assert file.read(3) == DATA[5:8]


async def test_an_async_file_is_read_from_its_position(server: LocalServer, call: Caller, path: Path) -> None:
    """The rest of an open asynchronous file is sent, and the file stays open."""
    async with await anyio.open_file(path, "rb") as file:
        await file.seek(1000)
        await call("files.create", file)
        assert sent(server)["content"].content == DATA[1000:]
        await file.seek(5)
        assert await file.read(3) == DATA[5:8]


async def test_a_throttled_upload_is_repeated_from_the_position(scripted: Scripted, path: Path) -> None:
    """A repeated upload starts at the file's position at the time of the call."""
    server, call = await scripted(answer(429, {}, AT_ONCE), CREATED)
    with path.open("rb") as file:
        file.seek(1000)
        await call("files.create", file)
    assert [parts_of(request)["content"].content == DATA[1000:] for request in server.requests] == [True, True]


async def test_exactly_the_largest(server: LocalServer, tmp_path: Path) -> None:
    """A file of exactly 100 MiB is accepted."""
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(LARGEST)
    async with AsyncReplicate(bearer_token=server.token, base_url=server.base_url) as client:
        file = await client.files.create(path)
        assert file.size == LARGEST
        await client.files.delete(file.id)


# --- names, types and metadata ---


@pytest.mark.parametrize(
    "name",
    [
        *("plain.png", "two words.png", "héllo wörld.png", "日本語.txt", "🦆.gif", "שלום.wav", "e\u0301.png"),
        *('quo"te.txt', "back\\slash.txt", "semi;colon=1.txt", "per%20cent.txt", "a'b''c.txt", "dots...", ".hidden"),
        *("n" * 255, "é" * 127, "UTF-8''x.txt", "a&b<c>.txt", "~", "#?.txt"),
    ],
)
async def test_names(server: LocalServer, call: Caller, tmp_path: Path, name: str) -> None:
    """A name arrives unchanged, as an argument, in a tuple, and as the path's own."""
    assert (await call("files.create", b"x", filename=name)).name == name
    assert sent(server)["filename"].content == name.encode()
    assert (await call("files.create", (name, b"x"))).name == name
    path = tmp_path / name
    path.write_bytes(b"x")
    assert (await call("files.create", path)).name == name
    with path.open("rb") as file:
        assert (await call("files.create", file)).name == name


async def test_the_precedence_of_names(server: LocalServer, call: Caller, path: Path) -> None:
    """The argument's name takes precedence over the tuple's, and that over the file's own; the default is "upload"."""
    with path.open("rb") as file:
        assert (await call("files.create", file)).name == "data.bin"
        file.seek(0)
        assert (await call("files.create", ("tuple.bin", file))).name == "tuple.bin"
        file.seek(0)
        assert (await call("files.create", ("tuple.bin", file), filename="argument.bin")).name == "argument.bin"
    assert sent(server)["content"].filename == "argument.bin"
    assert (await call("files.create", b"x")).name == "upload"


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b"x", {}, "application/octet-stream"),
        (("cat.png", b"x"), {}, "image/png"),
        (("cat.png", b"x", "image/x-cat"), {}, "image/x-cat"),
        (("cat.png", b"x", "image/x-cat"), {"type": "image/x-dog"}, "image/x-dog"),
        (b"x", {"filename": "weights.zip"}, "application/zip"),
        (b"x", {"type": "text/plain"}, "text/plain"),
        (b"x", {"filename": "cat.png", "type": "application/x-safetensors"}, "application/x-safetensors"),
    ],
    ids=["none", "by name", "tuple", "argument before tuple", "by argument's name", "argument", "argument before name"],
)
async def test_types(server: LocalServer, call: Caller, content: Any, options: Any, expected: str) -> None:
    """The type is the argument's, the tuple's, or guessed from the name; only passed values become parts."""
    file = await call("files.create", content, **options)
    form = sent(server)
    assert file.content_type == form["content"].content_type == expected
    assert set(form) == {"content", *options}
    for name, value in options.items():
        assert form[name].content == value.encode()


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"customer": 123, "tags": ["a", None, True], "näme": "日本語 🦆", "nested": {"x": 1.5}},
        MappingProxyType({"a": 1}),
        UserDict({"a": 1}),
    ],
    ids=["empty", "rich", "proxy", "UserDict"],
)
async def test_metadata(server: LocalServer, call: Caller, metadata: Any) -> None:
    """Metadata is one JSON part, even if it is empty, and is returned with the file."""
    file = await call("files.create", b"x", metadata=metadata)
    assert sent(server)["metadata"].content_type == "application/json"
    assert file.metadata == dict(metadata)
    assert (await call("files.get", file.id)).metadata == dict(metadata)


async def test_options_of_an_upload(server: LocalServer, call: Caller) -> None:
    """An upload takes the options of every call."""
    await call("files.create", b"x", extra_headers={"X-Trace": "1"}, extra_query={"a": "b"})
    assert server.requests[-1].headers["X-Trace"] == "1"
    assert server.requests[-1].query_string == "a=b"


# --- the life of a file ---


async def test_the_life_of_a_file(server: LocalServer, call: Caller) -> None:
    """An uploaded file is fetched and listed until it is deleted."""
    file = await call("files.create", b"some content", filename="some.txt")
    assert file.expires_at - file.created_at == timedelta(days=1)
    assert file.urls.get == f"{server.base_url}/files/{file.id}"
    assert await call("files.get", file.id) == file
    assert await call("files.get", file_id=file.id) == file
    assert file in (await call("files.list")).results
    assert await call("files.delete", file.id) is None
    for operation in ("files.get", "files.delete"):
        with pytest.raises(NotFoundError, match=file.id):
            await call(operation, file.id)
    assert file not in (await call("files.list")).results


async def test_lists(server: LocalServer, call: Caller) -> None:
    """Files are listed in pages, newest first, and iterating continues through all of them."""
    ids = [(await call("files.create", name.encode())).id for name in ("one", "two", "three")][::-1]
    page = await call("files.list")
    assert type(page) is (Page if call.blocking else AsyncPage)
    assert [file.id for file in page.results] == ids[:2]
    assert (await call.of(page.get_next_page)).results[0].id == ids[2]
    everything = await call.all(page)
    assert [file.id for file in everything][:3] == ids
    assert {type(file) for file in everything} == {File}


@pytest.mark.parametrize("operation", ["files.get", "files.delete", "files.download"])
@pytest.mark.parametrize(
    ("file_id", "error"), [("", ValueError), ("a/b", ValueError), ("..", ValueError), (7, TypeError)]
)
async def test_invalid_ids(server: LocalServer, call: Caller, operation: str, file_id: Any, error: Any) -> None:
    """An id that is empty, would leave its path segment, or is not a str raises an error that names it."""
    signature: Any = {"owner": "alice", "expiry": 0, "signature": "x"} if operation == "files.download" else {}
    with pytest.raises(error, match="file_id"):
        await call(operation, file_id, **signature)
    assert server.requests == []


# --- downloads ---


@pytest.mark.parametrize("missing", ["file_id", "owner", "expiry", "signature"])
async def test_missing_arguments_of_a_download(server: LocalServer, call: Caller, missing: str) -> None:
    """Every argument of a download is required, and named if it is missing."""
    arguments = {"file_id": "f1", "owner": "alice", "expiry": 0, "signature": "x"}
    del arguments[missing]
    with pytest.raises(TypeError, match=missing):
        await call("files.download", **arguments)
    assert server.requests == []


async def signed(server: LocalServer, call: Caller, data: bytes = DATA, seconds: float = 60) -> dict[str, Any]:
    """Upload something, and return the arguments that download it."""
    file = await call("files.create", ("some file.bin", data))
    signature: dict[str, Any] = server.sign_download(file.id, seconds)
    return {"file_id": file.id, **signature, "expiry": int(signature["expiry"])}


async def test_rejected_downloads(server: LocalServer, call: Caller) -> None:
    """An invalid or expired signature raises PermissionDeniedError, and a deleted file NotFoundError."""
    arguments = await signed(server, call)
    with pytest.raises(PermissionDeniedError, match="permission"):
        await call("files.download", **{**arguments, "signature": "x"})
    with pytest.raises(PermissionDeniedError, match="permission"):
        await call("files.download", **{**arguments, "owner": "bob"})
    with pytest.raises(PermissionDeniedError, match="permission"):
        await call("files.download", **await signed(server, call, seconds=-5))
    await call("files.delete", arguments["file_id"])
    with pytest.raises(NotFoundError, match=arguments["file_id"]):
        await call("files.download", **arguments)


SIGNED = {"file_id": "f1", "owner": "alice", "expiry": 2**31, "signature": "x/y+z="}
CUT_OFF = part_of(answer(200, DATA)[:-1000])


def stalling(data: bytes) -> Any:
    """Send bytes, and then nothing more."""

    async def step(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await stall(writer)

    return step


@pytest.mark.parametrize("existing", [None, b"precious"])
@pytest.mark.parametrize(
    ("step", "error"),
    [(CUT_OFF, APIConnectionError), (stalling(answer(200, DATA)[:-1000]), APITimeoutError)],
    ids=["cut off", "stalled"],
)
async def test_a_broken_download_leaves_no_file(
    scripted: Scripted, tmp_path: Path, step: Any, error: type[Exception], existing: bytes | None
) -> None:
    """If the connection breaks or stalls, no file is left, and an existing file is not changed."""
    _, call = await scripted(step)
    target = tmp_path / "out.bin"
    if existing is not None:
        target.write_bytes(existing)
    response = await call("files.download", **SIGNED, timeout=0.4)
    with pytest.raises(error):
        await call.of(response.save, target)
    assert names(tmp_path) == ([] if existing is None else ["out.bin"])
    assert existing is None or target.read_bytes() == existing
    assert response.is_closed


async def test_a_broken_download_raises(scripted: Scripted) -> None:
    """Reading a download that breaks off raises, in full or in chunks, and raises again."""
    _, call = await scripted(CUT_OFF)
    response = await call("files.download", **SIGNED)
    with pytest.raises(APIConnectionError):
        await call.of(response.read)
    with pytest.raises(APIConnectionError):
        await call.of(response.read)
    response = await call("files.download", **SIGNED)
    with pytest.raises(APIConnectionError):
        await call.all(response.iter_bytes(1000))


async def test_a_download_that_can_not_be_saved(server: LocalServer, call: Caller, tmp_path: Path) -> None:
    """If the path is not writable, the error says so, and the download can be saved elsewhere."""
    response = await call("files.download", **await signed(server, call))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        await call.of(response.save, tmp_path / "nowhere" / "out.bin")
    assert (await call.of(response.save, tmp_path / "out.bin")).read_bytes() == DATA


async def test_a_download_over_a_folder(server: LocalServer, call: Caller, tmp_path: Path) -> None:
    """A folder is not replaced by a file, and no partial file is left."""
    (tmp_path / "folder").mkdir()
    response = await call("files.download", **await signed(server, call))
    with pytest.raises(OSError, match="folder"):
        await call.of(response.save, tmp_path / "folder")
    assert names(tmp_path) == ["folder"]


async def test_a_download_with_the_longest_name(server: LocalServer, call: Caller, tmp_path: Path) -> None:
    """A download can be saved under the longest name that the file system accepts."""
    response = await call("files.download", **await signed(server, call))
    target = tmp_path / ("n" * 255)
    assert (await call.of(response.save, target)).read_bytes() == DATA
    assert names(tmp_path) == [target.name]


async def test_a_cancelled_download_leaves_no_file(tmp_path: Path) -> None:
    """Cancelling the task that saves a download deletes the partial file."""
    async with RawServer(stalling(answer(200, DATA)[:-1000])) as server, server.client() as client:
        response = await client.files.download(**SIGNED)
        task = asyncio.create_task(response.save(tmp_path / "out.bin"))
        await until(lambda: names(tmp_path))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert names(tmp_path) == []
        await response.close()


async def test_a_download_that_is_cancelled_as_it_begins(tmp_path: Path) -> None:
    """Cancelling at the moment when the file is created leaves neither a file nor an open descriptor."""
    async with RawServer(stalling(answer(200, DATA)[:-1000])) as server, server.client() as client:
        for _ in range(10):
            response = await client.files.download(**SIGNED)
            task = asyncio.create_task(response.save(tmp_path / "out.bin"))
            while not names(tmp_path):  # noqa: ASYNC110 - every iteration of the event loop counts
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await response.close()
            await asyncio.sleep(0.01)
            assert names(tmp_path) == []


async def test_a_closed_download(server: LocalServer, call: Caller) -> None:
    """Reading a download that was closed raises an error."""
    response = await call("files.download", **await signed(server, call))
    await call.of(response.close)
    assert response.is_closed
    with pytest.raises((RuntimeError, APIConnectionError)):
        await call.of(response.read)


async def test_a_download_in_chunks_can_not_be_read_again(server: LocalServer, call: Caller) -> None:
    """Reading a body again that was consumed in chunks raises an error."""
    response = await call("files.download", **await signed(server, call))
    assert b"".join(await call.all(response.iter_bytes())) == DATA
    with pytest.raises((RuntimeError, APIConnectionError)):
        await call.of(response.read)
    with pytest.raises((RuntimeError, APIConnectionError)):
        await call.all(response.iter_bytes())


async def test_read(server: LocalServer, call: Caller) -> None:
    """A download is an unread response; after reading, it keeps its content and is closed."""
    arguments = await signed(server, call)
    response = await call("files.download", **arguments)
    assert type(response) is (StreamedResponse if call.blocking else AsyncStreamedResponse)
    assert (response.status_code, response.method) == (200, "GET")
    assert response.url.startswith(f"{server.base_url}/files/{arguments['file_id']}/download?")
    assert "some%20file.bin" in response.headers["content-disposition"]
    assert response.headers["Content-Length"] == str(len(DATA))
    assert not response.is_closed
    assert await call.of(response.read) == DATA
    assert response.is_closed
    assert await call.of(response.read) == DATA
    assert await call.of(response.parse) == DATA
    assert b"".join(await call.all(response.iter_bytes(1000))) == DATA
    sent_query = server.requests[-1].query
    assert dict(sent_query) == {name: str(arguments[name]) for name in ("owner", "expiry", "signature")}


@pytest.mark.parametrize("size", [1000, 65536, 10**7])
async def test_iter_bytes(server: LocalServer, call: Caller, size: int) -> None:
    """No chunk is empty or larger than requested, and together they are the content."""
    response = await call("files.download", **await signed(server, call))
    chunks = await call.all(response.iter_bytes(size))
    assert b"".join(chunks) == DATA
    assert all(0 < len(chunk) <= size for chunk in chunks)
    assert response.is_closed


@pytest.mark.parametrize("as_type", [str, Path], ids=["str", "Path"])
async def test_save(server: LocalServer, call: Caller, tmp_path: Path, as_type: type) -> None:
    """A download replaces the file of its name, and no other file is left."""
    arguments = await signed(server, call)
    target = tmp_path / "öut.bin"
    for _ in range(2):
        response = await call("files.download", **arguments)
        assert await call.of(response.save, as_type(target)) == target
        assert response.is_closed
        assert target.read_bytes() == DATA
        assert names(tmp_path) == [target.name]
        target.write_bytes(b"older")


async def test_save_under_a_relative_name(
    server: LocalServer, call: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A relative name is relative to the current folder."""
    monkeypatch.chdir(tmp_path)
    response = await call("files.download", **await signed(server, call))
    assert await call.of(response.save, "out.bin") == Path("out.bin")
    assert (tmp_path / "out.bin").read_bytes() == DATA


async def test_raw_and_streaming_downloads(server: LocalServer, call: Caller) -> None:
    """A download has both views: the response with its whole body, or unread in a context manager."""
    arguments = await signed(server, call)
    response = await call("files.with_raw_response.download", **arguments)
    assert type(response) is APIResponse
    assert (response.read(), response.parse(), response.status_code) == (DATA, DATA, 200)
    assert response.headers["Content-Length"] == str(len(DATA))
    async with call.entered(call.client.files.with_streaming_response.download(**arguments)) as streamed:
        assert not streamed.is_closed
        assert await call.of(streamed.parse) == DATA
    assert streamed.is_closed
    with pytest.raises(PermissionDeniedError):
        await call("files.with_raw_response.download", **{**arguments, "signature": "x"})


async def test_downloads_are_repeated(scripted: Scripted) -> None:
    """A download is retried after a failure, and has the number of retries."""
    server, call = await scripted(answer(503, {}, AT_ONCE), answer(200, b"content"))
    response = await call("files.download", **SIGNED)
    assert await call.of(response.read) == b"content"
    assert response.retries_taken == 1
    assert len(server.requests) == 2


async def test_a_download_from_elsewhere(scripted: Scripted) -> None:
    """A download follows a redirect to a storage host, without the token."""
    async with RawServer(answer(200, b"content")) as storage:
        location = f"http://localhost:{storage.url.rpartition(':')[2]}/bucket/key?signature=abc"
        server, call = await scripted(answer(302, None, {"Location": location}))
        response = await call("files.download", **SIGNED)
        assert await call.of(response.read) == b"content"
        assert server.requests[0].header_values("authorization") == [f"Bearer {TOKEN}"]
        assert storage.requests[0].target == "/bucket/key?signature=abc"
        assert TOKEN not in "".join(storage.requests[0].lines)


async def test_a_signature_is_not_logged(server: LocalServer, call: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """The query of a download's URL, which grants access to the file, is not logged."""
    caplog.set_level("DEBUG", logger="replicate_async")
    arguments = await signed(server, call)
    await call.of((await call("files.download", **arguments)).read)
    lines = [record.getMessage() for record in caplog.records if "download" in record.getMessage()]
    assert len(lines) == 1
    assert "signature" not in lines[0]


async def test_a_signature_is_in_no_text(scripted: Scripted, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the log of a retry nor the text of an error shows the signature; the error's ``url`` has it."""
    caplog.set_level("DEBUG", logger="replicate_async")
    record_pauses()
    server, call = await scripted(answer(503, None), answer(403, None))
    with pytest.raises(PermissionDeniedError) as caught:
        await call("files.download", **SIGNED)
    assert len(server.requests) == 2
    assert any("retry 1" in record.getMessage() for record in caplog.records)
    assert "signature" not in f"{caplog.text} {caught.value} {caught.value!r}"
    assert "signature=x%2Fy%2Bz%3D" in caught.value.url


# --- without blocking the event loop ---


class LongestGap:
    """Measures the longest time for which the event loop did not run a ready task."""

    async def __aenter__(self) -> Self:
        self.seconds = 0.0
        self.task = asyncio.create_task(self._tick())
        await asyncio.sleep(0.01)
        return self

    async def _tick(self) -> None:
        before = monotonic()
        while True:
            await asyncio.sleep(0.001)
            now = monotonic()
            self.seconds = max(self.seconds, now - before)
            before = now

    async def __aexit__(self, *_error: object) -> None:
        self.task.cancel()


class SlowDisk(io.FileIO):
    """A file on a disk whose first read takes long."""

    slept = False

    def read(self, size: int | None = -1) -> bytes:
        if size and not self.slept:
            self.slept = True
            sleep(1.5)
        return super().read(size)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Any]:
    """A server in its own process, which does not delay the test's event loop."""
    with LocalServer.process() as server:
        yield server


@pytest.fixture
def fifty(tmp_path: Path) -> Path:
    path = tmp_path / "fifty.bin"
    with path.open("wb") as file:
        file.truncate(50 * MIB)
    return path


@pytest.mark.parametrize("how", ["path", "file", "bytes", "async file"])
async def test_an_upload_does_not_block_the_loop(elsewhere: Any, fifty: Path, how: str) -> None:
    """While 50 MiB are uploaded, other tasks of the event loop run."""
    async with AsyncReplicate(bearer_token=elsewhere.token, base_url=elsewhere.base_url) as client:
        # Load everything that is loaded on first use.
        await client.files.create(b"x")
        with fifty.open("rb") as file:
            content: Any = {"path": fifty, "file": file, "bytes": bytes(50 * MIB)}.get(how)
            content = await anyio.open_file(fifty, "rb") if content is None else content
            async with LongestGap() as gap:
                uploaded = await client.files.create(content)
            if how == "async file":
                await content.aclose()
    assert uploaded.size == 50 * MIB
    assert gap.seconds < 0.75


async def test_a_slow_disk_does_not_block_the_loop(elsewhere: Any, path: Path) -> None:
    """Files are read in threads, so that a slow disk does not delay other tasks."""
    async with AsyncReplicate(bearer_token=elsewhere.token, base_url=elsewhere.base_url) as client:
        await client.files.create(b"x")
        with SlowDisk(path) as file:
            async with LongestGap() as gap:
                uploaded = await client.files.create(file)
            assert file.slept
        assert uploaded.checksums.sha256 == sha256(DATA)
    assert gap.seconds < 0.75


async def test_an_upload_is_streamed(elsewhere: Any, fifty: Path) -> None:
    """A large upload is never in memory as a whole."""
    async with AsyncReplicate(bearer_token=elsewhere.token, base_url=elsewhere.base_url) as client:
        await client.files.create(b"x")
        with peak_memory() as peak:
            await client.files.create(fifty)
    assert peak[0] < 16 * MIB


async def test_a_download_is_streamed(tmp_path: Path) -> None:
    """A large download is never in memory as a whole."""

    async def step(writer: asyncio.StreamWriter) -> None:
        head, _, _ = answer(200, b"", {"Content-Length": str(50 * MIB)}).partition(b"\r\n\r\n")
        writer.write(head + b"\r\n\r\n")
        chunk = bytes(MIB // 4)
        for _ in range(200):
            writer.write(chunk)
            await writer.drain()

    async with RawServer(step) as server, server.client() as client:
        response = await client.files.download(**SIGNED)
        with peak_memory() as peak:
            await response.save(tmp_path / "out.bin")
    assert (tmp_path / "out.bin").stat().st_size == 50 * MIB
    assert peak[0] < 16 * MIB


@contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Measure how many bytes Python allocates at most."""
    peak: list[int] = []
    tracemalloc.start()
    try:
        yield peak
        peak.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
