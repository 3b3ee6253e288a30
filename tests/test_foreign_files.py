"""Inputs and outputs as other libraries have them: uploads, responses, pictures, times and URLs."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import warnings
import zlib
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum
from types import SimpleNamespace
from typing import Annotated, Any
from urllib.parse import urlsplit

import aiohttp
import fastapi
import httpx
import msgspec
import numpy as np
import pydantic
import pytest
import yarl
from aiohttp import web
from starlette.datastructures import Headers, UploadFile

from callers import Caller, calling
from replicate_async import AsyncFileOutput, FileOutput, Replicate
from replicate_async.testing import LocalServer, OutputFile

pytestmark = pytest.mark.anyio

PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")


@pytest.fixture(params=["async", "blocking"])
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def server() -> AsyncIterator[LocalServer]:
    async with LocalServer() as server:

        @server.model("owner/any", official=True)
        async def any_input(x: Any = None) -> str:
            return "done"

        @server.model("owner/picture", official=True)
        async def picture() -> OutputFile:
            return OutputFile(PNG, "image/png", "picture.png")

        yield server


@pytest.fixture
async def call(kind: str, server: LocalServer) -> AsyncIterator[Caller]:
    async with calling(kind, server.base_url, server.token) as call:
        yield call


async def sent(call: Caller, server: LocalServer, value: Any) -> Any:
    """Return what a model gets for a value."""
    await call("run", "owner/any", {"x": value})
    create = next(request for request in reversed(server.requests) if request.path.endswith("/predictions"))
    return json.loads(create.body)["input"]["x"]


# --- pictures ---


def pixels_of(uri: str) -> tuple[tuple[int, ...], bytes]:
    """Return the size, bit depth and color type of a PNG file, and its rows."""
    head, _, content = uri.partition(",")
    assert head == "data:image/png;base64"
    data = base64.b64decode(content)
    assert data.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    size = int.from_bytes(data[33:37], "big")
    header = (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big"), data[24], data[25])
    return header, zlib.decompress(data[41 : 41 + size])


@pytest.mark.parametrize(("channels", "color_type"), [(None, 0), (1, 0), (2, 4), (3, 2), (4, 6)])
async def test_arrays_that_are_pictures(call: Caller, server: LocalServer, channels: int | None, color_type: int):
    """An array of bytes in the shape of a picture is sent as PNG, also if it is a view that is not contiguous."""
    shape = (2, 3) if channels is None else (2, 3, channels)
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)[:, ::-1]
    header, rows = pixels_of(await sent(call, server, array))
    assert header == (3, 2, 8, color_type)
    assert rows == b"".join(b"\0" + row.tobytes() for row in array)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.arange(3), [0, 1, 2]),
        (np.zeros((2, 2)), [[0.0, 0.0], [0.0, 0.0]]),
        (np.float32(1.5), 1.5),
        (np.uint8(7), 7),
        (np.datetime64("2025-01-01T00:00:00", "s"), "2025-01-01T00:00:00"),
        (np.zeros((0, 3), np.uint8), []),
    ],
)
async def test_other_arrays(call: Caller, server: LocalServer, array: Any, expected: Any):
    """Other arrays are sent as lists of numbers."""
    assert await sent(call, server, array) == expected


@pytest.mark.parametrize("kind_of_pixel", ["float32", "float64", "int64", "bool"])
async def test_arrays_that_may_be_pictures(call: Caller, server: LocalServer, kind_of_pixel: str):
    """An array in the shape of a picture that has no bytes is an error that says what to do."""
    with pytest.raises(TypeError, match=r"input\.x\[0\]: an array of .* must be uint8: pass .*astype.*tolist"):
        await sent(call, server, [np.zeros((2, 2, 3), kind_of_pixel)])
    assert await sent(call, server, np.zeros((1, 1, 3), kind_of_pixel).tolist()) == [[[0, 0, 0]]]


async def test_a_picture_as_a_file(call: Caller, server: LocalServer):
    """``files.create`` takes pictures as well."""
    file = await call("files.create", np.zeros((2, 2), np.uint8))
    assert (file.name, file.content_type) == ("image.png", "image/png")


# --- uploads and responses ---


def flask_upload() -> Any:
    """What Flask has: the name is that of the field in the form."""

    class FileStorage(io.BytesIO):
        name = "field"
        filename = "cat.webp"
        content_type = "image/webp"

    return FileStorage(b"content")


def django_upload() -> Any:
    class UploadedFile(io.BytesIO):
        name = "cat.webp"
        content_type = "image/webp"

    return UploadedFile(b"content")


def starlette_upload() -> Any:
    return UploadFile(io.BytesIO(b"content"), filename="cat.webp", headers=Headers({"content-type": "image/webp"}))


def aiohttp_upload() -> Any:
    return web.FileField("field", "cat.webp", io.BufferedReader(io.BytesIO(b"content")), "image/webp", {})  # type: ignore[arg-type]


def httpx_response() -> Any:
    request = httpx.Request("GET", "https://example.org/a/cat.webp?x=1")
    return httpx.Response(200, headers={"Content-Type": "image/webp; x=y"}, content=b"content", request=request)


def requests_response() -> Any:
    headers = {"Content-Type": "image/webp"}
    return SimpleNamespace(headers=headers, content=b"content", url="https://example.org/cat.webp")


UPLOADS = [flask_upload, django_upload, starlette_upload, aiohttp_upload, httpx_response, requests_response]


@pytest.mark.parametrize("make", UPLOADS)
async def test_uploads(call: Caller, server: LocalServer, make: Any):
    """An upload or a response keeps its type in an input, and its name as a file."""
    expected = "data:image/webp;base64," + base64.b64encode(b"content").decode()
    assert await sent(call, server, make()) == expected
    file = await call("files.create", make())
    assert (file.name, file.content_type, file.size) == ("cat.webp", "image/webp", 7)


async def test_uploads_through_a_server(kind: str, server: LocalServer):
    """Uploads arrive from real requests, as FastAPI and aiohttp give them to their handlers."""
    results: list[Any] = []
    async with calling(kind, server.base_url, server.token) as call:
        application = web.Application()

        async def handle(request: web.Request) -> web.Response:
            if request.query:
                part = await (await request.multipart()).next()
                results.append(await sent(call, server, part))
            else:
                results.append(await sent(call, server, (await request.post())["picture"]))
            return web.Response()

        application.router.add_post("/", handle)
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = "http://{}:{}".format(*runner.addresses[0])
        async with aiohttp.ClientSession() as session:
            for query in ("", "?stream=1"):
                form = aiohttp.FormData()
                form.add_field("picture", b"content", filename="cat.webp", content_type="image/webp")
                assert (await session.post(f"{url}/{query}", data=form)).status == 200
            results.append(await sent(call, server, await session.get(f"{server.url}/missing")))
        await runner.cleanup()
    webp = "data:image/webp;base64," + base64.b64encode(b"content").decode()
    assert results[:2] == [webp, webp]
    assert results[2].startswith("data:")


async def test_an_upload_without_a_type(call: Caller):
    """The type of an upload that does not say it comes from its name."""
    for content_type in ("", "application/octet-stream"):
        upload = io.BytesIO(b"content")
        extended: Any = type("Upload", (io.BytesIO,), {"filename": "cat.gif", "content_type": content_type})(
            upload.read()
        )
        assert (await call("files.create", extended)).content_type == "image/gif"


# --- other values ---


class Number(int):
    pass


class Fraction(float):
    pass


class Day(date):
    pass


class Moment(datetime):
    pass


class Choice(IntEnum):
    ONE = 1


class Limit(Enum):
    LOW = Number(3)
    RANGE = (Number(1), Fraction(2.5))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Number(3), 3),
        (Fraction(2.5), 2.5),
        (Day(2025, 1, 2), "2025-01-02"),
        (Moment(2025, 1, 2, tzinfo=timezone.utc), "2025-01-02T00:00:00+00:00"),
        (type("Duration", (timedelta,), {})(seconds=3), "PT3S"),
        (Choice.ONE, 1),
        (Limit.LOW, 3),
        (Limit.RANGE, [1, 2.5]),
        ({Number(3): 1, Limit.LOW: 2, "x": 3}, {"3": 2, "x": 3}),
        (Decimal("1.5"), 1.5),
        (pydantic.HttpUrl("https://example.org/a?b=c"), "https://example.org/a?b=c"),
        (yarl.URL("https://example.org/a"), "https://example.org/a"),
        (httpx.URL("https://example.org/a"), "https://example.org/a"),
        (urlsplit("https://example.org/a?b=c"), "https://example.org/a?b=c"),
    ],
)
async def test_values(call: Caller, server: LocalServer, value: Any, expected: Any):
    """Subclasses are sent as their base, and URLs as text."""
    assert await sent(call, server, [value]) == [expected]


@pytest.mark.parametrize("value", [object(), range(3), pydantic.SecretStr("secret"), {"a": {1: object()}}, lambda: 1])
async def test_anything_else(call: Caller, server: LocalServer, value: Any):
    """Anything else is an error that names the input and the remedy."""
    with pytest.raises(TypeError, match=r"input\.x.*pass text, a number, .* an open file, its path or its bytes"):
        await sent(call, server, value)


@pytest.mark.parametrize("value", [Fraction("nan"), Fraction("inf"), Decimal("nan")])
async def test_numbers_that_json_lacks(call: Caller, server: LocalServer, value: Any):
    """Subclasses of numbers are finite, too."""
    with pytest.raises(ValueError, match=r"input\.x.*finite"):
        await sent(call, server, value)


# --- outputs ---


@pytest.mark.parametrize("file_class", [AsyncFileOutput, FileOutput])
def test_pydantic(file_class: Any):
    """A file output is its URL to pydantic: in models, their JSON and their schemas."""
    output = AsyncFileOutput("https://example.org/x.png")
    output = output if file_class is AsyncFileOutput else file_class(output)
    model = pydantic.create_model("Answer", picture=(file_class, ...), others=(list[file_class], []))
    answer: Any = model(picture=output)
    assert answer.picture is output
    assert answer.model_dump_json() == '{"picture":"https://example.org/x.png","others":[]}'
    assert answer.model_dump()["picture"] is output
    assert model.model_validate_json(answer.model_dump_json()) == answer
    assert model.model_json_schema()["properties"]["picture"] == {"title": "Picture", "type": "string", "format": "uri"}
    with pytest.raises(pydantic.ValidationError):
        model(picture=5)


def test_fastapi():
    """A handler returns file outputs with or without a declared type, and fetches nothing for that."""
    # Newer versions of starlette warn about httpx.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fastapi.testclient import TestClient

    with LocalServer() as server:
        server.model("owner/picture", official=True)(lambda: OutputFile(PNG, "image/png", "picture.png"))
        client = Replicate(bearer_token=server.token, base_url=server.base_url)
        application = fastapi.FastAPI()

        @application.get("/declared")
        def declared() -> FileOutput:
            return client.run("owner/picture", wait=False)

        @application.get("/undeclared")
        def undeclared():
            return {"picture": client.run("owner/picture", wait=False)}

        @application.post("/body")
        def body(picture: Annotated[FileOutput, fastapi.Body()]) -> str:
            return str(picture)

        with TestClient(application) as http:
            url = http.get("/declared").json()
            assert url.startswith(server.delivery_url)
            assert http.get("/undeclared").json()["picture"].startswith(server.delivery_url)
            assert http.post("/body", json=url).json() == url
        client.close()
        assert not [request for request in server.requests if request.path.endswith(".png")]


def test_json():
    """Other encoders take ``str`` as the function for what they do not know."""
    output = FileOutput(AsyncFileOutput("https://example.org/x.png"))
    assert json.dumps([output], default=str) == '["https://example.org/x.png"]'
    assert msgspec.json.encode([output], enc_hook=str) == b'["https://example.org/x.png"]'


async def test_parts(call: Caller, server: LocalServer):
    """A file output can be read in parts, as libraries read files, and whole at any time."""
    output = await call("run", "owner/picture")
    parts = []
    while part := await call.of(output.read, 10):
        parts.append(part)
        assert await call.of(output.read) == PNG
    assert b"".join(parts) == PNG
    assert await call.of(output.read, 10) == PNG[:10]


async def test_an_output_as_a_file(call: Caller, server: LocalServer):
    """An output can be uploaded as a file."""
    output = await call("run", "owner/picture")
    file = await call("files.create", output, filename="copy.png")
    assert file.size == len(PNG)


def test_many_at_once():
    """Reading in parts does not mix two files."""

    async def main() -> None:
        first, second = (AsyncFileOutput(f"data:,{text}") for text in ("aaaa", "bbbb"))
        assert [await file.read(2) for file in (first, second, first, second)] == [b"aa", b"bb", b"aa", b"bb"]

    asyncio.run(main())
