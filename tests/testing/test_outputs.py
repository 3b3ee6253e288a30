"""Output files of models: their URLs, and how long they exist."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from replicate_async import AsyncReplicate
from replicate_async.testing import OutputFile, VirtualClock

from .conftest import Caller, eventually, serve

pytestmark = pytest.mark.anyio


async def test_urls(call: Caller, tmp_path: Path) -> None:
    """Files anywhere in a model's output become URLs of the delivery origin, with a name and a type."""
    (tmp_path / "a b.txt").write_text("from a path", encoding="utf-8")

    @call.server.model("me/files")
    def files() -> dict[str, Any]:
        return {"gif": b"GIF89a", "list": [OutputFile(b"x", "text/plain; charset=utf-8"), tmp_path / "a b.txt"]}

    output = (await call.run("me/files"))["output"]
    expected = [
        (output["gif"], "output.gif", "image/gif", b"GIF89a"),
        (output["list"][0], "output.txt", "text/plain; charset=utf-8", b"x"),
        (output["list"][1], "a%20b.txt", "text/plain", b"from a path"),
    ]
    for url, name, content_type, content in expected:
        assert re.fullmatch(re.escape(call.server.delivery_url) + r"/[\w-]{43}/" + re.escape(name), url)
        async with call.session.get(url) as response:
            assert (response.status, response.headers["Content-Type"]) == (200, content_type)
            assert response.headers["Content-Length"] == str(len(content))
            assert await response.read() == content
        async with call.session.head(url) as response:
            assert (response.status, response.headers["Content-Length"]) == (200, str(len(content)))
            assert await response.read() == b""


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (OutputFile(b""), "output.bin"),
        (OutputFile(b"", "image/webp"), "output.webp"),
        (OutputFile(b"", "audio/wav"), "output.wav"),
        (OutputFile(b"", "application/x-very+odd"), "output"),
        (OutputFile(b"", name="../../etc/passwd"), "passwd"),
        (OutputFile(b"", "text/html", name="/"), "output.html"),
    ],
)
def test_names(file: OutputFile, name: str) -> None:
    """A file's name has no folders; the default name has a suffix for the type."""
    assert file.file_name == name


def test_no_type() -> None:
    """A content type with line breaks is refused when the model makes the file, and so fails the prediction."""
    with pytest.raises(ValueError, match=r"expected a content type, got 'text/plain\\r\\nX: y'"):
        OutputFile(b"", "text/plain\r\nX: y")


async def test_no_token_is_needed(call: Caller) -> None:
    """An output file requires no token; if a client sends one, the journal has it."""

    @call.server.model("me/file")
    def file() -> bytes:
        return b"x"

    url = (await call.run("me/file"))["output"]
    async with call.session.get(url) as response:
        assert response.status == 200
    # This request sends the token.
    assert (await call("GET", url)).status == 200
    tokens = [entry.token for entry in call.server.requests if entry.operation == "outputs.download"]
    assert tokens == [None, "Bearer local-token"]


async def test_expiry(slow_call: Caller, clock: VirtualClock) -> None:
    """An output file expires after an hour."""

    @slow_call.server.model("me/file", inline=True)
    def file() -> bytes:
        return b"x"

    url = (await slow_call.run("me/file"))["output"]
    await clock.advance(3599)
    later = (await slow_call.run("me/file"))["output"]
    assert (await slow_call("GET", url)).body == b"x"
    await clock.advance(1)
    answer = await slow_call("GET", url)
    assert (answer.status, answer.data["status"]) == (404, 404)
    assert (await slow_call("GET", later)).body == b"x"


async def test_data_uris() -> None:
    """With files="data", output files are data URIs."""
    async with serve(tidy=True, files="data") as (server, call):

        @server.model("me/file")
        def file() -> Iterator[bytes]:
            yield b"GIF89a"

        assert (await call.run("me/file"))["output"] == ["data:image/gif;base64,R0lGODlh"]


async def test_as_inputs(call: Caller) -> None:
    """The URL of an output file is a valid input of another model; a guessed one isn't."""

    @call.server.model("me/file")
    def file() -> OutputFile:
        return OutputFile(b"abc", name="x.bin")

    @call.server.model("me/size")
    def size(file: Path) -> str:
        return f"{file.name}: {file.read_bytes().decode()}"

    url = (await call.run("me/file"))["output"]
    assert (await call.run("me/size", file=url))["output"] == "x.bin: abc"
    body = {"input": {"file": f"{call.server.delivery_url}/guess/x.bin"}}
    answer = await call("POST", "/models/me/size/predictions", body)
    assert (answer.status, "There is no file" in answer.data["detail"]) == (422, True)


async def test_a_large_file(call: Caller) -> None:
    """A large file arrives complete; a client that disconnects is in the journal."""
    # The content has 16 MiB.
    content = bytes(range(256)) * 2**16

    @call.server.model("me/file")
    def file() -> bytes:
        return content

    url = (await call.run("me/file"))["output"]
    async with call.session.head(url) as response:
        assert response.headers["Content-Length"] == str(len(content))
    received = (await call("GET", url)).body
    assert hashlib.sha256(received).digest() == hashlib.sha256(content).digest()
    async with call.session.get(url) as response:
        assert len(await response.content.read(10)) == 10
    await eventually(lambda: call.server.requests[-1].disconnected)
    assert not call.server.requests[-2].disconnected


async def test_examples_need_no_server(call: Caller) -> None:
    """Files in examples are data URIs, because output files expire."""
    call.server.model("me/file", examples=[({}, b"GIF89a")])(lambda: b"x")
    example = (await call("GET", "/models/me/file")).data["default_example"]
    assert example["output"] == "data:image/gif;base64,R0lGODlh"


async def test_unknown_paths(call: Caller) -> None:
    """All other paths of the delivery origin are a 404 with a problem."""
    for path in ("/", "/a", "/a/b", "/a/b/c", "/v1/predictions"):
        answer = await call("GET", call.server.delivery_url + path)
        assert (answer.status, answer.data["status"]) == (404, 404)
    assert call.server.requests[-1].operation == "outputs.download"


async def test_generators_without_an_annotation(call: Caller) -> None:
    """What a generator yields decides: texts are one text in pieces, files are files, and others are a list."""

    @call.server.model("me/words")
    def words():
        yield from ("one ", "two")

    @call.server.model("me/pictures")
    async def pictures():
        for number in range(2):
            yield OutputFile(b"GIF89a%d" % number, "image/gif")

    @call.server.model("me/numbers")
    def numbers():
        yield from (1, {"a": 2})

    async with AsyncReplicate(base_url=call.server.base_url, bearer_token=call.server.token) as client:
        assert await client.use("me/words")() == "one two"
        assert [await file.read() for file in await client.use("me/pictures")()] == [b"GIF89a0", b"GIF89a1"]
        assert [await file.read() async for file in client.use("me/pictures", streaming=True)()] == [
            b"GIF89a0",
            b"GIF89a1",
        ]
        assert await client.use("me/numbers")() == [1, {"a": 2}]
